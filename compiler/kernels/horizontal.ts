/**
 * Horizontal fusion: independent regions of one wave become one kernel with several loop nests. Small pointwise regions
 * (parameter updates, per-channel vectors) share a dispatch; regions that read the same large tensor share their loops, so
 * that it is read once.
 */
import type { Node, Value } from '../../ir/graph.js';
import { intsOf } from '../../ir/ops/declare.js';
import { printShape, printType, shapeEquals, storedCount } from '../../ir/types.js';
import { joins } from './archetype.js';
import type { Region } from './region.js';
import { type Precedence, schedule } from './schedule.js';

/** A kernel of fewer elements than this costs less than starting it. */
const SMALL = 16384;
const MOST_PARAMETERS = 24;
/** Groups of one kind that still take regions; the oldest are closed first. */
const MOST_OPEN = 4;
/** A wave behind all others. */
const LAST = 2 ** 30;

/** Regions, joined, and for each region that there was its place among them. */
export interface Merged {
  readonly merged: readonly Region[];
  readonly place: Int32Array;
}

/** Nothing is joined. */
export const apart = (regions: readonly Region[]): Merged => ({
  merged: regions,
  place: Int32Array.from(regions.keys()),
});

/**
 * @param regions producers before their consumers
 * @returns the same, joined, producers still before their consumers
 */
export function fuseHorizontally(regions: readonly Region[], before: Precedence): Merged {
  const kinds = regions.map(shareable);
  const waves = wavesOf(
    before,
    (place, awaited) => kinds[place] !== undefined && (!awaited || takesLittle(regions[place])),
  );
  const open = new Map<string, Group[]>();
  const groups: Group[] = [];
  for (let place = 0; place < regions.length; place++) {
    const region = regions[place];
    const kind = kinds[place];
    const wave = waves[place];
    if (kind === undefined) {
      groups.push({ wave, places: [place], parameters: none });
      continue;
    }
    const key = `${kind} ${region.guard ?? ''} ${wave}`;
    const candidates = open.get(key) ?? [];
    open.set(key, candidates);
    const fits = candidates.find(
      (g) => related(g, region) && addedBy(g, region) + g.parameters.length <= MOST_PARAMETERS,
    );
    if (fits) {
      fits.places.push(place);
      for (const v of region.inputs) if (!fits.parameters.includes(v)) fits.parameters.push(v);
      fits.parameters.push(...region.outputs);
    } else {
      const group = groupOf(place, region, wave);
      candidates.unshift(group);
      if (candidates.length > MOST_OPEN) candidates.pop();
      groups.push(group);
    }
  }
  groups.sort((a, b) => a.wave - b.wave);
  const place = new Int32Array(regions.length);
  const merged = groups.map(({ places }, g) => {
    for (const p of places) place[p] = g;
    return places.length === 1 ? regions[places[0]] : merge(places.map((p) => regions[p]));
  });
  return { merged, place };
}

/**
 * For each region its wave, later than those of all that it waits for; regions of one wave do not wait for each other. It is the
 * length of the longest path to the region; or, for what `mayWait`, the last before somebody needs it: what is needed at the
 * same time then meets, such as the sums of all layers that a clip waits for.
 * @param mayWait whether a region may, which another awaits or none
 */
function wavesOf(before: Precedence, mayWait: (place: number, awaited: boolean) => boolean): Int32Array {
  const order = schedule([...before.keys()], before);
  const first = new Int32Array(before.length);
  for (const place of order) for (const b of before[place]) first[place] = Math.max(first[place], first[b] + 1);
  /** The earliest wave among those that wait for it. */
  const needed = new Int32Array(before.length).fill(LAST + 1);
  const waves = new Int32Array(before.length);
  for (let i = order.length - 1; i >= 0; i--) {
    const place = order[i];
    waves[place] = mayWait(place, needed[place] <= LAST) ? needed[place] - 1 : first[place];
    for (const b of before[place]) needed[b] = Math.min(needed[b], waves[place]);
  }
  return waves;
}

