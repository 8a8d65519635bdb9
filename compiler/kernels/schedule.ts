/**
 * Puts regions in an order in which they can run: producers first, else in the order of the user's program. A region that
 * reads a state's old value comes before the one that writes the new value wherever the dependences allow it, so that the
 * new value can be written in place.
 */
import type { Func, Value } from '../../ir/graph.js';
import type { Region } from './region.js';

/** For each region the regions that must run before it. */
export function dependences(
  func: Func,
  regions: readonly Region[],
  aliasOf: ReadonlyMap<Value, Value>,
): ReadonlyMap<Region, ReadonlySet<Region>> {
  const producer = new Map<Value, Region>();
  for (const region of regions) for (const v of region.outputs) producer.set(v, region);
  const refreshes = new Map(func.nodes.filter((n) => n.op === 'refresh').map((n) => [n.results[0], n.operands[0]]));
  const sources = (v: Value): Region[] => {
    const out: Region[] = [];
    for (let at: Value | undefined = v; at; at = aliasOf.get(at)) {
      const direct = producer.get(at);
      if (direct) out.push(direct);
      // Refreshed state lies in the state's buffer, but what is written there is `fresh`.
      const fresh = refreshes.get(at);
      if (fresh) out.push(...sources(fresh));
    }
    return out;
  };
  return new Map(
    regions.map((region) => [region, new Set(region.inputs.flatMap(sources).filter((r) => r !== region))]),
  );
}

/** Pairs (reader of a state's old value, writer of its new value) in which the reader should run first. */
function overwrites(
  func: Func,
  regions: readonly Region[],
  aliasOf: ReadonlyMap<Value, Value>,
): { reader: Region; writer: Region }[] {
  const refreshed = new Set(func.nodes.filter((n) => n.op === 'refresh').map((n) => n.results[0]));
  const owner = (v: Value): Value | undefined => {
    let at = v;
    for (;;) {
      if (refreshed.has(at)) return undefined;
      const next = aliasOf.get(at);
      if (!next) return at;
      at = next;
    }
  };
  const root = (v: Value): Value => {
    let at = v;
    for (let next = aliasOf.get(at); next; next = aliasOf.get(at)) at = next;
    return at;
  };
  const reads = new Map(func.reads.map((v) => [v.name, v]));
  const written = new Map<Value, Value>();
  for (const n of func.nodes) if (n.op === 'refresh') written.set(root(n.operands[1]), root(n.operands[0]));
  for (const u of func.updates) {
    const old = reads.get(u.state);
    if (old && root(u.value) !== old) written.set(old, root(u.value));
  }
  const producer = new Map<Value, Region>();
  for (const region of regions) for (const v of region.outputs) producer.set(v, region);
  const pairs: { reader: Region; writer: Region }[] = [];
  for (const reader of regions)
    for (const v of reader.inputs) {
      const old = owner(v);
      const writer = old && written.has(old) ? producer.get(written.get(old)!) : undefined;
      if (writer && writer !== reader) pairs.push({ reader, writer });
    }
  return pairs;
}

/** @param regions in the order of preference */
export function schedule(func: Func, regions: readonly Region[], aliasOf: ReadonlyMap<Value, Value>): Region[] {
  const before = dependences(func, regions, aliasOf);
  const readers = new Map<Region, Region[]>();
  for (const { reader, writer } of overwrites(func, regions, aliasOf)) {
    const list = readers.get(writer);
    if (list) list.push(reader);
    else readers.set(writer, [reader]);
  }
  const order: Region[] = [];
  const state = new Map<Region, 'open' | 'done'>();
  const visit = (region: Region): void => {
    if (state.has(region)) return;
    state.set(region, 'open');
    for (const r of before.get(region)!) {
      if (state.get(r) === 'open') throw new Error('regions depend on each other in a cycle');
      visit(r);
    }
    state.set(region, 'done');
    order.push(region);
  };
  const wish = (region: Region, path: Set<Region>): void => {
    if (state.has(region) || path.has(region)) return;
    path.add(region);
    for (const r of readers.get(region) ?? []) wish(r, path);
    visit(region);
  };
  for (const region of regions) wish(region, new Set());
  return order;
}
