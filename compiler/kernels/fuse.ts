/**
 * Fusion: a function in, regions out, each of which becomes exactly one kernel. First it is chosen which values are
 * recomputed instead of stored (`inline.ts`), then stored values grow into regions (`grow.ts`), small independent regions
 * share a dispatch (`horizontal.ts`), and all are put in order (`schedule.ts`).
 */
import type { Func } from '../../ir/graph.js';
import { type Fusion, growRegions } from './grow.js';
import { apart, fuseHorizontally } from './horizontal.js';
import { chooseInlined, chooseNothing } from './inline.js';
import { rankNodes } from './ranking.js';
import type { Region } from './region.js';
import { among, precedence, schedule } from './schedule.js';

export type { Fusion } from './grow.js';

export interface FuseOptions {
  /** False: one region a node. Default true. */
  readonly enabled?: boolean;
}

export function fuse(func: Func, { enabled = true }: FuseOptions = {}): Fusion {
  const ranking = rankNodes(func);
  const inlining = enabled ? chooseInlined(func, ranking) : chooseNothing(func, ranking);
  const { regions, aliasOf } = growRegions(ranking, inlining, enabled);
  const before = precedence(func, regions, aliasOf);
  const { merged, place } = enabled ? fuseHorizontally(regions, before) : apart(regions);
  // The position of a region in the user's program: that of its anchor, or of the last value that it writes.
  const positionOf = ({ anchor, parts, outputs }: Region): number => {
    let last = -1;
    for (const v of anchor && !parts ? anchor.results : outputs)
      last = Math.max(last, ranking.position[ranking.definition[ranking.numbers.get(v)!]]);
    return last;
  };
  const at = new Int32Array(func.nodes.length).fill(-1);
  for (let p = 0; p < merged.length; p++) at[positionOf(merged[p])] = p;
  const preferred = at.filter((p) => p >= 0);
  const ordered = schedule(preferred, among(before, place, merged.length));
  return { regions: ordered.map((p) => merged[p]), aliasOf };
}
