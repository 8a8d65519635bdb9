/**
 * Second half of fusion: stored values become regions. Every anchor starts one; a stored elementwise value joins the region
 * that it reads at the same place (epilogue), or else starts a pointwise region. A region may only read what regions of
 * lower rank write, so no cycle can arise.
 */
import type { Node, Value } from '../../ir/graph.js';
import { ops } from '../../ir/ops/table.js';
import { storedCount } from '../../ir/types.js';
import { type Order, resultOrder, rowMajor } from './alignment.js';
import { isAnchor, takesEpilogue } from './archetype.js';
import type { Inlining, Ranking } from './inline.js';
import type { Region } from './region.js';

const MOST_NODES = 64;
const MOST_PARAMETERS = 24;

export interface Fusion {
  readonly regions: readonly Region[];
  /** Values that share the bytes of another: reshapes of stored values, and refreshed state. */
  readonly aliasOf: ReadonlyMap<Value, Value>;
}

/** A region while it grows. */
interface Growing {
  readonly seed: Node;
  readonly anchor?: Node;
  readonly rank: number;
  readonly nodes: Set<Node>;
  readonly leaves: Set<Value>;
  /** Stored values computed here. */
  readonly made: Set<Value>;
  /** How values follow the order of the seed's result; null where they do not. */
  readonly orders: Map<Value, Order | null>;
  readonly refusals: string[];
}

interface Cone {
  readonly nodes: readonly Node[];
  readonly leaves: readonly Value[];
}

export function growRegions(ranking: Ranking, inlining: Inlining, enabled = true): Fusion {
  const { rank, definitions } = ranking;
  const { inlined, stored } = inlining;
  const aliasOf = new Map<Value, Value>();
  const regionOf = new Map<Value, Growing>();
  const regions: Growing[] = [];
  const root = (v: Value): Value => {
    let at = v;
    for (let next = aliasOf.get(at); next; next = aliasOf.get(at)) at = next;
    return at;
  };
  /** The region that writes the bytes of `v`, which for refreshed state is the one that computes the fresh value. */
  const producerOf = (v: Value): Growing | undefined => {
    for (let at: Value | undefined = v; at; at = aliasOf.get(at)) {
      const region = regionOf.get(at);
      if (region) return region;
    }
    return undefined;
  };

  /** The nodes that are recomputed for `node`, itself included, and the values that they read from memory. */
  const coneOf = (node: Node): Cone => {
    const nodes = new Set<Node>([node]);
    const leaves = new Set<Value>();
    const visit = (v: Value): void => {
      const from = definitions.get(v);
      if (!from || !inlined.has(from)) leaves.add(v);
      else if (!nodes.has(from)) {
        nodes.add(from);
        from.operands.forEach(visit);
      }
    };
    node.operands.forEach(visit);
    return { nodes: [...nodes].sort((a, b) => rank.get(a)! - rank.get(b)!), leaves: [...leaves] };
  };

  const start = (seed: Node, cone: Cone): void => {
    const region: Growing = {
      seed,
      anchor: isAnchor(seed) ? seed : undefined,
      rank: rank.get(seed)!,
      nodes: new Set(cone.nodes),
      leaves: new Set(cone.leaves),
      made: new Set(seed.results),
      orders: new Map([[seed.results[0], rowMajor(storedCount(seed.results[0].type))]]),
      refusals: [],
    };
    regions.push(region);
    for (const r of seed.results) regionOf.set(r, region);
  };

  /** Region of highest rank among those whose values the cone reads. */
  const latestProducer = (cone: Cone): Growing | undefined => {
    let latest: Growing | undefined;
    for (const v of cone.leaves) {
      const region = producerOf(v);
      if (region && (!latest || region.rank > latest.rank)) latest = region;
    }
    return latest;
  };

  /** Adds a stored pointwise node to the region; a string says why it cannot. */
  const join = (region: Growing, node: Node, cone: Cone): string | undefined => {
    const [result] = node.results;
    if (region.anchor && (!takesEpilogue(region.anchor) || region.anchor.results.length > 1))
      return `nothing follows ${region.anchor.op} in its kernel`;
    if (region.seed.guard !== node.guard) return 'guards differ';
    if (storedCount(result.type) !== storedCount(region.seed.results[0].type)) return 'element counts differ';
    for (const v of cone.leaves) {
      const producer = producerOf(v);
      if (producer === region && !region.made.has(v)) return `${v.name} shares memory with a value of the region`;
      if (producer && producer !== region && producer.rank >= region.rank) return `${v.name} is not ready before`;
    }
    const orders = new Map<Value, Order | null>();
    const orderOf = (v: Value): Order | null | undefined => (orders.has(v) ? orders.get(v) : region.orders.get(v));
    for (const n of cone.nodes) {
      const order = resultOrder(n, orderOf);
      if (order !== undefined) orders.set(n.results[0], order);
    }
    if (!orders.get(result)) return `it needs other elements of ${region.seed.results[0].name} than the one at hand`;
    const leaves = cone.leaves.filter((v) => !region.made.has(v) && !region.leaves.has(v));
    if (region.nodes.size + cone.nodes.length > MOST_NODES) return `the kernel holds ${region.nodes.size} nodes`;
    if (region.leaves.size + leaves.length + region.made.size >= MOST_PARAMETERS)
      return `the kernel has ${region.leaves.size + region.made.size} parameters`;
    for (const n of cone.nodes) region.nodes.add(n);
    for (const v of leaves) region.leaves.add(v);
    for (const [v, order] of orders) region.orders.set(v, order);
    region.made.add(result);
    regionOf.set(result, region);
    return undefined;
  };

  for (const node of ranking.nodes) {
    if (!stored.has(node)) continue;
    if (node.op === 'reshape') {
      aliasOf.set(node.results[0], node.operands[0]);
      continue;
    }
    if (node.op === 'refresh') {
      aliasOf.set(node.results[0], node.operands[1]);
      const fresh = producerOf(node.operands[0]);
      if (fresh) regionOf.set(node.results[0], fresh);
      continue;
    }
    const cone = coneOf(node);
    if (enabled && ops[node.op].fuse === 'elementwise') {
      const region = latestProducer(cone);
      const refusal = region ? join(region, node, cone) : undefined;
      if (region && refusal === undefined) continue;
      region?.refusals.push(`${node.op} ${node.results[0].name} stays out: ${refusal}`);
    }
    start(node, cone);
  }
  return { regions: regions.map(finish(regions, ranking, inlining, root, aliasOf)), aliasOf };
}

