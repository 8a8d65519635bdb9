/**
 * Products on subgroup matrices, where the device has them: f16 factors, f32 sums.
 */
import { type GemmSizes, subgroupMatrixGemm } from '../../compiler/kernels/gpu/subgroup-matrix.js';
import type { Kernel } from '../../ir/kernel.js';
import { noise, type Problem, type Work } from './problem.js';

/** Small whole numbers, for which f16 factors and f32 sums are exact. */
const whole = (n: number, seed: number): Float64Array => noise(n, seed).map((v) => Math.round(v * 2));

function product(kernel: Kernel, { m, n, k }: GemmSizes): Work {
  const [a, b] = [whole(m * k, 1), whole(k * n, 2)];
  const values = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let p = 0; p < k; p++) {
      const factor = a[i * k + p];
      for (let j = 0; j < n; j++) values[i * n + j] += factor * b[p * n + j];
    }
  const [left, right, out] = kernel.params;
  return {
    memories: [
      { type: left.type, length: left.length, data: a },
      { type: right.type, length: right.length, data: b },
      { type: out.type, length: out.length },
    ],
    calls: [{ kernel, args: [0, 1, 2] }],
    expected: [{ name: 'C', memory: 2, values, tolerance: {} }],
  };
}

const sizes: readonly GemmSizes[] = [
  { m: 64, n: 32, k: 32 },
  { m: 18, n: 9, k: 40 },
  { m: 70, n: 33, k: 21 },
  { m: 1024, n: 1024, k: 1024 },
];

export const matrixProblems: readonly Problem[] = sizes.map((s) => ({
  name: `matrix: ${s.m}x${s.n}x${s.k}, f16 factors on subgroup matrices`,
  feature: 'chromium-experimental-subgroup-matrix',
  large: s.m > 512,
  ways: [{ name: 'block 64x32', work: () => product(subgroupMatrixGemm(s), s) }],
}));
