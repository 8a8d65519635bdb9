/**
 * First half of fusion: which values are never stored, because every kernel that reads them can recompute them. Walks the
 * graph backwards; each consumer passes on a budget of operations that it can afford per element. What does not fit is
 * materialised, and the reason is kept for the report.
 */
import type { Func, Value } from '../../ir/graph.js';
import { intsOf } from '../../ir/ops/declare.js';
import { ops } from '../../ir/ops/table.js';
import { printType } from '../../ir/types.js';
import { elementCost, joins, ONCE, prologueBudget, takesEpilogue } from './archetype.js';
import type { Ranking } from './ranking.js';

/** What becomes of a node: nobody needs its results; they must be in memory; every consumer recomputes them. */
export const [DEAD, STORED, INLINED] = [0, 1, 2];

export interface Inlining {
  /** By rank. */
  readonly choice: Uint8Array;
  /** By rank: why what is stored must be in memory. */
  readonly why: readonly (string | undefined)[];
  /** By value: whether it outlives the function or is written to state. */
  readonly kept: Uint8Array;
}

/** Values that must exist in memory whatever reads them. A reshape shares its operand's bytes, so it passes the demand on. */
function keptValues(func: Func, { nodes, numbers, definition, operands, values }: Ranking): Uint8Array {
  const kept = new Uint8Array(values.length);
  const keep = (v: number): void => {
    if (kept[v]) return;
    kept[v] = 1;
    const from = definition[v];
    if (from >= 0 && nodes[from].op === 'reshape') keep(operands.all[operands.begin[from]]);
  };
  const keepValue = (v: Value): void => keep(numbers.get(v)!);
  for (const o of func.outputs) keepValue(o.value);
  for (const u of func.updates) keepValue(u.value);
  for (let rank = 0; rank < nodes.length; rank++)
    if (nodes[rank].op === 'refresh')
      for (let k = operands.begin[rank]; k < operands.begin[rank + 1]; k++) keep(operands.all[k]);
  return kept;
}

/**
 * By value: rank of the anchor whose epilogue could hold it, a chain of elementwise ops whose other operands are ready before the
 * anchor; -1 where there is none.
 */
function epilogueAnchors({ nodes, anchor, elementwise, operands, result, definition, count }: Ranking): Int32Array {
  const anchors = new Int32Array(definition.length).fill(-1);
  for (let rank = 0; rank < nodes.length; rank++) {
    const node = nodes[rank];
    const own = result[rank];
    if (anchor[rank]) {
      if (takesEpilogue(node) && node.results.length === 1) anchors[own] = rank;
      continue;
    }
    if (!elementwise[rank] && node.op !== 'reshape') continue;
    let latest = -1;
    const begin = operands.begin[rank];
    const end = operands.begin[rank + 1];
    for (let k = begin; k < end; k++) {
      const o = operands.all[k];
      const a = anchors[o];
      if (a > latest && count[o] === count[own] && nodes[a].guard === node.guard) latest = a;
    }
    if (latest < 0) continue;
    let ready = true;
    for (let k = begin; k < end; k++) {
      const o = operands.all[k];
      if (anchors[o] !== latest && definition[o] >= latest) ready = false;
    }
    if (ready) anchors[own] = latest;
  }
  return anchors;
}

/** Most nodes that one kernel recomputes for one result: bounds code size and parameters. */
const MOST_NODES = 40;
const MOST_CONCAT = 4;

/** A scalar is computed once a kernel, since loops do not change it. */
const scalarBudget = (sites: number): number => (sites <= 3 ? 16 : 3);

/**
 * What recomputing in several kernels may cost: about what storing the value and loading it again would. Where all but one
 * operand are small, a kernel that recomputes it reads no more than one that loads it.
 */
function repeatBudget({ operands, result, count }: Ranking, rank: number, sites: number): number {
  if (sites <= 1) return ONCE;
  const large = new Set<number>();
  for (let k = operands.begin[rank]; k < operands.begin[rank + 1]; k++)
    if (count[operands.all[k]] === count[result[rank]]) large.add(operands.all[k]);
  return large.size <= 1 ? 2 : sites === 2 ? 2 : sites === 3 ? 1 : 0;
}

/** Constant along the loops of the larger consumer, so mostly hoisted out of them. */
const BROADCAST_BUDGET = 6;

/**
 * What tells kernels apart before they exist, as a number by rank: the rank, but reductions of one shape share theirs, from the
 * number of nodes on.
 */
function sitesOf({ nodes }: Ranking): Int32Array {
  const shared = new Map<string, number>();
  const sites = new Int32Array(nodes.length);
  for (let rank = 0; rank < nodes.length; rank++) {
    const node = nodes[rank];
    sites[rank] = rank;
    if (node.op !== 'reduce_sum' && node.op !== 'reduce_max') continue;
    const key = `${printType(node.operands[0].type)} ${intsOf(node.attrs, 'axes')} ${node.guard ?? ''}`;
    const known = shared.get(key) ?? nodes.length + shared.size;
    shared.set(key, known);
    sites[rank] = known;
  }
  return sites;
}

