/**
 * Images in group memory for weight gradients: channel-last and with their padding, so that the weights under one row of the kernel window
 * are contiguous.
 */
import { add, and, type Expr, i32, loop, mul, ref, type Stmt, store, sub } from '../../ir/kernel.js';
import type { AxisWindow } from './contraction-axes.js';
import type { Convolution } from './contraction-convolution.js';
import { clear } from './contraction-tile.js';

/** An image axis: position a and tap t read stage position `a * stride + t * dilation`, which is source `* scale - pad`. */
export interface Staged {
  readonly positions: number;
  readonly stride: number;
  readonly dilation: number;
  readonly reach: number;
  readonly scale: number;
  readonly pad: number;
  readonly extent: number;
}

export function stagedAxis(w: AxisWindow): Staged {
  // A single tap reads every stride-th position only.
  const single = w.kernel === 1;
  return {
    positions: w.output,
    stride: single ? 1 : w.stride,
    dilation: w.dilation,
    reach: (w.kernel - 1) * w.dilation,
    scale: single ? w.stride : 1,
    pad: w.pad,
    extent: w.input,
  };
}

/** Positions of a row up to which rows are worth joining, and output channels that then share the copies. */
const SHORT_ROW = 16;
const WORTH_COPIES = 32;

/**
 * The columns as they are staged, once for all taps; or once for each, without the columns that others read: then rows follow each other
 * without a gap, and a tile's inner loop goes through all of them instead of one short row.
 */
export function columnCopies(conv: Convolution, rows: Staged, cols: Staged, short = SHORT_ROW): readonly Staged[] {
  const { kernel, stride, dilation } = conv.cols;
  if (kernel === 1 || rows.stride > 1 || cols.positions > short || conv.outputs < WORTH_COPIES) return [cols];
  return Array.from({ length: kernel }, (_, k) => ({
    ...cols,
    ...{ stride: 1, reach: 0, scale: stride, pad: cols.pad - k * dilation },
  }));
}

/** Staged positions that `positions` positions read. */
export const lengthOf = (axis: Staged, positions: number): number => (positions - 1) * axis.stride + 1 + axis.reach;

/** Rows [column][channel] of each copy, `copySize` elements apart. */
export interface ChannelLast {
  readonly memory: string;
  readonly copies: readonly Staged[];
  readonly copySize: number;
  /** Channels that a row has room for, and how many of them exist. */
  readonly channels: number;
  readonly staged: Expr;
  /** Element of (channel, column) of the source's row. */
  readonly source: (channel: Expr, col: Expr) => Expr;
  /** Whether `source` is a plain load. */
  readonly inMemory: boolean;
  /** Whether the source's channels are contiguous: images of one position. */
  readonly isChannelLast: boolean;
}

const widthOf = ({ copies: [first] }: ChannelLast): number => lengthOf(first, first.positions);

/** A row of the source to `to` in each copy. */
export function copyRow(stage: ChannelLast, to: Expr): Stmt[] {
  const { memory, channels, staged } = stage;
  const width = widthOf(stage);
  const [col, c] = ['col', 'c'].map(ref);
  const move = (ch: Expr, cols: Staged, begin: Expr): Stmt =>
    store(
      memory,
      add(add(begin, mul(col, i32(channels))), ch),
      stage.source(ch, sub(mul(col, i32(cols.scale)), i32(cols.pad))),
    );
  // Four channels at a time, so that a target can turn 4 x 4 blocks in registers.
  const fours = stage.inMemory ? and(staged, i32(-4)) : i32(0);
  return stage.copies.flatMap((cols, n): Stmt[] => {
    const lo = Math.max(0, Math.min(width, Math.ceil(cols.pad / cols.scale)));
    const hi = Math.max(lo, Math.min(width, Math.floor((cols.extent - 1 + cols.pad) / cols.scale) + 1));
    const begin = add(to, i32(n * stage.copySize));
    const four = [0, 1, 2, 3].map((lane) => move(add(c, i32(lane)), cols, begin));
    const one = move(c, cols, begin);
    return [
      ...clear('z', memory, begin, lo * channels),
      ...(hi === lo
        ? []
        : stage.isChannelLast
          ? [loop('serial', 'col', hi, [loop('vector', 'c', staged, [one])], lo)]
          : [
              loop('serial', 'c', fours, [loop('vector', 'col', hi, four, lo)], 0, 4),
              loop('serial', 'c', staged, [loop('vector', 'col', hi, [one], lo)], fours),
            ]),
      ...clear('z', memory, add(begin, i32(hi * channels)), (width - hi) * channels),
    ];
  });
}

/** Zeros in place of a row. */
export function clearRow(stage: ChannelLast, to: Expr): Stmt[] {
  return stage.copies.flatMap((_, n) =>
    clear('z', stage.memory, add(to, i32(n * stage.copySize)), widthOf(stage) * stage.channels),
  );
}
