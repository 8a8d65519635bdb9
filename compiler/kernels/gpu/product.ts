/**
 * Every contraction as a product of matrices whose elements are computed where they are needed: for each matrix of a batch
 * `result[m, n] = sum over k of a(m, k) b(n, k)`. A convolution's unfolded input exists only as index arithmetic.
 */
import type { Node, Value } from '../../../ir/graph.js';
import {
  add,
  and,
  div,
  type Expr,
  eq,
  f32,
  i32,
  le,
  lt,
  max,
  mul,
  rem,
  type Stmt,
  select,
  sub,
} from '../../../ir/kernel.js';
import { flagOf, numberOf } from '../../../ir/ops/declare.js';
import { concrete, product } from '../../../ir/types.js';
import type { AxisWindow } from '../contraction-axes.js';
import { type Convolution, convolutionOfNode } from '../contraction-convolution.js';
import type { Elements, Epilogue } from '../elements.js';
import { broadcastIndex, type Index, reshapeIndex, unflatten } from '../indices.js';

/** A factor's element; 0 where `inside` is false, and then the indices may be out of bounds. */
export type Factor = (batch: Expr, i: Expr, k: Expr, inside?: Expr) => Expr;

export interface Product {
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: Factor;
  readonly b: Factor;
  /** Whether neighbours in k, rather than in m or n, are neighbours in memory. */
  readonly alongK: { readonly a: boolean; readonly b: boolean };
  /** The result is symmetric, and only its lower triangle is wanted: n <= m. */
  readonly symmetric: boolean;
  readonly finish: (batch: Expr, m: Expr, n: Expr, element: Expr) => Stmt[];
}

export interface Contraction {
  readonly anchor: Node;
  readonly elements: Elements;
  readonly finish: Epilogue;
}

export function productOf(contraction: Contraction): Product {
  switch (contraction.anchor.op) {
    case 'matmul':
      return matmul(contraction);
    case 'conv':
      return forward(contraction);
    case 'conv_input_grad':
      return inputGradient(contraction);
    case 'conv_weight_grad':
      return weightGradient(contraction);
    case 'second_moment':
    case 'patch_second_moment':
      return secondMoment(contraction);
    default:
      throw new Error(`${contraction.anchor.op} is no contraction`);
  }
}

const zero = i32(0);
const both = (a: Expr | undefined, b: Expr | undefined): Expr | undefined => (a && b ? and(a, b) : (a ?? b));
const shapeOf = (v: Value): readonly number[] => concrete(v.type.shape);

function element(elements: Elements, value: Value, index: Index, inside: Expr | undefined): Expr {
  return inside ? elements.guarded(value, index, inside, undefined, 0) : elements.at(value, index);
}

/** Leading axes broadcast. Rows of an unbatched right factor are joined with the batch, so that they fill tiles. */
function matmul({ anchor, elements, finish }: Contraction): Product {
  const [a, b] = anchor.operands;
  const shape = shapeOf(anchor.results[0]);
  const batchShape = shape.slice(0, -2);
  const [m, n] = shape.slice(-2);
  const [ta, tb] = [flagOf(anchor.attrs, 'ta'), flagOf(anchor.attrs, 'tb')];
  const k = shapeOf(a)[shapeOf(a).length - (ta ? 2 : 1)];
  const leading = (v: Value): readonly number[] => shapeOf(v).slice(0, -2);
  const joined = !ta && product(leading(b)) === 1 && product(leading(a)) === product(batchShape);
  const of = (v: Value, flat: Expr): Index => broadcastIndex(unflatten(flat, batchShape), leading(v), batchShape);
  const left: Factor = (batch, i, kk, inside) => {
    if (!joined) return element(elements, a, [...of(a, batch), ...(ta ? [kk, i] : [i, kk])], inside);
    return element(elements, a, reshapeIndex([i, kk], [product(batchShape) * m, k], shapeOf(a), true), inside);
  };
  const right: Factor = (batch, j, kk, inside) =>
    element(
      elements,
      b,
      [...(joined ? leading(b).map(() => zero) : of(b, batch)), ...(tb ? [j, kk] : [kk, j])],
      inside,
    );
  return {
    batch: joined ? 1 : product(batchShape),
    m: joined ? product(batchShape) * m : m,
    n,
    k,
    a: left,
    b: right,
    alongK: { a: !ta, b: tb },
    symmetric: false,
    finish: (batch, row, col, e) => {
      const [outer, own] = joined ? [row, [...batchShape, m]] : [batch, batchShape];
      return finish(joined ? [...unflatten(outer, own), col] : [...unflatten(outer, own), row, col], e);
    },
  };
}

