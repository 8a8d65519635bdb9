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
  const channels = gammaRows.type.shape[1];
  const row = (u: Value, v: Value) => b.reshape(b.sum(b.mul(u, v), [0]), [1, channels]);
  const rows = [row(gammaRows, gammaRows), row(gammaRows, betaRows), row(betaRows, betaRows)];
  return b.mul(b.node('concat', rows, { attrs: { axis: 0 } }), count);
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
  const row = (i: number) => b.reshape(b.sliceAxis(fisher, 0, i, i + 1), [fisher.type.shape[1]]);
  const gg = b.add(row(0), damping);
  const gb = row(1);
  const bb = b.add(row(2), damping);
  const determinant = b.sub(b.mul(gg, bb), b.mul(gb, gb));
  return {
    gamma: b.div(b.sub(b.mul(bb, gamma), b.mul(gb, beta)), determinant),
    beta: b.div(b.sub(b.mul(gg, beta), b.mul(gb, gamma)), determinant),
  };
}
