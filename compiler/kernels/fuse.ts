/**
 * Fusion: a function in, regions out, each of which becomes exactly one kernel. First it is chosen which values are
 * recomputed instead of stored (`inline.ts`), then stored values grow into regions (`grow.ts`), small independent regions
 * share a dispatch (`horizontal.ts`), and all are put in order (`schedule.ts`).
 */
import type { Func } from '../../ir/graph.js';
import { type Fusion, growRegions } from './grow.js';
import { fuseHorizontally } from './horizontal.js';
import { chooseInlined, chooseNothing, rankNodes } from './inline.js';
import { schedule } from './schedule.js';

export type { Fusion } from './grow.js';

export interface FuseOptions {
  /** False: one region a node. Default true. */
  readonly enabled?: boolean;
}

export function fuse(func: Func, { enabled = true }: FuseOptions = {}): Fusion {
  const ranking = rankNodes(func);
  const inlining = enabled ? chooseInlined(func, ranking) : chooseNothing(func, ranking);
  const { regions, aliasOf } = growRegions(func, ranking, inlining, enabled);
  const ordered = schedule(func, regions, aliasOf);
  return { regions: enabled ? fuseHorizontally(func, ordered, aliasOf) : ordered, aliasOf };
}
