/**
 * Fusion: a function in, regions out, each of which becomes exactly one kernel. First it is chosen which values are
 * recomputed instead of stored (`inline.ts`), then stored values grow into regions (`grow.ts`), small independent regions
 * share a dispatch (`horizontal.ts`), and all are put in order (`schedule.ts`).
 */
import type { Func } from '../../ir/graph.js';
import { type Fusion, growRegions } from './grow.js';
import { fuseHorizontally } from './horizontal.js';
import { chooseInlined, chooseNothing } from './inline.js';
import { rankNodes } from './ranking.js';
import type { Region } from './region.js';
import { precedence, schedule } from './schedule.js';

export type { Fusion } from './grow.js';

export interface FuseOptions {
  /** False: one region a node. Default true. */
  readonly enabled?: boolean;
}

export function fuse(func: Func, { enabled = true }: FuseOptions = {}): Fusion {
  const ranking = rankNodes(func);
  const inlining = enabled ? chooseInlined(func, ranking) : chooseNothing(func, ranking);
  const { regions, aliasOf } = growRegions(ranking, inlining, enabled);
  const merged = enabled ? fuseHorizontally(regions, precedence(func, regions, aliasOf)) : regions;
  // The place of a region in the user's program: that of its anchor, or of the last value that it writes.
  const place = (region: Region): number => {
    const last = region.anchor && !region.parts ? region.anchor.results : region.outputs;
    return Math.max(...last.map((v) => ranking.position[ranking.definition[ranking.numbers.get(v)!]]));
  };
  const places = new Map(merged.map((r) => [r, place(r)]));
  const ordered = [...merged].sort((a, b) => places.get(a)! - places.get(b)!);
  return { regions: schedule(ordered, precedence(func, merged, aliasOf)), aliasOf };
}
