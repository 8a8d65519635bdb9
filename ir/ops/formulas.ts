/**
 * Formulas of training that are one elementwise op each. Written in additions and products they would be most of a training graph:
 * five to twenty nodes each, in every layer. Whole they can be read, and every pass goes over a third of the nodes. Kernels see
 * nothing of them: an element of the result is the same expression either way.
 */
import type { Attrs } from '../graph.js';
import { concrete, product, type TensorType, tensor } from '../types.js';
import { fail, flagOf, numberOf, type OpDef, real, shaped } from './declare.js';

/** What an operand gives to an element of the result: its own element there, or its channel's, its example's, the one there is. */
export type Operand = 'element' | 'channel' | 'example' | 'scalar';

export interface Formula extends OpDef {
  readonly operands: readonly Operand[];
  readonly scalar: NonNullable<OpDef['scalar']>;
}

/** The axis of a result [N, C, ...] along which a vector lies. */
export const axisOfOperand = { example: 0, channel: 1 } as const;

function expect(operand: TensorType, role: Operand, result: TensorType, index: number): void {
  const what = `operand ${index}`;
  real(operand, what);
  if (role === 'element') shaped(operand, result.shape, what);
  else if (role === 'scalar') shaped(operand, [], what);
  else {
    const axis = axisOfOperand[role];
    if (result.shape.length <= axis) fail(`${what} is a vector over axis ${axis}, which the result does not have`);
    shaped(operand, [result.shape[axis]], what);
  }
}

/**
 * @param operands the last `optional` may be absent
 * @param cost additions that it takes as long as
 * @param scalar the formula, of the operands' elements and then of the attributes
 */
function formula(
  operands: readonly Operand[],
  scalar: (...args: number[]) => number,
  { attrs = [], optional = 0, cost }: { attrs?: readonly string[]; optional?: number; cost: number },
): Formula {
  const first = operands.indexOf('element');
  return {
    arity: [operands.length - optional, operands.length],
    fuse: 'elementwise',
    attrs: Object.fromEntries(attrs.map((a) => [a, 'number'])),
    operands,
    scalar,
    cost,
    infer: (types) => {
      const result = types[first];
      for (let i = 0; i < types.length; i++) expect(types[i], operands[i], result, i);
      return [result];
    },
    evaluate: (tensors, values, [result]) => {
      const shape = concrete(result.shape);
      const inner = product(shape.slice(2));
      const places = {
        element: (i: number) => i,
        channel: (i: number) => Math.floor(i / inner) % shape[1],
        example: (i: number) => Math.floor(i / (inner * (shape[1] ?? 1))),
        scalar: () => 0,
      };
      const fixed = attrs.map((a) => numberOf(values, a));
      return [
        Float64Array.from({ length: product(shape) }, (_, i) =>
          scalar(...tensors.map((t, k) => t.data[places[operands[k]](i)]), ...fixed),
        ),
      ];
    },
    flops: (_, __, [result]) => cost * product(concrete(result.shape)),
  };
}

/** The three different elements of v v^T, v = (gamma, beta): that in row `row` of [gamma gamma, gamma beta, beta beta]. */
const pairOf = (row: number): readonly [number, number] => [row < 2 ? 0 : 1, row < 1 ? 0 : 1];

/** (F + lambda I)^-1 (gamma, beta), F = [gg, gb; gb, bb]: one of the two. */
function solveBlock([gg, gb, bb]: readonly number[], g: number, b: number, damping: number, shift: boolean): number {
  const [p, q] = [gg + damping, bb + damping];
  return (shift ? p * b - gb * g : q * g - gb * b) / (p * q - gb * gb);
}

