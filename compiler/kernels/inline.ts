/**
 * First half of fusion: which values are never stored, because every kernel that reads them can recompute them. Walks the
 * graph backwards; each consumer passes on a budget of operations that it can afford per element. What does not fit is
 * materialised, and the reason is kept for the report.
 */
import type { Func, Node, Value } from '../../ir/graph.js';
import { intsOf } from '../../ir/ops/declare.js';
import { ops } from '../../ir/ops/table.js';
import { printShape, storedCount } from '../../ir/types.js';
import { elementCost, isAnchor, ONCE, prologueBudget, takesEpilogue } from './archetype.js';

/** Nodes of a function in an order by depth (longest path from an input), in which operands come first. */
export interface Ranking {
  readonly nodes: readonly Node[];
  readonly rank: ReadonlyMap<Node, number>;
  readonly position: ReadonlyMap<Node, number>;
  readonly definitions: ReadonlyMap<Value, Node>;
}

export function rankNodes(func: Func): Ranking {
  const definitions = new Map<Value, Node>();
  const depth = new Map<Node, number>();
  const layers: Node[][] = [];
  const position = new Map<Node, number>();
  func.nodes.forEach((node, i) => {
    let d = 0;
    for (const o of node.operands) {
      const from = definitions.get(o);
      if (from) d = Math.max(d, depth.get(from)! + 1);
    }
    depth.set(node, d);
    if (d === layers.length) layers.push([node]);
    else layers[d].push(node);
    position.set(node, i);
    for (const r of node.results) definitions.set(r, node);
  });
  const nodes = layers.flat();
  return { nodes, rank: new Map(nodes.map((n, i) => [n, i])), position, definitions };
}

export interface Inlining {
  /** Nodes that every consumer recomputes. */
  readonly inlined: ReadonlySet<Node>;
  /** Nodes whose results must be in memory, and why. */
  readonly stored: ReadonlyMap<Node, string>;
  /** Values that outlive the function or are written to state. */
  readonly kept: ReadonlySet<Value>;
}

/** Values that must exist in memory whatever reads them. A reshape shares its operand's bytes, so it passes the demand on. */
function keptValues(func: Func, definitions: ReadonlyMap<Value, Node>): Set<Value> {
  const kept = new Set<Value>();
  const keep = (v: Value): void => {
    if (kept.has(v)) return;
    kept.add(v);
    const node = definitions.get(v);
    if (node?.op === 'reshape') keep(node.operands[0]);
  };
  for (const o of func.outputs) keep(o.value);
  for (const u of func.updates) keep(u.value);
  for (const n of func.nodes) if (n.op === 'refresh') n.operands.forEach(keep);
  return kept;
}

