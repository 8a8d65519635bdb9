/**
 * What the sum over positions sums: the images and windows of conv_weight_grad, second_moment and patch_second_moment, in
 * one form. A second moment over one axis is a 1 x 1 window over the other axes.
 */
import { add, div, type Expr, i32, loop, mul, ref, type Stmt, store, sub } from '../../ir/kernel.js';
import { flagOf, numberOf } from '../../ir/ops/declare.js';
import { concrete, product } from '../../ir/types.js';
import type { AxisWindow } from './contraction-axes.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { alloc, type Contraction, strips } from './contraction-tile.js';
import { packedOffset } from './elements.js';
import { reshapeIndex } from './indices.js';

/** One image axis: position o and tap t read stage position `o * stride + t * dilation`, which is source `* scale - pad`. */
export interface Window1 {
  readonly positions: number;
  readonly stride: number;
  readonly dilation: number;
  readonly reach: number;
  readonly scale: number;
  readonly pad: number;
  readonly extent: number;
}

/** A feature within a block: channel, ky, kx. */
export type Feature = readonly [Expr, Expr, Expr];

export type RowSource =
  | { readonly kind: 'features'; readonly ones: boolean }
  | {
      readonly kind: 'gradient';
      readonly count: number;
      readonly at: (image: Expr, channel: Expr, y: Expr, x: Expr) => Expr;
      readonly memory?: string;
    };

export interface MomentProblem {
  readonly images: number;
  readonly groups: number;
  readonly channels: number;
  readonly kernel: readonly [number, number];
  readonly rows: Window1;
  readonly cols: Window1;
  /** Whether neighbouring channels are neighbours in memory. */
  readonly channelLast: boolean;
  readonly source: (image: Expr, channel: Expr, y: Expr, x: Expr) => Expr;
  readonly weight?: (image: Expr) => Expr;
  readonly rowsFrom: RowSource;
  /** Weight gradient: (group, output channel, input channel, ky, kx). */
  readonly finish: (group: Expr, m: Expr, c: Expr, ky: Expr, kx: Expr, element: Expr) => Stmt[];
  /** Second moment of two features; undefined: the constant one. */
  readonly finishPair: (group: Expr, i: Feature | undefined, j: Feature | undefined, element: Expr) => Stmt[];
}

