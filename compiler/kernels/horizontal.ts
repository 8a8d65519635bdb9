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
import type { Precedence } from './schedule.js';

/** A kernel of fewer elements than this costs less than starting it. */
const SMALL = 16384;
const MOST_PARAMETERS = 24;
/** Groups of one kind that still take regions; the oldest are closed first. */
const MOST_OPEN = 4;
const LAST = Number.MAX_SAFE_INTEGER;

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
  const waves = wavesOf(before);
  const awaited = new Uint8Array(regions.length);
  for (const own of before) for (const b of own) awaited[b] = 1;
  const open = new Map<string, Group[]>();
  const groups: Group[] = [];
  for (let place = 0; place < regions.length; place++) {
    const region = regions[place];
    const kind = shareable(region);
    if (kind === undefined) {
      groups.push({ wave: waves[place], places: [place], parameters: none });
      continue;
    }
    // What nothing waits for may all run last.
    const wave = awaited[place] ? waves[place] : LAST;
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

/** For each region the length of the longest path to it: regions of one wave do not wait for each other. */
function wavesOf(before: Precedence): Int32Array {
  const waves = new Int32Array(before.length).fill(-1);
  const wave = (place: number): number => {
    if (waves[place] >= 0) return waves[place];
    let w = 0;
    for (const b of before[place]) w = Math.max(w, wave(b) + 1);
    waves[place] = w;
    return w;
  };
  for (let place = 0; place < before.length; place++) wave(place);
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
    nodes: [...new Set(group.flatMap((r) => r.nodes))],
    parts: anchor ? group.map((r) => r.nodes) : nests(group),
    inputs: [...new Set(group.flatMap((r) => r.inputs))],
    outputs: group.flatMap((r) => r.outputs),
    guard,
    stopped: [...new Set(group.map((r) => r.stopped))].slice(0, 2).join('; '),
  };
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
