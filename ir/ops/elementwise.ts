/**
 * Elementwise ops: operands broadcast as in NumPy; the scalar function is the whole meaning.
 */
import type { Attrs } from '../graph.js';
import {
  broadcastShapes,
  concrete,
  type DType,
  printType,
  product,
  shapeEquals,
  strides,
  type TensorType,
} from '../types.js';
import { fail, type OpDef, stringOf, type Tensor64 } from './declare.js';

/** Shape that all operands broadcast to. Symmetric (packed) operands combine only with the same type or with scalars. */
function joined(operands: readonly TensorType[], dtype: DType): TensorType {
  const packed = operands.find((t) => t.layout === 'packed-lower');
  if (packed) {
    for (const t of operands) {
      const scalar = t.layout === 'dense' && t.shape.length === 0;
      if (!scalar && (t.layout !== 'packed-lower' || !shapeEquals(t.shape, packed.shape)))
        fail(`a symmetric operand combines with its own type or a scalar, not ${printType(t)}`);
    }
    return packed.dtype === dtype ? packed : { ...packed, dtype };
  }
  let { shape } = operands[0];
  for (let i = 1; i < operands.length; i++) {
    if (shapeEquals(shape, operands[i].shape)) continue;
    shape =
      broadcastShapes(shape, operands[i].shape) ??
      fail(`shapes of ${operands.map(printType).join(' and ')} do not broadcast`);
  }
  const [first] = operands;
  return first.dtype === dtype && first.shape === shape ? first : { ...first, dtype, shape };
}

function same(operands: readonly TensorType[]): DType {
  const dtype = operands[0].dtype;
  for (let i = 1; i < operands.length; i++)
    if (operands[i].dtype !== dtype) fail(`operands have different types: ${operands.map(printType).join(', ')}`);
  return dtype;
}

/** Applies `f` over broadcast operands. */
export function mapBroadcast(
  operands: readonly Tensor64[],
  result: TensorType,
  f: (...args: number[]) => number,
): Float64Array {
  if (result.layout === 'packed-lower') {
    const n = Math.max(...operands.map((o) => o.data.length));
    return Float64Array.from({ length: n }, (_, i) => f(...operands.map((o) => o.data[o.data.length === 1 ? 0 : i])));
  }
  const shape = concrete(result.shape);
  const total = product(shape);
  const out = new Float64Array(total);
  const rank = shape.length;
  const steps = operands.map((o) => {
    const s = concrete(o.type.shape);
    const own = strides(s);
    return shape.map((_, i) => {
      const j = i - (rank - s.length);
      return j < 0 || s[j] === 1 ? 0 : own[j];
    });
  });
  const index = new Array<number>(rank).fill(0);
  const at = operands.map(() => 0);
  const args = new Array<number>(operands.length);
  for (let i = 0; i < total; i++) {
    for (let k = 0; k < args.length; k++) args[k] = operands[k].data[at[k]];
    out[i] = f(...args);
    for (let d = rank - 1; d >= 0; d--) {
      index[d]++;
      for (let k = 0; k < at.length; k++) at[k] += steps[k][d];
      if (index[d] < shape[d]) break;
      for (let k = 0; k < at.length; k++) at[k] -= steps[k][d] * shape[d];
      index[d] = 0;
    }
  }
  return out;
}

function op(
  arity: number,
  scalar: (...args: number[]) => number,
  dtype: (operands: readonly TensorType[], attrs: Attrs) => DType,
): OpDef {
  return {
    arity: [arity, arity],
    fuse: 'elementwise',
    infer: (operands, attrs) => [joined(operands, dtype(operands, attrs))],
    evaluate: (operands, _attrs, results) => [mapBroadcast(operands, results[0], scalar)],
    scalar,
  };
}

function float(operands: readonly TensorType[]): DType {
  const d = same(operands);
  if (d !== 'f32' && d !== 'f16') fail(`needs floating-point operands, not ${d}`);
  return d;
}
function numeric(operands: readonly TensorType[]): DType {
  const d = same(operands);
  if (d === 'bool') fail('needs numbers, not bool');
  return d;
}
function logical(operands: readonly TensorType[]): DType {
  if (same(operands) !== 'bool') fail('needs bool operands');
  return 'bool';
}
function comparison(operands: readonly TensorType[]): DType {
  same(operands);
  return 'bool';
}

