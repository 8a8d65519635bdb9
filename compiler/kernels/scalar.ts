/**
 * Scalar meaning of each elementwise op in kernel expressions: what one element of the result is, given one element of
 * each operand.
 */
import type { Node } from '../../ir/graph.js';
import {
  add,
  and,
  bool,
  div,
  type Expr,
  eq,
  f32,
  i32,
  lt,
  max,
  min,
  mul,
  select,
  sub,
  unary,
} from '../../ir/kernel.js';
import { numberOf, stringOf } from '../../ir/ops/declare.js';
import type { elementwiseOps } from '../../ir/ops/elementwise.js';
import type { formulaOps } from '../../ir/ops/formulas.js';
import type { DType } from '../../ir/types.js';

type ScalarOp = keyof typeof elementwiseOps | keyof typeof formulaOps;
type Rule = (args: readonly Expr[], node: Node) => Expr;

/** A constant of a graph dtype as a register value. */
export function constant(dtype: DType, value: number): Expr {
  if (dtype === 'f32' || dtype === 'f16') return f32(value);
  if (dtype === 'bool') return bool(value !== 0);
  if (dtype === 'i32' || dtype === 'u8') return i32(value);
  throw new Error(`kernels have no ${dtype} values: it must be folded before`);
}

const isFloat = (t: DType): boolean => t === 'f32' || t === 'f16';
const differs = (a: Expr, zero: Expr): Expr => unary('not', eq(a, zero));

/** Conversion between register types. f32 -> integers truncates. */
export function convert(e: Expr, from: DType, to: DType): Expr {
  if (from === to || (isFloat(from) && isFloat(to))) return e;
  if (to === 'bool') return differs(e, isFloat(from) ? f32(0) : i32(0));
  if (isFloat(to)) return unary('toF32', e);
  if (from === 'bool' || isFloat(from)) return unary('toI32', e);
  if ((from === 'u8' && to === 'i32') || (from === 'i32' && to === 'u8')) return e;
  throw new Error(`kernels cannot convert ${from} to ${to}`);
}

const ordered = (e: Expr, node: Node): Expr => convert(e, node.operands[0].type.dtype, numeric(node));
const numeric = (node: Node): DType => (node.operands[0].type.dtype === 'bool' ? 'i32' : node.operands[0].type.dtype);

/** |x|^y as exp(y log |x|), with the sign of an odd integer power; relative error about |y log x| * 2^-23. */
function power(x: Expr, y: Expr): Expr {
  if (y.kind === 'const') {
    if (y.value === 2) return mul(x, x);
    if (y.value === 3) return mul(mul(x, x), x);
    if (y.value === 1) return x;
    if (y.value === 0) return f32(1);
    if (y.value === 0.5) return unary('sqrt', x);
    if (y.value === -0.5) return div(f32(1), unary('sqrt', x));
    if (y.value === -1) return div(f32(1), x);
    if (y.value === -2) return div(f32(1), mul(x, x));
  }
  const magnitude = unary('exp', mul(y, unary('log', unary('abs', x))));
  const half = mul(y, f32(0.5));
  const odd = unary('not', eq(unary('floor', half), half));
  const whole = eq(unary('floor', y), y);
  const signed = select(
    lt(x, f32(0)),
    select(whole, select(odd, unary('neg', magnitude), magnitude), f32(Number.NaN)),
    magnitude,
  );
  return select(eq(y, f32(0)), f32(1), signed);
}

const finite = (x: Expr): Expr => lt(unary('abs', x), f32(Number.POSITIVE_INFINITY));
const normalized = (x: Expr, mean: Expr, rstd: Expr): Expr => mul(sub(x, mean), rstd);
/** An attribute as a constant. */
const fixed = (node: Node, name: string): Expr => f32(numberOf(node.attrs, name));
const reciprocalRoot = (variance: Expr, node: Node): Expr =>
  div(f32(1), unary('sqrt', add(variance, fixed(node, 'epsilon'))));

export const scalarRules = {
  neg: ([x]) => unary('neg', x),
  abs: ([x]) => unary('abs', x),
  exp: ([x]) => unary('exp', x),
  log: ([x]) => unary('log', x),
  sqrt: ([x]) => unary('sqrt', x),
  reciprocal: ([x]) => div(f32(1), x),
  tanh: ([x]) => unary('tanh', x),
  erf: ([x]) => unary('erf', x),
  sigmoid: ([x]) => div(f32(1), add(f32(1), unary('exp', unary('neg', x)))),
  relu: ([x]) => max(x, f32(0)),
  // Zero and NaN are their own sign.
  sign: ([x]) => select(lt(f32(0), x), f32(1), select(lt(x, f32(0)), f32(-1), x)),
  floor: ([x]) => unary('floor', x),
  is_finite: ([x]) => finite(x),
  not: ([x]) => unary('not', x),
  cast: ([x], node) => convert(x, node.operands[0].type.dtype, stringOf(node.attrs, 'dtype') as DType),
  add: ([a, b]) => add(a, b),
  sub: ([a, b]) => sub(a, b),
  mul: ([a, b]) => mul(a, b),
  div: ([a, b]) => div(a, b),
  pow: ([a, b]) => power(a, b),
  max: ([a, b]) => max(a, b),
  min: ([a, b]) => min(a, b),
  equal: ([a, b], node) => eq(ordered(a, node), ordered(b, node)),
  less: ([a, b], node) => lt(ordered(a, node), ordered(b, node)),
  and: ([a, b]) => and(a, b),
  or: ([a, b]) => ({ kind: 'binary', op: 'or', a, b }),
  select: ([c, a, b]) => select(c, a, b),
  relu_grad: ([y, dy]) => select(lt(f32(0), y), dy, f32(0)),
  moving_average: ([old, fresh], node) => {
    const momentum = numberOf(node.attrs, 'momentum');
    return add(mul(old, f32(momentum)), mul(fresh, f32(1 - momentum)));
  },
  rstd: ([variance], node) => reciprocalRoot(variance, node),
  channel_affine: ([x, mean, scale, shift]) => add(mul(sub(x, mean), scale), shift),
  batch_norm_inference: ([x, gamma, beta, mean, variance], node) =>
    add(mul(sub(x, mean), mul(gamma, reciprocalRoot(variance, node))), beta),
  weighted_square: ([x, mean, valid]) => mul(mul(sub(x, mean), sub(x, mean)), valid),
  normalized_product: ([dy, x, mean, rstd]) => mul(dy, normalized(x, mean, rstd)),
  batch_norm_input_grad: ([dy, x, mean, rstd, scale, byGamma, byBeta, count, valid]) => {
    const projected = add(div(byBeta, count), mul(normalized(x, mean, rstd), div(byGamma, count)));
    return mul(sub(dy, mul(valid, projected)), scale);
  },
  pi: ([traceA, traceG], node) => {
    const ratio = div(mul(traceA, fixed(node, 'ratio')), traceG);
    return select(and(finite(ratio), lt(f32(0), ratio)), unary('sqrt', ratio), f32(1));
  },
  momentum_step: ([direction, rate, velocity, momentum, test]) => {
    const step = add(mul(direction, rate), mul(velocity, momentum));
    return test ? select(finite(test), step, velocity) : step;
  },
  weight_step: ([weight, velocity, test]) => select(finite(test), add(weight, velocity), weight),
  if_finite: ([test, value, otherwise]) => select(finite(test), value, otherwise),
} satisfies Record<ScalarOp, Rule>;

export function isScalarOp(op: string): op is ScalarOp {
  return Object.hasOwn(scalarRules, op);
}