/** The anchor whose epilogue could hold each value: a chain of elementwise ops whose other operands are ready before the anchor. */
function epilogueAnchors({ nodes, rank, definitions }: Ranking): Map<Value, Node> {
  const anchors = new Map<Value, Node>();
  for (const node of nodes) {
    const [result] = node.results;
    if (isAnchor(node)) {
      if (takesEpilogue(node) && node.results.length === 1) anchors.set(result, node);
      continue;
    }
    const kind = ops[node.op].fuse;
    if (kind !== 'elementwise' && node.op !== 'reshape') continue;
    let latest: Node | undefined;
    for (const o of node.operands) {
      const a = anchors.get(o);
      if (!a || storedCount(o.type) !== storedCount(result.type) || a.guard !== node.guard) continue;
      if (!latest || rank.get(a)! > rank.get(latest)!) latest = a;
    }
    const anchor = latest;
    if (!anchor) continue;
    const ready = node.operands.every((o) => {
      const from = definitions.get(o);
      return !from || anchors.get(o) === anchor || rank.get(from)! < rank.get(anchor)!;
    });
    if (ready) anchors.set(result, anchor);
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
function repeatBudget(node: Node, sites: number): number {
  if (sites <= 1) return ONCE;
  const count = storedCount(node.results[0].type);
  const large = new Set(node.operands.filter((o) => storedCount(o.type) === count)).size;
  return large <= 1 ? 2 : sites === 2 ? 2 : sites === 3 ? 1 : 0;
}

/** Constant along the loops of the larger consumer, so mostly hoisted out of them. */
const BROADCAST_BUDGET = 6;

/** What tells kernels apart before they exist: reductions of one shape share theirs. */
type Site = Node | string;

function siteOf(node: Node): Site {
  if (node.op !== 'reduce_sum' && node.op !== 'reduce_max') return node;
  return `${printShape(node.operands[0].type.shape)} ${intsOf(node.attrs, 'axes')} ${node.guard ?? ''}`;
}

interface Demand {
  /** Kernels in which the node is evaluated; counted up to five, which is too many anyway. */
  readonly sites: readonly Site[];
  /** Cost that its operands may still add. */
  readonly budget: number;
  /** A contraction or window is among them: an epilogue of the producer is the better place. */
  readonly heavy: boolean;
}

export function chooseInlined(func: Func, ranking: Ranking): Inlining {
  const users = new Map<Value, Node[]>();
  for (const node of ranking.nodes)
    for (const o of new Set(node.operands)) {
      const list = users.get(o);
      if (list) list.push(node);
      else users.set(o, [node]);
    }
  const kept = keptValues(func, ranking.definitions);
  const anchors = epilogueAnchors(ranking);
  const inlined = new Set<Node>();
  const stored = new Map<Node, string>();
  const demands = new Map<Node, Demand>();
  const sizes = new Map<Site, number>();

  const decide = (node: Node): Demand | string | undefined => {
    const [value] = node.results;
    const consumers = (users.get(value) ?? []).filter((u) => inlined.has(u) || stored.has(u));
    const keptHere = node.results.some((r) => kept.has(r));
    if (isAnchor(node) || node.op === 'refresh') {
      const live =
        keptHere || node.results.some((r) => (users.get(r) ?? []).some((u) => inlined.has(u) || stored.has(u)));
      return live ? '' : undefined;
    }
    if (keptHere) return 'it is a result of the function';
    if (consumers.length === 0) return undefined;
    const count = storedCount(value.type);
    const reached = new Set<Site>();
    let budget = ONCE;
    let heavy = false;
    for (const user of consumers) {
      const demand = demands.get(user);
      const own = demand?.budget ?? prologueBudget(user, value);
      if (own === undefined || (user.op === 'reshape' && stored.has(user))) return `${user.op} reads it from memory`;
      if (node.guard !== undefined && node.guard !== user.guard) return `${user.op} has another guard`;
      if (reached.size < 5) for (const s of demand?.sites ?? [siteOf(user)]) reached.add(s);
      // A scalar costs a larger kernel nothing: its loops do not repeat it.
      const scalar = count === 1 && (isAnchor(user) || storedCount(user.results[0].type) > 1);
      if (!scalar) budget = Math.min(budget, own);
      heavy ||= demand?.heavy ?? (isAnchor(user) && ops[user.op].fuse !== 'reduction');
      const spread = !isAnchor(user) && storedCount(user.results[0].type) > count;
      if (spread && count > 1 && budget > BROADCAST_BUDGET) budget = BROADCAST_BUDGET;
    }
    const sites = reached.size;
    const [home] = reached;
    const reader = typeof home === 'string' ? 'a reduction' : home.op;
    const kind = ops[node.op].fuse;
    if (count === 1) budget = Math.min(budget, scalarBudget(sites));
    else if (kind === 'elementwise') {
      const anchor = anchors.get(value);
      if (anchor && (heavy || sites > 1))
        return `it is finished in the kernel of ${anchor.op} ${anchor.results[0].name}`;
      if (heavy && sites > 1) return `${sites} kernels read it`;
      budget = Math.min(budget, repeatBudget(node, sites));
    }
    if (node.op === 'concat' && node.operands.length > MOST_CONCAT) return `it joins ${node.operands.length} values`;
    const cost = elementCost(node);
    if (cost > budget) return sites > 1 ? `${sites} kernels read it` : `${reader} would recompute it too often`;
    const size = (sizes.get(home) ?? 0) + 1;
    if (size > MOST_NODES && kind !== 'source') return `${reader} holds ${MOST_NODES} nodes already`;
    sizes.set(home, size);
    return { sites: [...reached], budget: budget - cost, heavy };
  };

  for (let i = ranking.nodes.length - 1; i >= 0; i--) {
    const node = ranking.nodes[i];
    const decision = decide(node);
    if (decision === undefined) continue;
    if (typeof decision === 'string') stored.set(node, decision);
    else {
      inlined.add(node);
      demands.set(node, decision);
    }
  }
  return { inlined, stored, kept };
}

/** No fusion: every node that something needs is stored. */
export function chooseNothing(func: Func, ranking: Ranking): Inlining {
  const kept = keptValues(func, ranking.definitions);
  const needed = new Set<Value>(kept);
  const stored = new Map<Node, string>();
  for (let i = ranking.nodes.length - 1; i >= 0; i--) {
    const node = ranking.nodes[i];
    if (!node.results.some((r) => needed.has(r))) continue;
    stored.set(node, 'fusion is off');
    for (const o of node.operands) needed.add(o);
  }
  return { inlined: new Set(), stored, kept };
}
