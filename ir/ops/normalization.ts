/**
 * Composite ops: softmax and batch normalisation. They stay whole through autodiff and curvature, where their closed-form
 * gradients and per-example sums matter, and are expanded into primitive ops before kernels are made.
 */
import type { Attrs } from '../graph.js';
import { concrete, product, type TensorType, tensor } from '../types.js';
import { axisOf, fail, numberOf, type OpDef, real, shaped, type Tensor64 } from './declare.js';

function alongAxis(
  x: Tensor64,
  axis: number,
  row: (at: (k: number) => number, size: number, set: (k: number, v: number) => void) => void,
): Float64Array {
  const shape = concrete(x.type.shape);
  const inner = product(shape.slice(axis + 1));
  const size = shape[axis];
  const out = new Float64Array(x.data.length);
  for (let o = 0; o < x.data.length / size; o++) {
    const base = Math.floor(o / inner) * size * inner + (o % inner);
    row(
      (k) => x.data[base + k * inner],
      size,
      (k, v) => {
        out[base + k * inner] = v;
      },
    );
  }
  return out;
}

function logSumExp(at: (k: number) => number, size: number): number {
  let m = Number.NEGATIVE_INFINITY;
  for (let k = 0; k < size; k++) m = Math.max(m, at(k));
  let s = 0;
  for (let k = 0; k < size; k++) s += Math.exp(at(k) - m);
  return m + Math.log(s);
}

function channels(x: TensorType, perChannel: readonly TensorType[], valid?: TensorType): void {
  const c = real(x, 'x').shape[1];
  if (x.shape.length < 2 || typeof c !== 'number') fail('batch normalisation needs [N, C, ...]');
  for (const t of perChannel) shaped(real(t, 'per-channel operand'), [c], 'per-channel operand');
  if (valid) shaped(real(valid, 'valid'), x.shape.slice(0, 1), 'valid');
}

/** Visits (flat offset, example, channel) of an [N, C, ...] tensor. */
function forEachChannel(
  x: TensorType,
  visit: (i: number, n: number, c: number) => void,
): { n: number; c: number; positions: number } {
  const [n, c, ...rest] = concrete(x.shape);
  const positions = product(rest);
  for (let i = 0, total = n * c * positions; i < total; i++) {
    const plane = Math.floor(i / positions);
    visit(i, Math.floor(plane / c), plane % c);
  }
  return { n, c, positions };
}

const softmaxLike = (write: (v: number, lse: number) => number): OpDef => ({
  arity: [1, 1],
  fuse: 'composite',
  attrs: { axis: 'int' },
  infer: ([x], attrs) => {
    axisOf(attrs, real(x).shape.length);
    return [x];
  },
  evaluate: ([x], attrs) => [
    alongAxis(x, axisOf(attrs, x.type.shape.length), (at, size, set) => {
      const lse = logSumExp(at, size);
      for (let k = 0; k < size; k++) set(k, write(at(k), lse));
    }),
  ],
});

export const normalizationOps = {
  softmax: softmaxLike((v, lse) => Math.exp(v - lse)),
  log_softmax: softmaxLike((v, lse) => v - lse),
  /**
   * (x[N,C,...], gamma[C], beta[C], valid[N]) -> y, mean[C], variance[C]. Statistics over the valid examples and all
   * positions; population variance, as ONNX BatchNormalization defines it.
   */
  batch_norm: {
    arity: [4, 4],
    fuse: 'composite',
    attrs: { epsilon: 'number' },
    infer: ([x, gamma, beta, valid]) => {
      channels(x, [gamma, beta], valid);
      return [x, gamma, gamma];
    },
    evaluate: ([x, gamma, beta, valid], attrs: Attrs) => {
      const c = gamma.data.length;
      const mean = new Float64Array(c);
      const variance = new Float64Array(c);
      const { positions } = forEachChannel(x.type, (i, n, k) => {
        mean[k] += valid.data[n] * x.data[i];
      });
      const count = valid.data.reduce((a, b) => a + b, 0) * positions;
      for (let k = 0; k < c; k++) mean[k] /= count;
      forEachChannel(x.type, (i, n, k) => {
        variance[k] += (valid.data[n] * (x.data[i] - mean[k]) ** 2) / count;
      });
      const y = new Float64Array(x.data.length);
      forEachChannel(x.type, (i, _n, k) => {
        y[i] =
          ((x.data[i] - mean[k]) / Math.sqrt(variance[k] + numberOf(attrs, 'epsilon'))) * gamma.data[k] + beta.data[k];
      });
      return [y, mean, variance];
    },
  },
  /**
   * (x, dy, gamma, mean, variance, valid) -> dx, gamma_rows[N,C], beta_rows[N,C]. The rows are each example's own sums over
   * positions, of dy * xhat and of dy: their sum is the gradient, their outer products the 2x2 Fisher blocks (SP-NGD eq 15-16).
   */
  batch_norm_grad: {
    arity: [6, 6],
    fuse: 'composite',
    attrs: { epsilon: 'number' },
    infer: ([x, dy, gamma, mean, variance, valid]) => {
      channels(x, [gamma, mean, variance], valid);
      shaped(real(dy, 'dy'), x.shape, 'dy');
      const rows = tensor(dy.dtype, x.shape.slice(0, 2));
      return [x, rows, rows];
    },
    evaluate: ([x, dy, gamma, mean, variance, valid], attrs, [, rows]) => {
      const c = gamma.data.length;
      const rstd = variance.data.map((v) => 1 / Math.sqrt(v + numberOf(attrs, 'epsilon')));
      const gammaRows = new Float64Array(product(concrete(rows.shape)));
      const betaRows = new Float64Array(gammaRows.length);
      const { positions } = forEachChannel(x.type, (i, n, k) => {
        gammaRows[n * c + k] += dy.data[i] * (x.data[i] - mean.data[k]) * rstd[k];
        betaRows[n * c + k] += dy.data[i];
      });
      const sums = [new Float64Array(c), new Float64Array(c)];
      gammaRows.forEach((g, i) => {
        sums[0][i % c] += g;
        sums[1][i % c] += betaRows[i];
      });
      const count = valid.data.reduce((a, b) => a + b, 0) * positions;
      const dx = new Float64Array(x.data.length);
      forEachChannel(x.type, (i, n, k) => {
        const xhat = (x.data[i] - mean.data[k]) * rstd[k];
        dx[i] = gamma.data[k] * rstd[k] * (dy.data[i] - (valid.data[n] * (sums[1][k] + xhat * sums[0][k])) / count);
      });
      return [dx, gammaRows, betaRows];
    },
  },
  /** (x, gamma, beta, mean, variance) -> y, with statistics that are given. */
} satisfies Record<string, OpDef>;