export const formulaOps = {
  /** (y, dy): dy where y > 0, else 0. With y = relu(x): y > 0 exactly where x > 0, so x need not be kept. */
  relu_grad: formula(['element', 'element'], (y, dy) => (y > 0 ? dy : 0), { cost: 2 }),
  /** (old, fresh) -> old momentum + fresh (1 - momentum): running statistics, as ONNX BatchNormalization moves them. */
  moving_average: formula(['element', 'element'], (old, fresh, m) => old * m + fresh * (1 - m), {
    attrs: ['momentum'],
    cost: 3,
  }),
  /** (variance) -> 1 / sqrt(variance + epsilon): the reciprocal standard deviation. */
  rstd: formula(['element'], (v, epsilon) => 1 / Math.sqrt(v + epsilon), { attrs: ['epsilon'], cost: 5 }),
  /** (x[N,C,...], mean[C], scale[C], shift[C]) -> (x - mean) scale + shift. */
  channel_affine: formula(
    ['element', 'channel', 'channel', 'channel'],
    (x, mean, scale, shift) => (x - mean) * scale + shift,
    { cost: 3 },
  ),
  /** (x[N,C,...], gamma[C], beta[C], mean[C], variance[C]) -> (x - mean) gamma / sqrt(variance + epsilon) + beta: ONNX BatchNormalization. */
  batch_norm_inference: formula(
    ['element', 'channel', 'channel', 'channel', 'channel'],
    (x, gamma, beta, mean, variance, epsilon) => ((x - mean) / Math.sqrt(variance + epsilon)) * gamma + beta,
    // The scale is the same for all of a channel: loops over its elements find it made.
    { attrs: ['epsilon'], cost: 3 },
  ),
  /** (x[N,C,...], mean[C], valid[N]) -> (x - mean)^2 valid: what a variance over valid examples sums. */
  weighted_square: formula(['element', 'channel', 'example'], (x, mean, valid) => (x - mean) * (x - mean) * valid, {
    cost: 3,
  }),
  /** (dy[N,C,...], x, mean[C], rstd[C]) -> dy xhat, xhat = (x - mean) rstd: what the gradient of gamma sums. */
  normalized_product: formula(
    ['element', 'element', 'channel', 'channel'],
    (dy, x, mean, rstd) => dy * ((x - mean) * rstd),
    { cost: 3 },
  ),
  /**
   * (dy[N,C,...], x, mean[C], rstd[C], scale[C], byGamma[C], byBeta[C], count[], valid[N]) -> dx of batch normalisation:
   * (dy - valid (byBeta + xhat byGamma) / count) scale, with the sums of dy xhat and dy over the batch, its number of valid elements of
   * a channel, and scale = gamma rstd.
   */
  batch_norm_input_grad: formula(
    ['element', 'element', 'channel', 'channel', 'channel', 'channel', 'channel', 'scalar', 'example'],
    (dy, x, mean, rstd, scale, byGamma, byBeta, count, valid) =>
      (dy - valid * (byBeta / count + (x - mean) * rstd * (byGamma / count))) * scale,
    { cost: 7 },
  ),
  /**
   * (traceA, traceG) -> pi (SP-NGD eq 12), the root of the ratio of the factors' mean eigenvalues; `ratio` is the width of G over
   * that of A. 1 where that is not finite or not positive.
   */
  pi: formula(
    ['element', 'element'],
    (a, g, ratio) => {
      const r = (a * ratio) / g;
      return Number.isFinite(r) && r > 0 ? Math.sqrt(r) : 1;
    },
    { attrs: ['ratio'], cost: 10 },
  ),
  /**
   * (direction, rate[], velocity, momentum[], test[]?) -> direction rate + velocity momentum (SP-NGD eq 23, rate = -lr); the velocity
   * itself where `test` is given and not finite.
   */
  momentum_step: formula(
    ['element', 'scalar', 'element', 'scalar', 'scalar'],
    (u, rate, v, momentum, test = 0) => (Number.isFinite(test) ? u * rate + v * momentum : v),
    { optional: 1, cost: 4 },
  ),
  /** (weight, velocity, test[]) -> weight + velocity (SP-NGD eq 24); the weight itself where `test` is not finite. */
  weight_step: formula(['element', 'element', 'scalar'], (w, v, test) => (Number.isFinite(test) ? w + v : w), {
    cost: 2,
  }),
  /** (test[], value, otherwise): value where the test is finite. */
  if_finite: formula(['scalar', 'element', 'element'], (test, x, y) => (Number.isFinite(test) ? x : y), { cost: 1 }),
} satisfies Record<string, Formula>;

/** Formulas whose operands do not lie in the result as vectors or whole. */
export const unitBlockOps = {
  /** (gammaRows[N,C], betaRows[N,C]) -> [N,3,C]: products of each example's own gradients, [gamma gamma, gamma beta, beta beta]. */
  unit_products: {
    arity: [2, 2],
    fuse: 'elementwise',
    cost: 3,
    infer: ([gamma, beta]) => {
      const [n, c] = real(gamma, 'gamma').shape;
      if (gamma.shape.length !== 2) fail('rows are [N, C]');
      shaped(real(beta, 'beta'), gamma.shape, 'beta');
      return [tensor(gamma.dtype, [n, 3, c])];
    },
    evaluate: (rows, _attrs, [result]) => {
      const [, , c] = concrete(result.shape);
      return [
        Float64Array.from({ length: product(concrete(result.shape)) }, (_, i) => {
          const [n, row] = [Math.floor(i / (3 * c)), Math.floor(i / c) % 3];
          const [u, v] = pairOf(row).map((k) => rows[k].data[n * c + (i % c)]);
          return u * v;
        }),
      ];
    },
  },
  /**
   * (fisher[3,C], gamma[C], beta[C], damping[]) -> [C]: the gradients of a scale and a shift, each pair by (F + damping I)^-1 of its 2x2
   * block in closed form (SP-NGD eq 17); of the two that of the scale, or with `shift` that of the shift.
   */
  unit_natural: {
    arity: [4, 4],
    fuse: 'elementwise',
    cost: 10,
    attrs: { shift: 'flag' },
    infer: ([fisher, gamma, beta, damping]) => {
      if (real(gamma, 'gamma').shape.length !== 1) fail('gamma is [C]');
      shaped(real(fisher, 'fisher'), [3, gamma.shape[0]], 'fisher');
      shaped(real(beta, 'beta'), gamma.shape, 'beta');
      shaped(real(damping, 'damping'), [], 'damping');
      return [gamma];
    },
    evaluate: ([fisher, gamma, beta, damping], attrs: Attrs) => [
      gamma.data.map((g, c) => {
        const block = [0, 1, 2].map((row) => fisher.data[row * gamma.data.length + c]);
        return solveBlock(block, g, beta.data[c], damping.data[0], flagOf(attrs, 'shift'));
      }),
    ],
    flops: ([, gamma]) => 10 * product(concrete(gamma.shape)),
  },
} satisfies Record<string, OpDef>;
