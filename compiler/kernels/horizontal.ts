/**
 * Horizontal fusion: independent regions of one wave become one kernel with several loop nests. Small pointwise regions
 * (parameter updates, per-channel vectors) share a dispatch; reductions over the same tensor share their loops, so that it
 * is read once.
 */
import type { Func, Value } from '../../ir/graph.js';
import { intsOf } from '../../ir/ops/declare.js';
import { printShape, storedCount } from '../../ir/types.js';
import type { Region } from './region.js';
import { dependences } from './schedule.js';

/** A kernel of fewer elements than this costs less than starting it. */
const SMALL = 16384;
const MOST_PARAMETERS = 24;

/** @param regions operands first */
export function fuseHorizontally(func: Func, regions: readonly Region[], aliasOf: ReadonlyMap<Value, Value>): Region[] {
  const before = dependences(func, regions, aliasOf);
  const wave = new Map<Region, number>();
  const read = new Set<Region>();
  for (const region of regions) {
    let w = 0;
    for (const r of before.get(region)!) {
      w = Math.max(w, wave.get(r)! + 1);
      read.add(r);
    }
    wave.set(region, w);
  }
  const open = new Map<string, Region[][]>();
  const groups: Region[][] = [];
  for (const region of regions) {
    const kind = shareable(region);
    if (kind === undefined) {
      groups.push([region]);
      continue;
    }
    // What nothing waits for may all run last.
    const key = `${kind} ${region.guard ?? ''} ${read.has(region) ? wave.get(region) : 'last'}`;
    const candidates = open.get(key) ?? [];
    open.set(key, candidates);
    const fits = candidates.find((g) => related(g, region) && parametersOf([...g, region]) <= MOST_PARAMETERS);
    if (fits) fits.push(region);
    else {
      const group = [region];
      candidates.push(group);
      groups.push(group);
    }
  }
  return groups.map((g) => (g.length === 1 ? g[0] : merge(g)));
}

/** A key that regions must agree on to share a kernel; undefined: this one never does. */
function shareable(region: Region): string | undefined {
  const { anchor } = region;
  if (anchor?.op === 'reduce_sum' || anchor?.op === 'reduce_max')
    return `reduction ${printShape(anchor.operands[0].type.shape)} ${intsOf(anchor.attrs, 'axes')}`;
  if (anchor) return undefined;
  return region.outputs.reduce((n, v) => n + storedCount(v.type), 0) <= SMALL ? 'pointwise' : undefined;
}

/** Reductions share loops only where that saves reading a tensor, or where they are small. */
function related(group: readonly Region[], region: Region): boolean {
  const { anchor } = region;
  if (!anchor) return true;
  const size = storedCount(anchor.operands[0].type);
  if (size <= SMALL) return true;
  const large = (v: Value): boolean => storedCount(v.type) === size;
  return group.some((g) => g.inputs.some((v) => large(v) && region.inputs.includes(v)));
}

function parametersOf(group: readonly Region[]): number {
  return new Set(group.flatMap((r) => [...r.inputs, ...r.outputs])).size;
}

function merge(group: readonly Region[]): Region {
  return {
    anchor: group[0].anchor,
    nodes: [...new Set(group.flatMap((r) => r.nodes))],
    parts: group.map((r) => r.nodes),
    inputs: [...new Set(group.flatMap((r) => r.inputs))],
    outputs: group.flatMap((r) => r.outputs),
    guard: group[0].guard,
    stopped: [...new Set(group.map((r) => r.stopped))].slice(0, 2).join('; '),
  };
}
