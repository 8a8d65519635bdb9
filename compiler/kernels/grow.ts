/**
 * Second half of fusion: stored values become regions. Every anchor starts one; a stored elementwise value joins the region
 * that it reads at the same place (epilogue), or else starts a pointwise region. A region may only read what regions of
 * lower rank write, so no cycle can arise.
 */
import type { Node, Value } from '../../ir/graph.js';
import { ValueMap } from '../../ir/value-map.js';
import { type Order, resultOrder, rowMajor } from './alignment.js';
import { takesEpilogue } from './archetype.js';
import { INLINED, type Inlining, STORED } from './inline.js';
import type { Ranking } from './ranking.js';
import type { Region } from './region.js';

const MOST_NODES = 64;
const MOST_PARAMETERS = 24;
/** In the report. */
const MOST_REASONS = 3;

export interface Fusion {
  readonly regions: readonly Region[];
  /** Values that share the bytes of another: reshapes of stored values, and refreshed state. */
  readonly aliasOf: Aliases;
}

export type Aliases = Pick<ValueMap<Value>, 'get'>;

/** Nodes by rank, values by number, each once. */
interface Cone {
  readonly nodes: number[];
  readonly leaves: number[];
}

/** Some values' orders; null where a value has none. What was found out last of a value stands last. */
interface Orders {
  readonly values: Value[];
  readonly orders: (Order | null)[];
}

function orderIn({ values, orders }: Orders, v: Value): Order | null | undefined {
  const at = values.lastIndexOf(v);
  return at < 0 ? undefined : orders[at];
}

/** A region while it grows: a few dozen nodes and values at most, so that lists are searched as fast as sets. */
interface Growing extends Cone {
  readonly seed: number;
  readonly anchor?: Node;
  /** Stored values computed here. */
  readonly made: number[];
  /** How values follow the order of the seed's result. Absent: nothing has asked to join. */
  orders?: Orders;
  readonly refusals: string[];
}

/** Sorts a short list that is nearly in order. */
function sortAscending(list: number[]): void {
  for (let i = 1; i < list.length; i++) {
    const own = list[i];
    let to = i;
    for (; to > 0 && list[to - 1] > own; to--) list[to] = list[to - 1];
    list[to] = own;
  }
}

export function growRegions(ranking: Ranking, inlining: Inlining, enabled = true): Fusion {
  const { nodes, operands, result, definition, values, count } = ranking;
  const { choice } = inlining;
  /** By value: the one whose bytes it shares, or -1. */
  const alias = new Int32Array(values.length).fill(-1);
  const aliasOf = new ValueMap<Value>();
  const share = (v: number, of: number): void => {
    alias[v] = of;
    aliasOf.set(values[v], values[of]);
  };
  const regionOf = new Array<Growing | undefined>(values.length);
  const regions: Growing[] = [];
  /** The region that writes the bytes of `v`, which for refreshed state is the one that computes the fresh value. */
  const producerOf = (v: number): Growing | undefined => {
    for (let at = v; at >= 0; at = alias[at]) {
      const region = regionOf[at];
      if (region) return region;
    }
    return undefined;
  };

  // The last cone that a node or a value was in, as a number.
  const nodeSeen = new Int32Array(nodes.length);
  const valueSeen = new Int32Array(values.length);
  let cones = 0;
  /** Of the node at hand: the nodes that are recomputed for it, itself included, and the values that they read from memory. */
  const cone: Cone = { nodes: [], leaves: [] };
  const visitOperands = (rank: number): void => {
    for (let k = operands.begin[rank]; k < operands.begin[rank + 1]; k++) {
      const v = operands.all[k];
      const from = definition[v];
      if (from < 0 || choice[from] !== INLINED) {
        if (valueSeen[v] === cones) continue;
        valueSeen[v] = cones;
        cone.leaves.push(v);
      } else if (nodeSeen[from] !== cones) {
        nodeSeen[from] = cones;
        cone.nodes.push(from);
        visitOperands(from);
      }
    }
  };
  const findCone = (rank: number): void => {
    cones++;
    cone.nodes.length = 0;
    cone.leaves.length = 0;
    cone.nodes.push(rank);
    visitOperands(rank);
    sortAscending(cone.nodes);
  };

  const start = (seed: number): void => {
    const anchor = ranking.anchor[seed] ? nodes[seed] : undefined;
    const region: Growing = {
      seed,
      anchor,
      nodes: cone.nodes.slice(),
      leaves: cone.leaves.slice(),
      made: [result[seed]],
      refusals: [],
    };
    regions.push(region);
    regionOf[result[seed]] = region;
    for (let r = 1; r < nodes[seed].results.length; r++) {
      region.made.push(result[seed] + r);
      regionOf[result[seed] + r] = region;
    }
  };

  /** Region of highest rank among those whose values the cone reads. */
  const latestProducer = (): Growing | undefined => {
    let latest: Growing | undefined;
    for (let i = 0; i < cone.leaves.length; i++) {
      const region = producerOf(cone.leaves[i]);
      if (region && (!latest || region.seed > latest.seed)) latest = region;
    }
    return latest;
  };

  /** Of the node at hand and what is recomputed for it. */
  const coneOrders: Orders = { values: [], orders: [] };
  /** Adds a stored pointwise node to the region; a string says why it cannot. */
  const join = (region: Growing, rank: number): string | undefined => {
    const made = result[rank];
    const seed = nodes[region.seed];
    if (region.anchor && (!takesEpilogue(region.anchor) || region.anchor.results.length > 1))
      return `nothing follows ${region.anchor.op} in its kernel`;
    if (seed.guard !== nodes[rank].guard) return 'guards differ';
    if (count[made] !== count[result[region.seed]]) return 'element counts differ';
    for (let i = 0; i < cone.leaves.length; i++) {
      const v = cone.leaves[i];
      const producer = producerOf(v);
      if (producer === region && !region.made.includes(v))
        return `${values[v].name} shares memory with a value of the region`;
      if (producer && producer !== region && producer.seed >= region.seed)
        return `${values[v].name} is not ready before`;
    }
    region.orders ??= { values: [seed.results[0]], orders: [rowMajor(count[result[region.seed]])] };
    const known = region.orders;
    coneOrders.values.length = 0;
    coneOrders.orders.length = 0;
    const orderOf = (v: Value): Order | null | undefined => {
      const own = orderIn(coneOrders, v);
      return own === undefined ? orderIn(known, v) : own;
    };
    for (let i = 0; i < cone.nodes.length; i++) {
      const node = nodes[cone.nodes[i]];
      const order = resultOrder(node, orderOf);
      if (order === undefined) continue;
      coneOrders.values.push(node.results[0]);
      coneOrders.orders.push(order);
    }
    if (!orderIn(coneOrders, values[made]))
      return `it needs other elements of ${seed.results[0].name} than the one at hand`;
    const leaves = cone.leaves.filter((v) => !region.made.includes(v) && !region.leaves.includes(v));
    if (region.nodes.length + cone.nodes.length > MOST_NODES) return `the kernel holds ${region.nodes.length} nodes`;
    if (region.leaves.length + leaves.length + region.made.length >= MOST_PARAMETERS)
      return `the kernel has ${region.leaves.length + region.made.length} parameters`;
    for (const n of cone.nodes) if (!region.nodes.includes(n)) region.nodes.push(n);
    region.leaves.push(...leaves);
    known.values.push(...coneOrders.values);
    known.orders.push(...coneOrders.orders);
    region.made.push(made);
    regionOf[made] = region;
    return undefined;
  };

  for (let rank = 0; rank < nodes.length; rank++) {
    if (choice[rank] !== STORED) continue;
    const node = nodes[rank];
    const first = operands.begin[rank];
    if (node.op === 'reshape') {
      share(result[rank], operands.all[first]);
      continue;
    }
    if (node.op === 'refresh') {
      share(result[rank], operands.all[first + 1]);
      regionOf[result[rank]] = producerOf(operands.all[first]);
      continue;
    }
    findCone(rank);
    if (enabled && ranking.elementwise[rank]) {
      const region = latestProducer();
      const refusal = region ? join(region, rank) : undefined;
      if (region && refusal === undefined) continue;
      if (region && region.refusals.length < MOST_REASONS)
        region.refusals.push(`${node.op} ${node.results[0].name} stays out: ${refusal}`);
    }
    start(rank);
  }
  return { regions: finish(regions, ranking, inlining, alias, aliasOf), aliasOf };
}

