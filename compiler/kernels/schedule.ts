/**
 * Puts regions in an order in which they can run: producers first, else in the order of the user's program. A region that
 * reads a state's old value comes before the one that writes the new value wherever the dependences allow it, so that the
 * new value can be written in place.
 */
import type { Func, Node, Value } from '../../ir/graph.js';
import { ValueMap } from '../../ir/value-map.js';
import type { Aliases } from './grow.js';
import type { Region } from './region.js';

/**
 * For each of a list of regions, by its place there, the places of those that run before it; one may be listed several times.
 * Acyclic.
 */
export type Precedence = readonly (readonly number[])[];

/** @param regions producers before their consumers */
export function precedence(func: Func, regions: readonly Region[], aliasOf: Aliases): Precedence {
  /** By value: place of the region that writes it. */
  const producer = new ValueMap<number>();
  for (let i = 0; i < regions.length; i++)
    for (let k = 0; k < regions[i].outputs.length; k++) producer.set(regions[i].outputs[k], i);
  const refreshes = func.nodes.filter((n) => n.op === 'refresh');
  const freshOf = new ValueMap<Value>();
  for (const n of refreshes) freshOf.set(n.results[0], n.operands[0]);

  const own: number[] = [];
  /** Adds to `own` the regions that write what `v` means, for a region that reads it. */
  const follow = (v: Value, region: number): void => {
    for (let at: Value | undefined = v; at; at = aliasOf.get(at)) {
      const from = producer.get(at);
      if (from !== undefined && from !== region) own.push(from);
      // Refreshed state lies in the state's buffer, but what is written there is `fresh`.
      const fresh = freshOf.get(at);
      if (fresh) follow(fresh, region);
    }
  };
  const before = regions.map(({ inputs }, i) => {
    own.length = 0;
    for (let k = 0; k < inputs.length; k++) follow(inputs[k], i);
    return own.slice();
  });

  const late: Overwrite[] = [];
  for (const pair of overwrites(func, regions, refreshes, aliasOf, producer)) {
    // All that agree with one order cannot make a cycle together.
    if (pair.reader < pair.writer) before[pair.writer].push(pair.reader);
    else late.push(pair);
  }
  // Nothing placed before `floor` has a predecessor that is placed later.
  let floor = Number.POSITIVE_INFINITY;
  for (const { reader, writer } of late) {
    floor = Math.min(floor, writer);
    if (!reaches(before, reader, writer, floor)) before[writer].push(reader);
  }
  return before;
}

/** The precedence among `count` regions that others were joined to; `place`: of each of those, that of what it became part of. */
export function among(before: Precedence, place: Int32Array, count: number): Precedence {
  const joined = Array.from({ length: count }, (): number[] => []);
  for (let i = 0; i < before.length; i++)
    for (let k = 0; k < before[i].length; k++) {
      const from = place[before[i][k]];
      if (from !== place[i]) joined[place[i]].push(from);
    }
  return joined;
}

/** Whether `from` comes after `to` by what is known; only regions from `floor` on can lie on the way. */
function reaches(before: Precedence, from: number, to: number, floor: number): boolean {
  const seen = new Set<number>();
  const stack = [from];
  for (let r = stack.pop(); r !== undefined; r = stack.pop()) {
    if (r === to) return true;
    if (seen.has(r)) continue;
    seen.add(r);
    for (const b of before[r]) if (b >= floor) stack.push(b);
  }
  return false;
}

/** Places of a region that reads a state's old value, and of the one that writes the new. */
interface Overwrite {
  readonly reader: number;
  readonly writer: number;
}

/** Pairs in which the reader should run first. */
function overwrites(
  func: Func,
  regions: readonly Region[],
  refreshes: readonly Node[],
  aliasOf: Aliases,
  producer: ValueMap<number>,
): Overwrite[] {
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
  const written = new ValueMap<number>();
  const writes = (old: Value | undefined, value: Value): void => {
    const writer = producer.get(root(value));
    if (old && writer !== undefined && root(value) !== old) written.set(old, writer);
  };
  for (const n of refreshes) writes(root(n.operands[1]), n.operands[0]);
  for (const u of func.updates) writes(reads.get(u.state), u.value);
  const pairs: Overwrite[] = [];
  for (let reader = 0; reader < regions.length; reader++)
    for (let i = 0; i < regions[reader].inputs.length; i++) {
      const v = regions[reader].inputs[i];
      const writer = written.get(root(v));
      if (writer !== undefined && writer !== reader && !meansRefreshed(v)) pairs.push({ reader, writer });
    }
  return pairs;
}

const [OPEN, DONE] = [1, 2];

/**
 * @param preferred places in the order of preference
 * @returns them in an order in which the regions can run
 */
export function schedule(preferred: Iterable<number>, before: Precedence): number[] {
  const order: number[] = [];
  const state = new Uint8Array(before.length);
  const visit = (place: number): void => {
    if (state[place] === OPEN) throw new Error('regions depend on each other in a cycle');
    if (state[place] === DONE) return;
    state[place] = OPEN;
    for (const b of before[place]) visit(b);
    state[place] = DONE;
    order.push(place);
  };
  for (const place of preferred) visit(place);
  return order;
}
