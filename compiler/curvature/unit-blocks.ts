/**
 * Unit-wise blocks of a scale and a shift, as of a normalisation (SP-NGD eq 15-17): for each channel the 2x2 Fisher matrix of
 * (gamma, beta), kept as three rows [gamma gamma, gamma beta, beta beta], and its damped inverse in closed form.
 */
import type { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';

/**
 * Mean over examples of v v^T, v = (gamma, beta) gradient of the example's own loss. The rows carry 1/count, so
 * (1/count) sum (count v)(count v)^T = count * sum v v^T.
 * @param gammaRows f32[N, C]
 * @param betaRows f32[N, C]
 * @param count f32[]
 * @returns f32[3, C]
 */
export function unitFisher(b: Builder, gammaRows: Value, betaRows: Value, count: Value): Value {
  return b.mul(b.sum(b.node('unit_products', [gammaRows, betaRows]), [0]), count);
}

/**
 * (F + lambda I)^-1 applied to the gradients, channel by channel. The determinant is at least lambda^2 for lambda > 0.
 * @param fisher f32[3, C]
 * @param gamma gradient, f32[C]
 * @param beta gradient, f32[C]
 * @param damping lambda (not its root: the block is not a Kronecker product), f32[]
 */
export function solveUnitBlocks(
  b: Builder,
  fisher: Value,
  gamma: Value,
  beta: Value,
  damping: Value,
): { readonly gamma: Value; readonly beta: Value } {
  const solve = (shift: boolean) => b.node('unit_natural', [fisher, gamma, beta, damping], { attrs: { shift } });
  return { gamma: solve(false), beta: solve(true) };
}
