/**
 * Folds what exporters emit around shapes: small known tensors, element by element, in exact arithmetic on multiples of the
 * batch. A rule gives undefined where a result would be no such multiple; the node is then read by its ordinary handler.
 */
import { type Dim, type DType, dimMul, product, strides } from '../../../ir/types.js';
import {
  add,
  type Binary,
  div,
  equal,
  greatest,
  isNumber,
  least,
  less,
  mul,
  negated,
  onNumbers,
  sub,
} from './dim-arithmetic.js';
import { axesOf, reshapeTarget } from './forms.js';
import { countOf, isKnown, KNOWN_LIMIT, type Known, known, knownShape } from './known.js';
import type { NodeImport } from './node-import.js';
import {
  concat,
  expand,
  type Fold,
  gather,
  inputs,
  reshaped,
  scatter,
  sizesOf,
  slice,
  split,
  squeeze,
  transpose,
  unsqueeze,
} from './shape-views.js';
import { castTarget } from './types.js';

// ---- Elementwise over broadcast operands ----

function map(
  operands: readonly Known[],
  dtype: DType,
  f: (args: readonly Dim[]) => Dim | undefined,
): Known | undefined {
  const rank = Math.max(...operands.map((o) => o.shape.length));
  const shape = Array.from({ length: rank }, (_, i) => {
    const dims = operands.map((o) => o.shape[i - (rank - o.shape.length)] ?? 1);
    return dims.find((d) => d !== 1) ?? 1;
  });
  const fits = operands.every((o) => o.shape.every((d, i) => d === 1 || d === shape[i + rank - o.shape.length]));
  if (!fits || product(shape) > KNOWN_LIMIT) return undefined;
  const own = operands.map((o) => {
    const s = strides(o.shape);
    return shape.map((_, i) => {
      const j = i - (rank - o.shape.length);
      return j < 0 || o.shape[j] === 1 ? 0 : s[j];
    });
  });
  const out: Dim[] = [];
  const all = strides(shape);
  for (let flat = 0, total = product(shape); flat < total; flat++) {
    const index = shape.map((d, i) => Math.floor(flat / all[i]) % d);
    const value = f(operands.map((o, k) => o.data[index.reduce((at, v, i) => at + v * own[k][i], 0)]));
    if (value === undefined) return undefined;
    out.push(dtype === 'f32' && isNumber(value) ? Math.fround(value) : value);
  }
  return known(dtype, shape, out);
}

const isInteger = (k: Known): boolean => k.dtype !== 'f32';

const binary =
  (f: Binary, logical = false): Fold =>
  (n) => {
    const operands = inputs(n);
    return operands
      .slice(1)
      .reduce<Known | undefined>(
        (acc, k) => acc && map([acc, k], logical ? 'bool' : acc.dtype, ([a, b]) => f(a, b, isInteger(acc))),
        operands[0],
      );
  };
const unary =
  (f: (a: number) => number): Fold =>
  (n) => {
    const k = n.known(0, 'the operand');
    return map([k], k.dtype, ([a]) => (isNumber(a) ? f(a) : undefined));
  };

/** Rounding leaves whole numbers, multiples of the batch among them, as they are. */
const rounding =
  (f: (a: number) => number): Fold =>
  (n) => {
    const k = n.known(0, 'the operand');
    return map([k], k.dtype, ([a]) => (isNumber(a) ? f(a) : a));
  };

/** Reductions of a list to one element: of a shape to a count, mostly. */
const reduce =
  (f: Binary, since: number): Fold =>
  (n) => {
    const k = n.known(0, 'the data');
    axesOf(n, 1, since, k.shape.length);
    n.ignoreAttributes('noop_with_empty_axes');
    const keep = n.flag('keepdims', true);
    if (k.shape.length > 1 || k.data.length === 0) return undefined;
    const all = k.data
      .slice(1)
      .reduce<Dim | undefined>((a, d) => (a === undefined ? a : f(a, d, isInteger(k))), k.data[0]);
    return all === undefined ? undefined : known(k.dtype, keep ? k.shape.map(() => 1) : [], [all]);
  };

const constantOfShape: Fold = (n) => {
  const shape = sizesOf(n.known(0, 'the shape').data);
  const value = n.tensor('value');
  if (!shape || product(shape) > KNOWN_LIMIT) return undefined;
  if (shape.some((d) => !Number.isSafeInteger(d) || d < 0)) n.misfit(`shape [${shape}]`);
  return known(value?.dtype ?? 'f32', shape, new Array<Dim>(product(shape)).fill(value?.data[0] ?? 0));
};

const range: Fold = (n) => {
  const [start, limit, delta] = [0, 1, 2].map((i) => n.knownScalar(i, 'the range'));
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  if (!(count <= KNOWN_LIMIT)) return undefined;
  return known(
    n.known(0, 'the range').dtype,
    [count],
    Array.from({ length: count }, (_, i) => start + i * delta),
  );
};

