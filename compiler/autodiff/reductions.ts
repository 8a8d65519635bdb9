/**
 * Gradients of reductions and indexing.
 */
import { dims } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import { flagOf, intsOf, numberOf } from '../../ir/ops/declare.js';
import { product } from '../../ir/types.js';
import type { NoGradient, Rule, Site } from './rule.js';
import { inversePermutation } from './views.js';

/** dy with the reduced axes back, each of size one. */
function kept(s: Site): Value {
  const axes = intsOf(s.attrs, 'axes');
  const shape = dims(s.x[0]).map((n, i) => (axes.includes(i) ? 1 : n));
  return flagOf(s.attrs, 'keep') ? s.dy : s.b.reshape(s.dy, shape);
}

/** The first maximum, in row-major order of the reduced axes, takes the gradient: these axes are made one, at the end. */
function toFirstMaximum(s: Site): Value {
  const { b } = s;
  const [x] = s.x;
  const axes = intsOf(s.attrs, 'axes');
  if (axes.length === 0) return s.dy;
  const order = dims(x).map((_, i) => i);
  const perm = [...order.filter((i) => !axes.includes(i)), ...order.filter((i) => axes.includes(i))];
  const moved = b.transpose(x, perm);
  const outer = dims(moved).slice(0, order.length - axes.length);
  const size = product(dims(moved).slice(outer.length));
  const rows = b.reshape(moved, [...outer, size]);
  const first = b.node('argmax', [rows], { attrs: { axis: outer.length } });
  const iota = b.node('iota', [], {
    attrs: { shape: [...outer.map(() => 1), size], axis: outer.length, dtype: 'i32' },
  });
  const hit = b.node('equal', [iota, b.reshape(first, [...outer, 1])]);
  const dx = b.select(hit, b.reshape(s.dy, [...outer, 1]), s.scalar(0));
  return b.transpose(b.reshape(dx, dims(moved)), inversePermutation(perm));
}

export const reductionGradients = {
  reduce_sum: (s) => [() => s.b.broadcast(kept(s), s.x[0].type.shape)],
  reduce_max: (s) => [() => toFirstMaximum(s)],
  argmax: { none: 'its result is an index' },
  gather: (s) => {
    const axis = numberOf(s.attrs, 'axis');
    const size = dims(s.x[0])[axis];
    return [() => s.b.node('scatter_add', [s.x[1], s.dy], { attrs: { axis, size } }), undefined];
  },
  scatter_add: (s) => [
    undefined,
    () => s.b.node('gather', [s.dy, s.x[0]], { attrs: { axis: numberOf(s.attrs, 'axis') } }),
  ],
  random_uniform: { none: 'random numbers do not depend on a float' },
} satisfies Record<string, Rule | NoGradient>;
