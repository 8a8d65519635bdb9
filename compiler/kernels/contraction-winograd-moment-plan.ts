/**
 * How Winograd's offset correlations (`contraction-winograd-moment.ts`) cut a factor: rows into those that all taps read and the others,
 * channels into blocks, images into stages.
 */
import type { Node } from '../../ir/graph.js';
import { flagOf } from '../../ir/ops/declare.js';
import type { AxisWindow } from './contraction-axes.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { flatOffsetsOf, MOST_SUMS, offsetsOf, type Range } from './contraction-offsets.js';
import { ceilDiv, evenly, type TileChoice, tileShapes } from './contraction-tile.js';
import { POINTS, ROWS, TAPS } from './winograd.js';

/** Positions of a stage, a tile's rows counted as one: its two panels of a point stay in a first-level cache. */
const POSITIONS = 256;
/** Channels that are rows of one grid iteration. */
const CHANNELS = 64;

/** How the rows of an image are summed. */
export interface RowPlan {
  /** Rows of positions that Winograd's form sums at all three distances. */
  readonly middle: Range;
  /** The strip of each distance that the middle is in. */
  readonly main: readonly number[];
  readonly strips: number;
  /** Rows that are summed directly, each for a strip. */
  readonly pieces: readonly {
    readonly first: number;
    readonly count: number;
    readonly distance: number;
    readonly strip: number;
  }[];
  /** Pairs of taps by their strips [lo, hi). */
  readonly pairs: readonly {
    readonly tap: number;
    readonly partner: number;
    readonly lo: number;
    readonly hi: number;
    readonly distance: number;
  }[];
}

/** Undefined where the window has not three rows side by side, or no rows in common. */
export function rowPlanOf(w: AxisWindow): RowPlan | undefined {
  if (w.kernel !== TAPS || w.stride !== 1 || w.dilation !== 1) return undefined;
  const offsets = offsetsOf(w).filter((o) => o.distance >= 0);
  if (offsets.some((o) => o.strips.length === 0)) return undefined;
  const strips = offsets.flatMap((o) => o.strips.map((s) => ({ ...s, distance: o.distance })));
  const main = offsets.map((o) => {
    const longest = Math.max(...o.strips.map((s) => s.count));
    return strips.findIndex((s) => s.distance === o.distance && s.count === longest);
  });
  // A strip that ends where the partner leaves the image may be summed further: there are zeros.
  const ends = main.map((m) => {
    const end = strips[m].first + strips[m].count;
    return end + strips[m].distance === w.input ? w.input : end;
  });
  const middle = { lo: Math.max(...main.map((m) => strips[m].first)), hi: Math.min(...ends) };
  if (middle.hi - middle.lo < ROWS) return undefined;
  const pieces = strips.flatMap(({ first, count, distance }, strip) => {
    const end = first + count;
    const parts = main.includes(strip)
      ? [
          { first, count: middle.lo - first },
          { first: middle.hi, count: end - middle.hi },
        ]
      : [{ first, count }];
    return parts.filter((part) => part.count > 0).map((part) => ({ ...part, distance, strip }));
  });
  let before = 0;
  const pairs = offsets.flatMap((o) => {
    const from = before;
    before += o.strips.length;
    return o.pairs.map((pair) => ({ ...pair, lo: from + pair.lo, hi: from + pair.hi, distance: o.distance }));
  });
  return { middle, main, strips: strips.length, pieces, pairs };
}

export interface MomentPlan extends Pick<TileChoice, 'mr' | 'nr' | 'mc'> {
  readonly rows: RowPlan;
  readonly tileRows: number;
  readonly imagesAtOnce: number;
  readonly panels: number;
  readonly rowBlocks: number;
  /** Elements of a tile's sums: its rectangles, from `points` on the points of each strip of columns, from `joined` on what is joined. */
  readonly sums: { readonly points: number; readonly joined: number; readonly size: number };
}

/** Undefined where this form cannot sum the factor: it has no constant feature, and three rows of taps side by side. */
export function planWinogradMoment(node: Node, choice: Partial<TileChoice> = {}): MomentPlan | undefined {
  if (node.op !== 'patch_second_moment' || flagOf(node.attrs, 'ones')) return undefined;
  const { images, rows: down, cols: across, inputs: channels } = convolutionOfNode(node);
  const rows = rowPlanOf(down);
  if (!rows) return undefined;
  const { mr, nr } = { ...tileShapes[0], ...choice };
  const tileRows = ceilDiv(rows.middle.hi - rows.middle.lo, ROWS);
  const colStrips = flatOffsetsOf(across).strips.length;
  const points = rows.strips * colStrips * mr * nr;
  const joined = points + POINTS * colStrips * mr * nr;
  const sums = { points, joined, size: joined + mr * nr };
  const panels = ceilDiv(channels, nr);
  const most = Math.floor(MOST_SUMS / (panels * sums.size)) * mr;
  if (most === 0) return undefined;
  const mc = evenly(channels, Math.min(choice.mc ?? CHANNELS, most), mr);
  const atOnce = Math.floor((choice.kc ?? POSITIONS) / (tileRows * across.input));
  return {
    ...{ mr, nr, mc, rows, tileRows, panels, sums },
    imagesAtOnce: Math.max(1, Math.min(images, atOnce)),
    rowBlocks: ceilDiv(channels, mc),
  };
}