const shapeOf: Fold = (n) => {
  const all = n.shape(0);
  const bound = (name: string, otherwise: number): number => {
    const v = n.number(name, otherwise);
    return Math.min(Math.max(v < 0 ? v + all.length : v, 0), all.length);
  };
  return knownShape(all.slice(bound('start', 0), bound('end', all.length)));
};

const not = (truth: Dim | undefined): Dim | undefined => (truth === undefined ? undefined : truth === 0 ? 1 : 0);

const rules: Readonly<Record<string, Fold>> = {
  Abs: unary(Math.abs),
  Add: binary(add),
  And: binary(
    onNumbers((a, b) => (a && b ? 1 : 0)),
    true,
  ),
  Cast: (n) => {
    const k = n.known(0, 'the data');
    const to = castTarget(n);
    return map([k], to, ([d]) => {
      if (!isNumber(d)) return to === 'bool' ? undefined : d;
      return to === 'bool' ? (d !== 0 ? 1 : 0) : to === 'f32' ? d : Math.trunc(d);
    });
  },
  Ceil: rounding(Math.ceil),
  Cos: unary(Math.cos),
  Concat: concat,
  ConstantOfShape: constantOfShape,
  Div: binary(div),
  Equal: binary(equal, true),
  Exp: unary(Math.exp),
  Expand: expand,
  Floor: rounding(Math.floor),
  Flatten: (n) => {
    const k = n.known(0, 'the data');
    const axis = n.number('axis', 1);
    const at = axis < 0 ? axis + k.shape.length : axis;
    return reshaped(k, [product(k.shape.slice(0, at)), product(k.shape.slice(at))]);
  },
  Gather: gather,
  Greater: binary((a, b, i) => less(b, a, i), true),
  Identity: (n) => n.known(0, 'the data'),
  GreaterOrEqual: binary((a, b, i) => not(less(a, b, i)), true),
  Less: binary(less, true),
  LessOrEqual: binary((a, b, i) => not(less(b, a, i)), true),
  Log: unary(Math.log),
  Max: binary(greatest),
  Min: binary(least),
  Mod: (n) => {
    const truncated = n.flag('fmod', false);
    return binary(onNumbers((a, b) => (truncated ? a % b : a - Math.floor(a / b) * b)))(n);
  },
  Mul: binary(mul),
  Neg: (n) => {
    const k = n.known(0, 'the operand');
    return map([k], k.dtype, ([a]) => (a === undefined ? undefined : negated(a)));
  },
  Not: (n) => map([n.known(0, 'the operand')], 'bool', ([a]) => (isNumber(a) ? (a ? 0 : 1) : undefined)),
  Or: binary(
    onNumbers((a, b) => (a || b ? 1 : 0)),
    true,
  ),
  Pow: binary(onNumbers((a, b) => a ** b)),
  Range: range,
  Reciprocal: unary((a) => 1 / a),
  ReduceMax: reduce(onNumbers(Math.max), 18),
  ReduceMin: reduce(onNumbers(Math.min), 18),
  ReduceProd: reduce(mul, 18),
  ReduceSum: reduce(add, 13),
  Reshape: (n) => {
    const k = n.known(0, 'the data');
    const target = n.known(1, 'the shape').data;
    return reshaped(k, reshapeTarget(n, k.shape, target, n.flag('allowzero', false)));
  },
  ScatterND: scatter,
  Shape: shapeOf,
  Size: (n) => {
    const count = n.shape(0).reduce<Dim | undefined>((p, d) => (p === undefined ? p : dimMul(p, d)), 1);
    return count === undefined ? undefined : known('i64', [], [count]);
  },
  Sigmoid: unary((a) => 1 / (1 + Math.exp(-a))),
  Sign: unary(Math.sign),
  Sin: unary(Math.sin),
  Slice: slice,
  Split: split,
  Sqrt: unary(Math.sqrt),
  Squeeze: squeeze,
  Sub: binary(sub),
  Tanh: unary(Math.tanh),
  Transpose: transpose,
  Unsqueeze: unsqueeze,
  Where: (n) => {
    const [c, a, b] = inputs(n);
    return map([c, a, b], a.dtype, ([when, x, y]) => (isNumber(when) ? (when ? x : y) : undefined));
  },
};

/** Ops that need only the type of their input. */
const ofType = new Set(['Shape', 'Size']);

/** The node's results, where they follow from what is known; undefined where the node must be read as computation. */
export function fold(n: NodeImport): readonly (Known | undefined)[] | undefined {
  const rule = Object.hasOwn(rules, n.node.op) ? rules[n.node.op] : undefined;
  if (!rule || n.node.inputs.length === 0) return undefined;
  if (!ofType.has(n.node.op)) {
    for (let i = 0; i < n.count; i++) {
      if (!n.has(i)) continue;
      const item = n.item(i);
      if (!isKnown(item) || countOf(item) > KNOWN_LIMIT) return undefined;
    }
  }
  const results = rule(n);
  if (results === undefined) return undefined;
  const list = Array.isArray(results) ? (results as readonly (Known | undefined)[]) : [results as Known];
  return list.includes(undefined) ? undefined : list;
}