function windowAlong(w: AxisWindow): Window1 {
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

const point = (positions: number): Window1 => ({
  positions,
  stride: 1,
  dilation: 1,
  reach: 0,
  scale: 1,
  pad: 0,
  extent: positions,
});

/** Positions without geometry, as rows short enough for a stage: the longest divisor of which 8 Ki elements exist. */
function rowOf(positions: number, channels: number): number {
  for (let w = positions; w > 1; w--) if (positions % w === 0 && w * channels <= 8192) return w;
  return 1;
}

const unused = (): never => {
  throw new Error('a weight gradient has no feature pairs, a second moment no output channels');
};

export function momentOf(contraction: Contraction): MomentProblem {
  return contraction.anchor.op === 'conv_weight_grad' ? weightGradient(contraction) : secondMoment(contraction);
}

function weightGradient({ anchor, elements, finish }: Contraction): MomentProblem {
  const conv = convolutionOfNode(anchor);
  const [x, dy] = anchor.operands;
  return {
    images: conv.images,
    groups: conv.groups,
    channels: conv.inputs,
    kernel: conv.kernel,
    rows: windowAlong(conv.rows),
    cols: windowAlong(conv.cols),
    channelLast: conv.rows.input * conv.cols.input === 1,
    source: (n, c, iy, ix) => elements.at(x, [n, c, iy, ix]),
    rowsFrom: {
      kind: 'gradient',
      count: conv.outputs,
      at: (n, o, y, xx) => elements.at(dy, [n, o, y, xx]),
      memory: elements.inMemory(dy) ? elements.memory(dy) : undefined,
    },
    finish: (g, m, c, ky, kx, e) => finish([add(mul(g, i32(conv.outputs)), m), c, ky, kx], e),
    finishPair: unused,
  };
}

function secondMoment({ anchor, elements, finish }: Contraction): MomentProblem {
  const [x, scale, weight] = anchor.operands;
  const shape = concrete(x.type.shape);
  const ones = flagOf(anchor.attrs, 'ones');
  const patches = anchor.op === 'patch_second_moment';
  const axis = patches ? 1 : numberOf(anchor.attrs, 'axis');
  const [outer, inner] = [product(shape.slice(0, axis)), product(shape.slice(axis + 1))];
  const conv = patches ? convolutionOfNode(anchor) : undefined;
  const width = rowOf(inner, shape[axis]);
  const view = patches ? shape : [outer, shape[axis], inner / width, width];
  const [kh, kw] = conv ? conv.kernel : [1, 1];
  const channels = conv ? conv.inputs : shape[axis];
  const features = channels * kh * kw;
  const d = features + (ones ? 1 : 0);
  const factor = elements.at(scale, []);
  const indexOf = (f: Feature | undefined): Expr =>
    f ? add(mul(f[0], i32(kh * kw)), add(mul(f[1], i32(kw)), f[2])) : i32(features);
  return {
    images: patches ? shape[0] : outer,
    groups: conv?.groups ?? 1,
    channels,
    kernel: [kh, kw],
    rows: conv ? windowAlong(conv.rows) : point(inner / width),
    cols: conv ? windowAlong(conv.cols) : point(width),
    channelLast: patches ? shape[2] * shape[3] === 1 : inner === 1,
    source: (n, c, iy, ix) => elements.at(x, reshapeIndex([n, c, iy, ix], view, shape)),
    // With axis 0 as the features there is no example axis, and no weight.
    weight:
      weight && axis !== 0
        ? (n) => elements.at(weight, [outer === shape[0] || patches ? n : div(n, i32(outer / shape[0]))])
        : undefined,
    rowsFrom: { kind: 'features', ones },
    finish: unused,
    finishPair: (g, i, j, e) =>
      finish([add(mul(g, i32((d * (d + 1)) / 2)), packedOffset(indexOf(i), indexOf(j)))], mul(e, factor)),
  };
}

/** The output gradient as the row operand: read where it lies, or staged `[m - m0][image][position]` if a prologue makes it. */
export function gradientRows(
  from: RowSource & { kind: 'gradient' },
  p: MomentProblem,
  plan: { readonly mc: number; readonly mr: number; readonly images: number; readonly rows: number },
  at: Readonly<Record<'group' | 'm0' | 'image0' | 'y0' | 'images' | 'rows', Expr>>,
): {
  readonly allocs: Stmt[];
  readonly stage: Stmt[];
  readonly operand: (m: Expr, image: Expr, y: Expr) => { memory: string; index: Expr; row: number; depth: number };
} {
  const width = p.cols.positions;
  const channel = (m: Expr): Expr => add(mul(at.group, i32(from.count)), m);
  const memory = from.memory;
  if (memory !== undefined) {
    const plane = p.rows.positions * width;
    const offset = (m: Expr, image: Expr, y: Expr): Expr =>
      add(
        mul(add(mul(add(at.image0, image), i32(p.groups * from.count)), channel(m)), i32(plane)),
        mul(add(at.y0, y), i32(width)),
      );
    return {
      allocs: [],
      stage: [],
      operand: (m, image, y) => ({ memory, index: offset(m, image, y), row: plane, depth: 1 }),
    };
  }
  const band = plan.rows * width;
  const rowSize = plan.images * band;
  const offset = (m: Expr, image: Expr, y: Expr): Expr =>
    add(add(mul(sub(m, at.m0), i32(rowSize)), mul(image, i32(band))), mul(y, i32(width)));
  const [image, y, x] = ['image', 'y', 'x'].map(ref);
  return {
    allocs: [alloc('gradient', plan.mc * rowSize)],
    stage: strips('group', 'm', { lo: at.m0, hi: add(at.m0, i32(plan.mc)), total: from.count, size: 1 }, (m) => [
      loop('serial', 'image', at.images, [
        loop('serial', 'y', at.rows, [
          loop('vector', 'x', width, [
            store(
              'gradient',
              add(offset(m, image, y), x),
              from.at(add(at.image0, image), channel(m), add(at.y0, y), x),
            ),
          ]),
        ]),
      ]),
    ]),
    operand: (m, image, y) => ({ memory: 'gradient', index: offset(m, image, y), row: rowSize, depth: 1 }),
  };
}