/** Settles what each region reads and writes, once all have grown. */
function finish(
  regions: readonly Growing[],
  { rank }: Ranking,
  { stored, kept }: Inlining,
  root: (v: Value) => Value,
  aliasOf: Map<Value, Value>,
): (region: Growing) => Region {
  const wanted = new Set<Value>([...kept].map(root));
  for (const region of regions) for (const v of region.leaves) if (!region.made.has(v)) wanted.add(root(v));
  return (region) => {
    const all = [...region.nodes].sort((a, b) => rank.get(a)! - rank.get(b)!);
    const computed = new Set<Value>();
    const inputs = new Set<Value>();
    const nodes: Node[] = [];
    for (const node of all) {
      // A reshape of what lies in memory is the same memory under another shape.
      if (node.op === 'reshape' && !computed.has(node.operands[0]) && node !== region.seed) {
        aliasOf.set(node.results[0], node.operands[0]);
        continue;
      }
      nodes.push(node);
      for (const o of node.operands) if (!computed.has(o)) inputs.add(o);
      for (const r of node.results) computed.add(r);
    }
    const multi = region.seed.results.length > 1;
    const outputs = [...region.made].filter((v) => multi || wanted.has(v));
    const reasons = outputs.map((v) => {
      if (kept.has(v)) return 'it is a result of the function';
      const node = all.find((n) => n.results.includes(v));
      return (node && stored.get(node)) || region.refusals[0] || 'the next kernel reads other elements of it';
    });
    return {
      anchor: region.anchor,
      nodes,
      inputs: [...inputs],
      outputs,
      guard: region.seed.guard,
      stopped: [...new Set([...reasons, ...region.refusals])].slice(0, 3).join('; '),
    };
  };
}
