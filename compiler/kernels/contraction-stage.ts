/**
 * Images in group memory: some images (or a band of rows of one) of some channels, channel by channel, with their padding as
 * zeros and unfolded into planes where the window is strided. What a tap needs for a row of positions is then contiguous. Or
 * channels lie side by side, a few at each position: then what it needs for a position is.
 */
import { add, div, type Expr, i32, letI, loop, min, mul, ref, rem, type Stmt, store, sub } from '../../ir/kernel.js';
import { LANES } from './channel-lanes.js';
import { type Axis, present } from './contraction-axes.js';
import { alloc, ceilDiv, clear, evenly, when, within } from './contraction-tile.js';

export interface StageShape {
  readonly memory: string;
  readonly channels: number;
  /** Channels side by side at each position, which divide `channels`; default: 1. */
  readonly beside?: number;
  readonly rows: Axis;
  readonly cols: Axis;
  /** Most images, and most rows of coordinates, that are held at once. */
  readonly images: number;
  readonly band: number;
  /** Elements behind the last one that may be read, but are never used. */
  readonly slack: number;
}

export interface Stage {
  readonly alloc: Stmt;
  /** Distances in memory; `channel`: between the first ones of those that lie side by side. */
  readonly channel: number;
  readonly image: number;
  readonly row: number;
  /** Where plane (py, px) begins. */
  readonly plane: (py: number, px: number) => number;
  /**
   * Copies rows [row0, row0 + rows) of coordinates, with their reach, of the first `images` images.
   * @param source element of (image, channel, row, column); all in bounds
   */
  readonly copy: (
    range: { readonly images: Expr; readonly row0: Expr; readonly rows: Expr },
    source: (image: Expr, channel: Expr, row: Expr, col: Expr) => Expr,
  ) => Stmt[];
}

/** Columns of a staged row. */
export function stageWidth(cols: Axis): number {
  return cols.hi - cols.lo + cols.reach;
}

export function stageOf(shape: StageShape): Stage {
  const { memory, channels, beside = 1, rows: rowAxis, cols: colAxis } = shape;
  const width = stageWidth(colAxis);
  const rowSize = width * beside;
  const image = (shape.band + rowAxis.reach) * rowSize;
  const size = shape.images * image;
  // Channels keep off each other's cache lines.
  const channel = size % 256 === 0 ? size + 16 : size;
  const planeSize = (channels / beside) * channel;
  const plane = (py: number, px: number): number => (py * colAxis.planes.length + px) * planeSize;
  const [c, n, row, y, to] = ['c', 'image', 'row', 'y', 'to'].map(ref);
  return {
    alloc: alloc(memory, rowAxis.planes.length * colAxis.planes.length * planeSize + shape.slack),
    channel,
    image,
    row: rowSize,
    plane,
    copy: ({ images, row0, rows }, source) => {
      const copyRow = (py: number, px: number): Stmt[] => {
        const copied = stageRow(memory, to, { cols: colAxis, plane: px, width, beside }, (x, k) =>
          source(n, beside === 1 ? c : add(mul(c, i32(beside)), i32(k)), y, x),
        );
        const extent = rowAxis.hi - rowAxis.lo + rowAxis.reach;
        const whole = present(rowAxis, py, rowAxis.lo, extent);
        const inside = whole.lo === 0 && whole.hi === extent;
        return [
          letI(
            'to',
            add(add(i32(plane(py, px)), mul(c, i32(channel))), add(mul(n, i32(image)), mul(row, i32(rowSize)))),
          ),
          letI('y', add(mul(add(row0, row), i32(rowAxis.scale)), i32(rowAxis.planes[py]))),
          ...(inside ? copied : [when(within(y, 0, rowAxis.extent), copied, clear('col', memory, to, rowSize))]),
        ];
      };
      return rowAxis.planes.flatMap((_, py) =>
        colAxis.planes.map((_, px) =>
          loop('group', 'c', channels / beside, [
            loop('group', 'image', images, [loop('serial', 'row', add(rows, i32(rowAxis.reach)), copyRow(py, px))]),
          ]),
        ),
      );
    },
  };
}

export interface StagedRow {
  readonly cols: Axis;
  readonly plane: number;
  /** Columns. */
  readonly width: number;
  /** Elements at each column; default: 1. */
  readonly beside?: number;
}

/**
 * `memory[to + col * beside + k]` for col < width: a row of a plane, zero where the source has no column.
 * @param source the kth element at a column of the source
 */
export function stageRow(
  memory: string,
  to: Expr,
  { cols, plane, width, beside = 1 }: StagedRow,
  source: (col: Expr, k: number) => Expr,
): Stmt[] {
  const { lo, hi } = present(cols, plane, cols.lo, width);
  const col = ref('col');
  const x = add(mul(add(col, i32(cols.lo)), i32(cols.scale)), i32(cols.planes[plane]));
  const each = Array.from({ length: beside }, (_, k) =>
    store(memory, add(add(to, mul(col, i32(beside))), i32(k)), source(x, k)),
  );
  // Turned in registers, a whole vector costs less than single elements: what remains is copied with some before it again.
  const rest = beside === 1 || hi - lo < LANES ? 0 : (hi - lo) % LANES;
  return [
    ...clear('col', memory, to, lo * beside),
    ...(hi > lo ? [loop('vector', 'col', hi - rest, each, lo)] : []),
    ...(rest > 0 ? [loop('vector', 'col', hi, each, hi - LANES)] : []),
    ...clear('col', memory, add(to, i32(hi * beside)), (width - hi) * beside),
  ];
}

/** How images and rows are cut into stages that fit a budget. */
export interface StagePlan {
  readonly images: number;
  readonly band: number;
  readonly imageBlocks: number;
  readonly bands: number;
}

/**
 * @param images images in all
 * @param perRow elements of one row of coordinates
 * @param budget elements; exceeded where even one row with its reach does not fit
 */
export function planStages(
  images: number,
  rows: Pick<Axis, 'lo' | 'hi' | 'reach'>,
  perRow: number,
  budget: number,
): StagePlan {
  const extent = rows.hi - rows.lo;
  const whole = perRow * (extent + rows.reach);
  const atOnce = Math.max(1, Math.min(images, Math.floor(budget / whole)));
  const fitting = Math.max(1, Math.floor(budget / perRow) - rows.reach);
  const band = whole <= budget ? extent : evenly(extent, fitting, 1);
  return { images: atOnce, band, imageBlocks: ceilDiv(images, atOnce), bands: ceilDiv(extent, band) };
}

/** The variables of one stage, from its number `index`: `image0`, `images`, `row0`, `rows`. */
export function stageRange(index: Expr, plan: StagePlan, images: number, rows: Pick<Axis, 'lo' | 'hi'>): Stmt[] {
  const [image0, row0] = ['image0', 'row0'].map(ref);

  return [
    letI('image0', mul(div(index, i32(plan.bands)), i32(plan.images))),
    letI('images', min(i32(plan.images), sub(i32(images), image0))),
    letI('row0', add(mul(rem(index, i32(plan.bands)), i32(plan.band)), i32(rows.lo))),
    letI('rows', min(i32(plan.band), sub(i32(rows.hi), row0))),
  ];
}