interface Demand {
  /** Kernels in which the node is evaluated; counted up to five, which is too many anyway. */
  readonly sites: readonly number[];
  /** Rank of the node that one of those kernels grows from. */
  readonly home: number;
  /** Cost that its operands may still add. */
  readonly budget: number;
  /** A contraction or window is among them: an epilogue of the producer is the better place. */
  readonly heavy: boolean;
}

export function chooseInlined(func: Func, ranking: Ranking): Inlining {
  const { nodes, anchor, elementwise, result, users, values, count } = ranking;
  const kept = keptValues(func, ranking);
  const anchors = epilogueAnchors(ranking);
  const siteOf = sitesOf(ranking);
  const choice = new Uint8Array(nodes.length);
  const why = new Array<string | undefined>(nodes.length);
  const demands = new Array<Demand | undefined>(nodes.length);
  /** By rank: nodes that the kernel which grows from it recomputes. */
  const sizes = new Int32Array(nodes.length);
  const isNeeded = (rank: number): boolean => choice[rank] !== DEAD;
  /** Sites of the node at hand. */
  const reached: number[] = [];

  const decide = (rank: number): Demand | string | undefined => {
    const node = nodes[rank];
    const own = result[rank];
    const value = values[own];
    let keptHere = false;
    for (let r = 0; r < node.results.length; r++) if (kept[own + r]) keptHere = true;
    if (anchor[rank] || node.op === 'refresh') {
      // Users of the results lie one behind the other.
      const end = users.begin[own + node.results.length];
      for (let k = users.begin[own]; k < end && !keptHere; k++) keptHere = isNeeded(users.all[k]);
      return keptHere ? '' : undefined;
    }
    if (keptHere) return 'it is a result of the function';
    const elements = count[own];
    reached.length = 0;
    let budget = ONCE;
    let heavy = false;
    let home = -1;
    for (let k = users.begin[own]; k < users.begin[own + 1]; k++) {
      const u = users.all[k];
      if (!isNeeded(u)) continue;
      const user = nodes[u];
      const demand = demands[u];
      if (home < 0) home = demand?.home ?? u;
      const affordable = demand?.budget ?? prologueBudget(user, value);
      if (affordable === undefined || (user.op === 'reshape' && choice[u] === STORED))
        return `${user.op} reads it from memory`;
      if (node.guard !== undefined && node.guard !== user.guard) return `${user.op} has another guard`;
      if (reached.length < 5) {
        if (!demand) reach(reached, siteOf[u]);
        else for (let s = 0; s < demand.sites.length; s++) reach(reached, demand.sites[s]);
      }
      const larger = count[result[u]];
      // A scalar costs a larger kernel nothing: its loops do not repeat it.
      const scalar = elements === 1 && (anchor[u] === 1 || larger > 1);
      if (!scalar && affordable < budget) budget = affordable;
      heavy ||= demand ? demand.heavy : anchor[u] === 1 && ops[user.op].fuse !== 'reduction';
      const spread = !anchor[u] && larger > elements;
      if (spread && elements > 1 && budget > BROADCAST_BUDGET) budget = BROADCAST_BUDGET;
    }
    const sites = reached.length;
    if (sites === 0) return undefined;
    const reader = nodes[home].op;
    if (elements === 1) budget = Math.min(budget, scalarBudget(sites));
    else if (elementwise[rank]) {
      const at = anchors[own];
      if (at >= 0 && (heavy || sites > 1))
        return `it is finished in the kernel of ${nodes[at].op} ${nodes[at].results[0].name}`;
      if (heavy && sites > 1) return `${sites} kernels read it`;
      budget = Math.min(budget, repeatBudget(ranking, rank, sites));
    }
    if (joins(node) && node.operands.length > MOST_CONCAT) return `it joins ${node.operands.length} values`;
    const cost = elementCost(node);
    if (cost > budget) return sites > 1 ? `${sites} kernels read it` : `${reader} would recompute it too often`;
    if (sizes[home] === MOST_NODES && ops[node.op].fuse !== 'source')
      return `${reader} holds ${MOST_NODES} nodes already`;
    sizes[home]++;
    return { sites: reached.slice(), home, budget: budget - cost, heavy };
  };

  for (let rank = nodes.length - 1; rank >= 0; rank--) {
    const decision = decide(rank);
    if (decision === undefined) continue;
    choice[rank] = typeof decision === 'string' ? STORED : INLINED;
    if (typeof decision === 'string') why[rank] = decision;
    else demands[rank] = decision;
  }
  return { choice, why, kept };
}

function reach(sites: number[], site: number): void {
  if (!sites.includes(site)) sites.push(site);
}

/** No fusion: every node that something needs is stored. */
export function chooseNothing(func: Func, ranking: Ranking): Inlining {
  const { nodes, operands, result } = ranking;
  const kept = keptValues(func, ranking);
  const needed = Uint8Array.from(kept);
  const choice = new Uint8Array(nodes.length);
  for (let rank = nodes.length - 1; rank >= 0; rank--) {
    if (!nodes[rank].results.some((_, r) => needed[result[rank] + r])) continue;
    choice[rank] = STORED;
    for (let k = operands.begin[rank]; k < operands.begin[rank + 1]; k++) needed[operands.all[k]] = 1;
  }
  return { choice, why: nodes.map(() => 'fusion is off'), kept };
}