/** Regions that will share a kernel, and its parameters, each once; few, so that a list is searched as fast as a set. */
interface Group {
  readonly wave: number;
  readonly places: number[];
  readonly parameters: Value[];
}

/** Of groups that take nobody in. */
const none: Value[] = [];

const groupOf = (place: number, region: Region, wave: number): Group => ({
  wave,
  places: [place],
  parameters: region.inputs.concat(region.outputs),
});

function addedBy(group: Group, region: Region): number {
  let n = region.outputs.length;
  for (let i = 0; i < region.inputs.length; i++) if (!group.parameters.includes(region.inputs[i])) n++;
  return n;
}

/** A key that regions must agree on to share a kernel; undefined: this one never does. */
function shareable(region: Region): string | undefined {
  const { anchor } = region;
  if (anchor?.op === 'reduce_sum' || anchor?.op === 'reduce_max')
    return `reduction ${printType(anchor.operands[0].type)} ${intsOf(anchor.attrs, 'axes')}`;
  if (anchor) return undefined;
  if (sizeOf(region) <= SMALL) return 'pointwise';
  const shape = commonShape(region);
  return shape === undefined ? undefined : `pointwise ${shape}`;
}

/** Most elements of a value that the region computes, an anchor's operand included. */
function sizeOf({ anchor, outputs }: Region): number {
  let size = 0;
  const read = anchor?.operands ?? [];
  for (let i = 0; i < read.length; i++) size = Math.max(size, storedCount(read[i].type));
  for (let i = 0; i < outputs.length; i++) size = Math.max(size, storedCount(outputs[i].type));
  return size;
}

/** Whether nothing large lives on for it if it runs later. */
const takesLittle = (region: Region): boolean =>
  sizeOf(region) <= SMALL && region.inputs.every((v) => storedCount(v.type) <= SMALL);

/** The shape and layout of all outputs, if they agree: then they can share a loop nest. */
function commonShape({ outputs }: Region): string | undefined {
  const [{ type }, ...rest] = outputs;
  const same = rest.every((v) => v.type.layout === type.layout && shapeEquals(v.type.shape, type.shape));
  return same ? `${type.layout} ${printShape(type.shape)}` : undefined;
}

/** Large regions share loops only where that saves reading a tensor. */
function related(group: Group, region: Region): boolean {
  const size = sizeOf(region);
  return size <= SMALL || region.inputs.some((v) => storedCount(v.type) === size && group.parameters.includes(v));
}

function merge(group: readonly Region[]): Region {
  const { anchor, guard } = group[0];
  return {
    anchor,
    nodes: distinct(group.map((r) => r.nodes)),
    parts: anchor ? group.map((r) => r.nodes) : nests(group),
    inputs: distinct(group.map((r) => r.inputs)),
    outputs: group.flatMap((r) => r.outputs),
    guard,
    stopped: [...new Set(group.map((r) => r.stopped))].slice(0, 2).join('; '),
  };
}

/** What is in some of the lists, each once: a few dozen, so that a list is searched as fast as a set. */
function distinct<T>(lists: readonly (readonly T[])[]): T[] {
  const all: T[] = [];
  for (let i = 0; i < lists.length; i++)
    for (let k = 0; k < lists[i].length; k++) if (!all.includes(lists[i][k])) all.push(lists[i][k]);
  return all;
}

/** The nodes of each loop nest of pointwise regions: those of one output shape share a nest. */
function nests(group: readonly Region[]): readonly (readonly Node[])[] {
  const byShape = new Map<string, Set<Node>>();
  const parts: Set<Node>[] = [];
  for (const region of group) {
    const apart = region.nodes.some((n) => joins(n) && region.outputs.includes(n.results[0]));
    const shape = apart ? undefined : commonShape(region);
    const known = shape === undefined ? undefined : byShape.get(shape);
    if (known) {
      for (const n of region.nodes) known.add(n);
      continue;
    }
    const part = new Set(region.nodes);
    parts.push(part);
    if (shape !== undefined) byShape.set(shape, part);
  }
  return parts.map((p) => [...p]);
}