interface Positions {
  readonly image: Expr;
  readonly y: Expr;
  readonly x: Expr;
}

function positions(flat: Expr, images: number, height: number, width: number): Positions {
  const [image, y, x] = unflatten(flat, [images, height, width]);
  return { image, y, x };
}

/** (channel, ky, kx) of a feature of a patch. */
const feature = (flat: Expr, channels: number, { kernel }: Convolution): Expr[] =>
  unflatten(flat, [channels, ...kernel]);

const channel = (group: Expr, channels: number, c: Expr): Expr => add(mul(group, i32(channels)), c);

/** Where a window reads along an axis, and the condition under which that lies in the image. */
function tap(w: AxisWindow, o: Expr, k: Expr): { at: Expr; inside: Expr | undefined } {
  const at = add(add(mul(o, i32(w.stride)), mul(k, i32(w.dilation))), i32(-w.pad));
  const last = (w.output - 1) * w.stride + (w.kernel - 1) * w.dilation - w.pad;
  const low = w.pad > 0 ? lt(i32(-1), at) : undefined;
  return { at, inside: both(low, last >= w.input ? lt(at, i32(w.input)) : undefined) };
}

/** The element of an image's patch at an output position. */
function patch(
  elements: Elements,
  x: Value,
  conv: Convolution,
  group: Expr,
  f: Expr,
  p: Positions,
  inside?: Expr,
): Expr {
  const [c, ky, kx] = feature(f, conv.inputs, conv);
  const [row, col] = [tap(conv.rows, p.y, ky), tap(conv.cols, p.x, kx)];
  const index = [p.image, channel(group, conv.inputs, c), row.at, col.at];
  return element(elements, x, index, both(inside, both(row.inside, col.inside)));
}

function forward({ anchor, elements, finish }: Contraction): Product {
  const conv = convolutionOfNode(anchor);
  const [x, w] = anchor.operands;
  const { images, groups, inputs, outputs, rows, cols } = conv;
  const k = inputs * product(conv.kernel);
  const at = (p: Expr): Positions => positions(p, images, rows.output, cols.output);
  return {
    batch: groups,
    m: outputs,
    n: images * rows.output * cols.output,
    k,
    a: (group, o, kk, inside) => {
      const index = reshapeIndex([channel(group, outputs, o), kk], [groups * outputs, k], shapeOf(w), true);
      return element(elements, w, index, inside);
    },
    b: (group, p, kk, inside) => patch(elements, x, conv, group, kk, at(p), inside),
    alongK: { a: true, b: false },
    symmetric: false,
    finish: (group, o, p, e) => {
      const { image, y, x: col } = at(p);
      return finish([image, channel(group, outputs, o), y, col], e);
    },
  };
}

/** The output position whose window covers input position `i` with tap `k`, and the condition under which there is one. */
function covering(w: AxisWindow, i: Expr, k: Expr): { at: Expr; inside: Expr | undefined } {
  const from = sub(add(i, i32(w.pad)), mul(k, i32(w.dilation)));
  const least = w.pad - (w.kernel - 1) * w.dilation;
  const low = least < 0 ? le(zero, from) : undefined;
  const positive = least < 0 ? max(from, zero) : from;
  const at = div(positive, i32(w.stride));
  const exact = w.stride > 1 ? eq(rem(positive, i32(w.stride)), zero) : undefined;
  const high = Math.floor((w.input - 1 + w.pad) / w.stride) >= w.output ? lt(at, i32(w.output)) : undefined;
  return { at, inside: both(low, both(exact, high)) };
}

