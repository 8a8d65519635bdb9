/**
 * Kronecker factors and preconditioned gradients from their definitions (SP-NGD eq 6-12), in plain float64 loops that share
 * nothing with the compiler. Only the order of sums differs.
 */
import { expect } from 'vitest';

/** Relative, for sums in another order. */
export const EXACT = 1e-12;

/** Largest difference over the largest entry of b. */
export function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let [d, m] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    d = Math.max(d, Number.isNaN(a[i]) ? Number.POSITIVE_INFINITY : Math.abs(a[i] - b[i]));
    m = Math.max(m, Math.abs(b[i]));
  }
  return d / m;
}

/** (1/divisor) sum of v v^T, packed. */
export function moment(vectors: readonly (readonly number[])[], divisor: number): number[] {
  const d = vectors[0].length;
  const out: number[] = [];
  for (let i = 0; i < d; i++)
    for (let j = 0; j <= i; j++) out.push(vectors.reduce((s, v) => s + v[i] * v[j], 0) / divisor);
  return out;
}

export function dense(packed: ArrayLike<number>, n: number, shift: number): number[][] {
  return Array.from({ length: n }, (_, i) =>
    Array.from(
      { length: n },
      (_, j) => packed[(Math.max(i, j) * (Math.max(i, j) + 1)) / 2 + Math.min(i, j)] + (i === j ? shift : 0),
    ),
  );
}

export const times = (a: number[][], b: number[][]): number[][] =>
  a.map((row) => b[0].map((_, j) => row.reduce((s, v, k) => s + v * b[k][j], 0)));

export const matrix = (data: ArrayLike<number>, rows: number, columns: number): number[][] =>
  Array.from({ length: rows }, (_, i) => Array.from({ length: columns }, (_, j) => data[i * columns + j]));

export const transposed = (m: number[][]): number[][] => m[0].map((_, j) => m.map((row) => row[j]));

const traceOf = (m: number[][]): number => m.reduce((s, row, i) => s + row[i], 0);

/** Expects (G + sqrt(lambda)/pi I) U (A + pi sqrt(lambda) I) = gradient for U and gradient as [out][in]. */
export function expectPreconditioned(
  u: number[][],
  gradient: number[][],
  A: ArrayLike<number>,
  G: ArrayLike<number>,
  lambda: number,
): void {
  const [out, into] = [u.length, u[0].length];
  const pi = Math.sqrt(traceOf(dense(A, into, 0)) / into / (traceOf(dense(G, out, 0)) / out));
  const back = times(times(dense(G, out, Math.sqrt(lambda) / pi), u), dense(A, into, pi * Math.sqrt(lambda)));
  expect(difference(back.flat(), gradient.flat())).toBeLessThan(1e-10);
}

/** For softmax cross-entropy the gradient of an example's own loss by its logits is softmax - onehot: no autodiff is needed. */
export function lossGradients(logits: number[][], labels: readonly number[]): number[][] {
  return logits.map((row, n) => {
    const z = row.map(Math.exp);
    const sum = z.reduce((a, b) => a + b);
    return z.map((v, k) => v / sum - (labels[n] === k ? 1 : 0));
  });
}
