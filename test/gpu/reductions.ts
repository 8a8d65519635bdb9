/**
 * Sums and maxima over every set of axes, with every number of results that a workgroup can own; positions of maxima; traces.
 */
import { lowerReduction } from '../../compiler/kernels/gpu/reduction.js';
import { product, symmetric, tensor } from '../../ir/types.js';
import { builder, type Lower, noise, type Problem, problem } from './problem.js';

const powers = [1, 2, 4, 8, 16, 32, 64, 128, 256];

const ways: readonly (readonly [string, Lower])[] = [
  ['chosen', (region, name) => lowerReduction(region, name)],
  ...powers.map(
    (results) =>
      [`${results} results a workgroup`, (r, n) => lowerReduction(r, n, { results })] as readonly [string, Lower],
  ),
];

/** All sets of axes but the empty one. */
function axisSets(rank: number): number[][] {
  const sets = Array.from({ length: 2 ** rank - 1 }, (_, k) => k + 1);
  return sets.map((bits) => Array.from({ length: rank }, (_, axis) => axis).filter((axis) => bits & (1 << axis)));
}

type Op = 'reduce_sum' | 'reduce_max';

function reduction(op: Op, shape: readonly number[], axes: readonly number[], large = false): Problem {
  const b = builder();
  const x = b.input('x', tensor('f32', shape));
  const r = b.node(op, [b.mul(b.sub(x, b.fill(0.25)), x)], { attrs: { axes, keep: false } });
  b.output('r', r);
  b.output('after', b.node('relu', [b.add(b.mul(r, b.fill(0.5)), b.input('bias', r.type))]));
  // Sums of mixed signs: roundings are relative to their terms, of which there are many.
  const terms = product(axes.map((a) => shape[a]));
  const tolerance = { relative: 3e-6, absolute: 2 ** -24 * Math.sqrt(terms) * 8 };
  return problem(`reduction: ${op} of [${shape}] over [${axes}]`, b.finish(), ways, { tolerance, large });
}

function integers(op: Op, axis: number): Problem {
  const b = builder();
  b.output('r', b.node(op, [b.input('x', tensor('i32', [40, 60]))], { attrs: { axes: [axis], keep: false } }));
  const inputs = () => ({ x: noise(2400).map((v) => Math.round(v * 50) - 200) });
  return problem(`reduction: ${op} of integers over ${axis}`, b.finish(), ways, { inputs });
}

function argmax(shape: readonly number[], axis: number): Problem {
  const b = builder();
  const x = b.input('x', tensor('f32', shape));
  const best = b.node('argmax', [b.node('abs', [x])], { attrs: { axis } });
  b.output('best', best);
  b.output('scaled', b.mul(b.cast(best, 'f32'), b.fill(2)));
  // Whole numbers: many are equal, and the first is meant.
  const inputs = () => ({ x: noise(product(shape)).map(Math.round) });
  return problem(`reduction: argmax of [${shape}] along ${axis}`, b.finish(), [], { inputs, tolerance: {} });
}

function trace(n: number, batch: readonly number[]): Problem {
  const b = builder();
  const s = b.input('s', symmetric(n, batch));
  b.output('t', b.node('sqrt', [b.mul(b.node('trace', [b.mul(s, s)]), b.fill(1 / n))]));
  return problem(`reduction: trace of ${n}, batch [${batch}]`, b.finish(), ways);
}

export const reductionProblems: readonly Problem[] = (['reduce_sum', 'reduce_max'] as const).flatMap((op) => [
  ...[[7], [3, 300], [6, 5, 40], [3, 5, 4, 6]].flatMap((shape) =>
    axisSets(shape.length).map((axes) => reduction(op, shape, axes)),
  ),
  reduction(op, [3, 2, 1100], [0, 2]),
  reduction(op, [32, 64, 56, 56], [0, 2, 3], true),
  reduction(op, [4096, 1000], [1], true),
  reduction(op, [1 << 22], [0], true),
  integers(op, 0),
  integers(op, 1),
]);

export const selectionProblems: readonly Problem[] = [
  ...[0, 1, 2].map((axis) => argmax([4, 5, 3], axis)),
  argmax([300, 10], 1),
  ...[1, 4, 9, 300].flatMap((n) => [trace(n, []), trace(n, [3])]),
];
