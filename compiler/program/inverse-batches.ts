/**
 * Which damped inverses share dispatches on a GPU. WebGPU makes dispatches wait that write one memory, and one matrix fills a
 * small part of a device; so all inverses that do not wait for each other are batches, whatever their guards: narrow ones, each
 * the work of one workgroup, and wide ones, which go through common phases. A batch runs where any of its guards is on.
 */
import type { KernelParam } from '../../ir/kernel.js';
import { concrete, product } from '../../ir/types.js';
import { lowerNarrowInverses, narrowScratch } from '../kernels/gpu/inverse.js';
import { DUE, InverseBatch } from '../kernels/gpu/inverse-batch.js';
import { type WideChoice, wideScratch } from '../kernels/gpu/inverse-layout.js';
import { lowerWideInverses, type Round } from '../kernels/gpu/inverse-wide.js';
import type { Region } from '../kernels/region.js';
import { type Precedence, schedule } from '../kernels/schedule.js';

export interface BatchOptions {
  /** The widest matrix that one workgroup inverts: about where it takes as long as the phases of a wide one. */
  readonly narrow?: number;
  readonly choice?: WideChoice;
}

const NARROW = 256;
/** What a batch holds at most: statistics, since each adds branches to its kernels, and elements of scratch memory (32 MiB, 256 MiB). */
const MOST = {
  narrow: { statistics: 32, scratch: 2 ** 23 },
  wide: { statistics: 48, scratch: 2 ** 26 },
};

export interface Batched {
  /** With one region, the batch's first, for all regions of a batch. */
  readonly regions: readonly Region[];
  /** Of these. */
  readonly before: Precedence;
  /** By that region. */
  readonly batches: ReadonlyMap<Region, readonly Region[]>;
}

const isInverse = (r: Region): boolean => r.anchor?.op === 'damped_inverse';

function sizeOf(region: Region): { readonly width: number; readonly matrices: number } {
  const shape = concrete(region.anchor!.operands[0].type.shape);
  return { width: shape[shape.length - 1], matrices: product(shape.slice(0, -2)) };
}

const isWide = (region: Region, { narrow = NARROW }: BatchOptions): boolean => sizeOf(region).width > narrow;

/** @param regions in an order in which they can run */
export function batchInverses(regions: readonly Region[], before: Precedence, options: BatchOptions): Batched {
  // No inverse that waits for another one: then batches cannot wait for each other in a circle.
  const behind = new Uint8Array(regions.length);
  for (const [r, own] of before.entries()) if (own.some((b) => behind[b] || isInverse(regions[b]))) behind[r] = 1;
  const free = regions.filter((r, i) => isInverse(r) && r.guard !== undefined && !behind[i]);
  // Those of similar width together: they take as much memory and as many turns.
  const byWidth = [...free].sort((a, b) => sizeOf(b).width - sizeOf(a).width);
  const matrices = (group: readonly Region[]): number => group.reduce((n, r) => n + sizeOf(r).matrices, 0);
  const narrow = partition(
    byWidth.filter((r) => !isWide(r, options)),
    MOST.narrow,
    (group) => matrices(group) * narrowScratch(sizeOf(group[0]).width),
  );
  const wide = partition(
    byWidth.filter((r) => isWide(r, options)),
    MOST.wide,
    (group) => group.reduce((n, r) => n + sizeOf(r).matrices * wideScratch(sizeOf(r).width), 0),
  );
  const groups = [...narrow.filter((g) => g.length > 1), ...wide];
  const placeOf = new Map(regions.map((r, i) => [r, i]));
  /** By place: that of the region that stands for it. */
  const stand = Int32Array.from(regions.keys());
  for (const group of groups) for (const r of group) stand[placeOf.get(r)!] = placeOf.get(group[0])!;
  const joined = regions.map((): number[] => []);
  for (const [r, own] of before.entries())
    for (const b of own) if (stand[b] !== stand[r]) joined[stand[r]].push(stand[b]);
  const order = schedule(
    [...regions.keys()].filter((i) => stand[i] === i),
    joined,
  );
  const placed = new Int32Array(regions.length);
  for (const [to, from] of order.entries()) placed[from] = to;
  return {
    regions: order.map((i) => regions[i]),
    before: order.map((i) => joined[i].map((b) => placed[b])),
    batches: new Map(groups.map((g) => [g[0], g])),
  };
}

/** Rows of regions, none over what a batch may hold; a region that is over it has its own. */
function partition(
  regions: readonly Region[],
  most: { readonly statistics: number; readonly scratch: number },
  scratch: (group: readonly Region[]) => number,
): Region[][] {
  const groups: Region[][] = [];
  for (const r of regions) {
    const last = groups.at(-1);
    if (last && last.length < most.statistics && scratch([...last, r]) <= most.scratch) last.push(r);
    else groups.push([r]);
  }
  return groups;
}

/** What a batch runs. */
export interface BatchPlan {
  readonly batch: InverseBatch;
  readonly rounds: readonly Round[];
  readonly scratch: readonly KernelParam[];
}

export function lowerBatch(regions: readonly Region[], name: string, options: BatchOptions): BatchPlan {
  const batch = new InverseBatch(regions, true);
  if (isWide(regions[0], options)) return { batch, ...lowerWideInverses(batch, name, options.choice) };
  const kernel = lowerNarrowInverses(batch, name);
  const scratch = kernel.params.filter((p) => p.name !== DUE && batch.valueOf(p.name) === undefined);
  return { batch, rounds: [{ kernels: [kernel], times: 1 }], scratch };
}
