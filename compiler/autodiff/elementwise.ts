/**
 * Gradients of elementwise ops. Broadcasting needs no care here: the pass sums a gradient down to its operand's shape.
 */
import type { Value } from '../../ir/graph.js';
import type { NoGradient, Rule, Site } from './rule.js';

/** A rule for f(x): `derivative` gives the factor of dy. */
function unary(derivative: (s: Site, x: Value, y: Value) => Value): Rule {
  return (s) => [() => s.times(s.dy, derivative(s, s.x[0], s.y[0]))];
}

const constantPieces: NoGradient = { none: 'piecewise constant: its derivative is zero wherever it exists' };
const logical: NoGradient = { none: 'its result is a truth value' };

/** Keeps dy where the condition holds. */
const where = (s: Site, condition: Value): Value => s.b.select(condition, s.dy, s.scalar(0));
const unless = (s: Site, condition: Value): Value => s.b.select(condition, s.scalar(0), s.dy);
const less = (s: Site, a: Value, b: Value): Value => s.b.node('less', [a, b]);

export const elementwiseGradients = {
  neg: (s) => [() => s.b.neg(s.dy)],
  abs: unary((s, x) => s.b.node('sign', [x])),
  exp: unary((_s, _x, y) => y),
  log: (s) => [() => s.b.div(s.dy, s.x[0])],
  // 1 / (2 sqrt x)
  sqrt: (s) => [() => s.b.div(s.b.mul(s.dy, s.scalar(0.5)), s.y[0])],
  reciprocal: unary((s, _x, y) => s.b.neg(s.b.mul(y, y))),
  tanh: unary((s, _x, y) => s.b.sub(s.scalar(1), s.b.mul(y, y))),
  // 2 / sqrt(pi) exp(-x^2)
  erf: unary((s, x) => s.b.mul(s.b.node('exp', [s.b.neg(s.b.mul(x, x))]), s.scalar(2 / Math.sqrt(Math.PI)))),
  sigmoid: unary((s, _x, y) => s.b.mul(y, s.b.sub(s.scalar(1), y))),
  relu: (s) => [() => s.b.node('relu_grad', [s.y[0], s.dy])],
  sign: constantPieces,
  floor: constantPieces,
  is_finite: logical,
  not: logical,
  cast: (s) => [() => s.b.cast(s.dy, s.x[0].type.dtype)],
  add: (s) => [() => s.dy, () => s.dy],
  sub: (s) => [() => s.dy, () => s.b.neg(s.dy)],
  mul: (s) => {
    const [a, b] = s.x;
    if (a === b) return [() => s.times(s.dy, s.b.mul(a, s.scalar(2))), undefined];
    return [() => s.times(s.dy, b), () => s.times(s.dy, a)];
  },
  div: (s) => [() => s.b.div(s.dy, s.x[1]), () => s.b.neg(s.b.div(s.b.mul(s.dy, s.y[0]), s.x[1]))],
  // d/da = b a^(b-1); d/db = a^b log a, taken as 0 for a <= 0, where a^b is no function of a real b.
  pow: (s) => {
    const [a, b] = s.x;
    return [
      () => s.times(s.dy, s.b.mul(b, s.b.node('pow', [a, s.b.sub(b, s.scalar(1))]))),
      () => {
        const positive = less(s, s.scalar(0), a);
        const log = s.b.node('log', [s.b.select(positive, a, s.scalar(1))]);
        return s.times(s.dy, s.b.mul(s.y[0], log));
      },
    ];
  },
  // Where both are equal the first operand takes the gradient: a clip lets gradients through at its bounds.
  max: (s) => {
    const second = () => less(s, s.x[0], s.x[1]);
    return [() => unless(s, second()), () => where(s, second())];
  },
  min: (s) => {
    const second = () => less(s, s.x[1], s.x[0]);
    return [() => unless(s, second()), () => where(s, second())];
  },
  equal: logical,
  less: logical,
  and: logical,
  or: logical,
  select: (s) => [undefined, () => where(s, s.x[0]), () => unless(s, s.x[0])],
} satisfies Record<string, Rule | NoGradient>;