/** Settles what each region reads and writes, once all have grown. */
function finish(
  regions: readonly Growing[],
  { nodes, operands, result, definition, values }: Ranking,
  { why, kept }: Inlining,
  alias: Int32Array,
  aliasOf: ValueMap<Value>,
): Region[] {
  const root = (v: number): number => {
    let at = v;
    while (alias[at] >= 0) at = alias[at];
    return at;
  };
  const wanted = new Uint8Array(values.length);
  for (let v = 0; v < values.length; v++) if (kept[v]) wanted[root(v)] = 1;
  for (const region of regions) for (const v of region.leaves) if (!region.made.includes(v)) wanted[root(v)] = 1;
  // The last region that computes or reads a value, counted from 1.
  const computed = new Int32Array(values.length);
  const read = new Int32Array(values.length);
  // Lists that are begun for every region would be larger than they need be.
  const own: Node[] = [];
  const inputs: Value[] = [];
  const outputs: Value[] = [];
  const reasons: string[] = [];
  return regions.map((region, i) => {
    own.length = 0;
    inputs.length = 0;
    const ranks = region.nodes;
    sortAscending(ranks);
    for (let n = 0; n < ranks.length; n++) {
      const rank = ranks[n];
      const node = nodes[rank];
      // A reshape of what lies in memory is the same memory under another shape.
      if (node.op === 'reshape' && computed[operands.all[operands.begin[rank]]] !== i + 1 && rank !== region.seed) {
        aliasOf.set(node.results[0], node.operands[0]);
        continue;
      }
      own.push(node);
      for (let k = operands.begin[rank]; k < operands.begin[rank + 1]; k++) {
        const o = operands.all[k];
        if (computed[o] === i + 1 || read[o] === i + 1) continue;
        read[o] = i + 1;
        inputs.push(values[o]);
      }
      for (let r = 0; r < node.results.length; r++) computed[result[rank] + r] = i + 1;
    }
    const multi = nodes[region.seed].results.length > 1;
    outputs.length = 0;
    reasons.length = 0;
    for (let m = 0; m < region.made.length; m++) {
      const v = region.made[m];
      if (!multi && !wanted[v]) continue;
      outputs.push(values[v]);
      reasons.push(
        kept[v]
          ? 'it is a result of the function'
          : why[definition[v]] || region.refusals[0] || 'the next kernel reads other elements of it',
      );
    }
    reasons.push(...region.refusals);
    return {
      anchor: region.anchor,
      nodes: own.slice(),
      inputs: inputs.slice(),
      outputs: outputs.slice(),
      guard: nodes[region.seed].guard,
      stopped: firstOf(reasons, MOST_REASONS),
    };
  });
}

function firstOf(reasons: readonly string[], most: number): string {
  if (reasons.length === 1) return reasons[0];
  const first: string[] = [];
  for (let i = 0; i < reasons.length && first.length < most; i++)
    if (!first.includes(reasons[i])) first.push(reasons[i]);
  return first.join('; ');
}
