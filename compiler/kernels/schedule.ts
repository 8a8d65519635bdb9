/**
 * Puts regions in an order in which they can run: producers first, else in the order of the user's program. A region that
 * reads a state's old value comes before the one that writes the new value wherever the dependences allow it, so that the
 * new value can be written in place.
 */
import type { Func, Value } from '../../ir/graph.js';
import { ValueMap } from '../../ir/value-map.js';
import type { Region } from './region.js';

/** For each region the regions that run before it. Acyclic. */
export type Precedence = ReadonlyMap<Region, ReadonlySet<Region>>;

/** @param regions producers before their consumers */
export function precedence(func: Func, regions: readonly Region[], aliasOf: ReadonlyMap<Value, Value>): Precedence {
  const producer = new ValueMap<Region>();
  for (const region of regions) for (const v of region.outputs) producer.set(v, region);
  const freshOf = new Map<Value, Value>();
  for (const n of func.nodes) if (n.op === 'refresh') freshOf.set(n.results[0], n.operands[0]);

  const before = new Map<Region, Set<Region>>();
  /** The regions that write what `v` means, for a region that reads it. */
  const follow = (v: Value, region: Region, own: Set<Region>): void => {
    for (let at: Value | undefined = v; at; at = aliasOf.get(at)) {
      const from = producer.get(at);
      if (from && from !== region) own.add(from);
      // Refreshed state lies in the state's buffer, but what is written there is `fresh`.
      const fresh = freshOf.size > 0 ? freshOf.get(at) : undefined;
      if (fresh) follow(fresh, region, own);
    }
  };
  for (const region of regions) {
    const own = new Set<Region>();
    before.set(region, own);
    const { inputs } = region;
    for (let i = 0; i < inputs.length; i++) follow(inputs[i], region, own);
  }

  const place = new Map<Region, number>();
  for (let i = 0; i < regions.length; i++) place.set(regions[i], i);
  const late: { reader: Region; writer: Region }[] = [];
  for (const pair of overwrites(func, regions, aliasOf, producer)) {
    // All that agree with one order cannot make a cycle together.
    if (place.get(pair.reader)! < place.get(pair.writer)!) before.get(pair.writer)!.add(pair.reader);
    else late.push(pair);
  }
  // Nothing placed before `floor` has a predecessor that is placed later.
  let floor = Number.POSITIVE_INFINITY;
  for (const { reader, writer } of late) {
    floor = Math.min(floor, place.get(writer)!);
    if (reaches(before, reader, writer, (r) => place.get(r)! >= floor)) continue;
    before.get(writer)!.add(reader);
  }
  return before;
}

/** Whether `from` comes after `to` by what is known; only regions that pass `within` can lie on the way. */
function reaches(before: Precedence, from: Region, to: Region, within: (r: Region) => boolean): boolean {
  const seen = new Set<Region>();
  const stack = [from];
  for (let r = stack.pop(); r; r = stack.pop()) {
    if (r === to) return true;
    if (seen.has(r)) continue;
    seen.add(r);
    for (const b of before.get(r)!) if (within(b)) stack.push(b);
  }
  return false;
}

/** Pairs (reader of a state's old value, writer of its new value) in which the reader should run first. */
function overwrites(
  func: Func,
  regions: readonly Region[],
  aliasOf: ReadonlyMap<Value, Value>,
  producer: ValueMap<Region>,
): { reader: Region; writer: Region }[] {
  const refreshes = func.nodes.filter((n) => n.op === 'refresh');
  const refreshed = new Set(refreshes.map((n) => n.results[0]));
  const root = (v: Value): Value => {
    let at = v;
    for (let next = aliasOf.get(at); next; next = aliasOf.get(at)) at = next;
    return at;
  };
  const meansRefreshed = (v: Value): boolean => {
    for (let at: Value | undefined = v; at; at = aliasOf.get(at)) if (refreshed.has(at)) return true;
    return false;
  };
  const reads = new Map(func.reads.map((v) => [v.name, v]));
  const written = new ValueMap<Region>();
  const writes = (old: Value | undefined, value: Value): void => {
    const writer = producer.get(root(value));
    if (old && writer && root(value) !== old) written.set(old, writer);
  };
  for (const n of refreshes) writes(root(n.operands[1]), n.operands[0]);
  for (const u of func.updates) writes(reads.get(u.state), u.value);
  const pairs: { reader: Region; writer: Region }[] = [];
  for (const reader of regions)
    for (let i = 0; i < reader.inputs.length; i++) {
      const v = reader.inputs[i];
      const writer = written.get(root(v));
      if (writer && writer !== reader && !meansRefreshed(v)) pairs.push({ reader, writer });
    }
  return pairs;
}

/** @param regions in the order of preference */
export function schedule(regions: readonly Region[], before: Precedence): Region[] {
  const order: Region[] = [];
  const state = new Map<Region, 'open' | 'done'>();
  const visit = (region: Region): void => {
    if (state.get(region) === 'open') throw new Error('regions depend on each other in a cycle');
    if (state.has(region)) return;
    state.set(region, 'open');
    for (const r of before.get(region)!) visit(r);
    state.set(region, 'done');
    order.push(region);
  };
  regions.forEach(visit);
  return order;
}