const truth = (b: boolean): number => (b ? 1 : 0);

/** Error function: Maclaurin series for |x| < 3, continued fraction of erfc beyond (Abramowitz & Stegun 7.1.6, 7.1.14). */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (Number.isNaN(x)) return x;
  if (a > 6) return Math.sign(x);
  if (a < 3) {
    // erf x = 2/sqrt(pi) e^{-x^2} sum 2^n x^(2n+1) / (1*3*...*(2n+1)): all terms positive, so nothing cancels.
    let term = a;
    let sum = a;
    for (let n = 1; n < 200 && term > 1e-18 * sum; n++) {
      term *= (2 * a * a) / (2 * n + 1);
      sum += term;
    }
    return (Math.sign(x) * 2 * Math.exp(-a * a) * sum) / Math.sqrt(Math.PI);
  }
  let f = a;
  for (let k = 60; k >= 1; k--) f = a + k / 2 / f;
  return Math.sign(x) * (1 - Math.exp(-a * a) / (f * Math.sqrt(Math.PI)));
}

export const elementwiseOps = {
  neg: op(1, (x) => -x, numeric),
  abs: op(1, Math.abs, numeric),
  exp: op(1, Math.exp, float),
  log: op(1, Math.log, float),
  sqrt: op(1, Math.sqrt, float),
  reciprocal: op(1, (x) => 1 / x, float),
  tanh: op(1, Math.tanh, float),
  erf: op(1, erf, float),
  sigmoid: op(1, (x) => 1 / (1 + Math.exp(-x)), float),
  relu: op(1, (x) => (x > 0 ? x : Number.isNaN(x) ? x : 0), float),
  sign: op(1, Math.sign, float),
  floor: op(1, Math.floor, float),
  is_finite: op(
    1,
    (x) => truth(Number.isFinite(x)),
    (t) => {
      float(t);
      return 'bool';
    },
  ),
  not: op(1, (x) => truth(x === 0), logical),
  /** Attribute dtype. To an integer type: truncates; to bool: x != 0. */
  cast: {
    arity: [1, 1],
    fuse: 'elementwise',
    attrs: { dtype: 'dtype' },
    infer: (operands, attrs) => [{ ...operands[0], dtype: stringOf(attrs, 'dtype') as DType }],
    evaluate: (operands, attrs) => {
      const to = stringOf(attrs, 'dtype');
      return [
        operands[0].data.map((x) =>
          to === 'bool' ? truth(x !== 0) : to === 'f32' || to === 'f16' ? x : Math.trunc(x),
        ),
      ];
    },
  },
  add: op(2, (a, b) => a + b, numeric),
  sub: op(2, (a, b) => a - b, numeric),
  mul: op(2, (a, b) => a * b, numeric),
  /** Integers: truncated towards zero, as ONNX Div. */
  div: {
    ...op(2, (a, b) => a / b, numeric),
    evaluate: (operands, _attrs, [r]) => [
      mapBroadcast(operands, r, r.dtype === 'f32' || r.dtype === 'f16' ? (a, b) => a / b : (a, b) => Math.trunc(a / b)),
    ],
  },
  pow: op(2, (a, b) => a ** b, float),
  max: op(2, Math.max, numeric),
  min: op(2, Math.min, numeric),
  equal: op(2, (a, b) => truth(a === b), comparison),
  less: op(2, (a, b) => truth(a < b), comparison),
  and: op(2, (a, b) => truth(a !== 0 && b !== 0), logical),
  or: op(2, (a, b) => truth(a !== 0 || b !== 0), logical),
  /** (condition, a, b): a where the condition holds, else b. */
  select: op(
    3,
    (c, a, b) => (c !== 0 ? a : b),
    (t) => (t[0].dtype !== 'bool' ? fail('condition must be bool') : same(t.slice(1))),
  ),
} satisfies Record<string, OpDef>;