function inputGradient({ anchor, elements, finish }: Contraction): Product {
  const conv = convolutionOfNode(anchor);
  const [dy, w] = anchor.operands;
  const { images, groups, inputs, outputs, rows, cols } = conv;
  const at = (p: Expr): Positions => positions(p, images, rows.input, cols.input);
  return {
    batch: groups,
    m: inputs,
    n: images * rows.input * cols.input,
    k: outputs * product(conv.kernel),
    a: (group, c, kk, inside) => {
      const [o, ky, kx] = feature(kk, outputs, conv);
      return element(elements, w, [channel(group, outputs, o), c, ky, kx], inside);
    },
    b: (group, p, kk, inside) => {
      const [o, ky, kx] = feature(kk, outputs, conv);
      const { image, y, x } = at(p);
      const [row, col] = [covering(rows, y, ky), covering(cols, x, kx)];
      const index = [image, channel(group, outputs, o), row.at, col.at];
      return element(elements, dy, index, both(inside, both(row.inside, col.inside)));
    },
    alongK: { a: false, b: false },
    symmetric: false,
    finish: (group, c, p, e) => {
      const { image, y, x } = at(p);
      return finish([image, channel(group, inputs, c), y, x], e);
    },
  };
}

function weightGradient({ anchor, elements, finish }: Contraction): Product {
  const conv = convolutionOfNode(anchor);
  const [x, dy] = anchor.operands;
  const { images, groups, inputs, outputs, rows, cols } = conv;
  const at = (p: Expr): Positions => positions(p, images, rows.output, cols.output);
  return {
    batch: groups,
    m: outputs,
    n: inputs * product(conv.kernel),
    k: images * rows.output * cols.output,
    a: (group, o, p, inside) => {
      const { image, y, x: col } = at(p);
      return element(elements, dy, [image, channel(group, outputs, o), y, col], inside);
    },
    b: (group, f, p, inside) => patch(elements, x, conv, group, f, at(p), inside),
    alongK: { a: true, b: true },
    symmetric: false,
    finish: (group, o, f, e) => finish([channel(group, outputs, o), ...feature(f, inputs, conv)], e),
  };
}

/** Features of an example are a channel each, or a patch's; a constant 1 may follow. SP-NGD eq 9, 11. */
function secondMoment({ anchor, elements, finish }: Contraction): Product {
  const [x, scale, weight] = anchor.operands;
  const shape = shapeOf(x);
  const ones = flagOf(anchor.attrs, 'ones');
  const conv = anchor.op === 'patch_second_moment' ? convolutionOfNode(anchor) : undefined;
  const axis = conv ? 1 : numberOf(anchor.attrs, 'axis');
  const [outer, inner] = [product(shape.slice(0, axis)), product(shape.slice(axis + 1))];
  const own = conv ? conv.inputs * product(conv.kernel) : shape[axis];
  const d = own + (ones ? 1 : 0);
  const plain: Factor = (group, f, kk, inside) => {
    if (conv)
      return patch(elements, x, conv, group, f, positions(kk, conv.images, conv.rows.output, conv.cols.output), inside);
    const [o, i] = unflatten(kk, [outer, inner]);
    return element(elements, x, reshapeIndex([o, f, i], [outer, own, inner], shape, true), inside);
  };
  const factor: Factor = (group, f, kk, inside) => {
    if (!ones) return plain(group, f, kk, inside);
    const constant = inside ? select(inside, f32(1), f32(0)) : f32(1);
    return select(eq(f, i32(own)), constant, plain(group, f, kk, both(inside, lt(f, i32(own)))));
  };
  const perExample = conv ? conv.rows.output * conv.cols.output : Math.max(1, (outer / shape[0]) * inner);
  const weighted: Factor = (group, f, kk, inside) =>
    mul(factor(group, f, kk, inside), element(elements, weight, [div(kk, i32(perExample))], inside));
  return {
    batch: conv?.groups ?? 1,
    m: d,
    n: d,
    k: conv ? conv.images * conv.rows.output * conv.cols.output : outer * inner,
    a: factor,
    b: weight ? weighted : factor,
    alongK: { a: conv !== undefined || inner > 1, b: conv !== undefined || inner > 1 },
    symmetric: true,
    finish: (group, i, j, e) => {
      const row = add(mul(group, i32((d * (d + 1)) / 2)), div(mul(i, add(i, i32(1))), i32(2)));
      return finish([add(row, j)], mul(e, elements.at(scale, [])));
    },
  };
}
