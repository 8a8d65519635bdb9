import type { reductionOps } from '../../../ir/ops/reductions.js';
import { type OpCases, wave } from './case.js';

const { NaN: nan, NEGATIVE_INFINITY: ninf } = Number;
const six = [1, 2, 3, 4, 5, 6];

const reduction = (full: number, rows: readonly number[], columns: readonly number[]): OpCases => ({
  types: [
    [['f32[N,3,4]'], { axes: [1], keep: false }, ['f32[N,4]']],
    [['f32[N,3,4]'], { axes: [2, 0], keep: true }, ['f32[1,3,1]']],
    [['i32[3]'], { axes: [0], keep: false }, ['i32[]']],
  ],
  rejects: [
    [['f32[3]'], { axes: [1], keep: false }, /axes 1 of a tensor of rank 1/],
    [['f32[3]'], { axes: [-1], keep: false }, /axes -1/],
    [['f32[3,3]'], { axes: [0, 0], keep: false }, /axes 0,0/],
    [['sym[3]'], { axes: [0], keep: false }, /dense/],
    [['bool[3]'], { axes: [0], keep: false }, /bool/],
  ],
  values: [
    { operands: [['f32[2,3]', six]], attrs: { axes: [0, 1], keep: false }, results: [[full]] },
    { operands: [['f32[2,3]', six]], attrs: { axes: [1], keep: true }, results: [rows] },
    { operands: [['f32[2,3]', six]], attrs: { axes: [0], keep: false }, results: [columns] },
    { operands: [['f32[1,2,3]', six]], attrs: { axes: [0, 2], keep: false }, results: [rows] },
    { operands: [['f32[2]', [nan, 1]]], attrs: { axes: [0], keep: false }, results: [[nan]] },
  ],
});

/** The generator as ir/random.ts describes it, in big integers. */
function uniform(seed: number, step: number, key: number, example: number, element: number): number {
  const mask = 0xffffffffn;
  const mix = (x: bigint): bigint => {
    let h = x & mask;
    h = ((h ^ (h >> 16n)) * 0x7feb352dn) & mask;
    h = ((h ^ (h >> 15n)) * 0x846ca68bn) & mask;
    return h ^ (h >> 16n);
  };
  let h = mix(BigInt(seed) ^ 0x9e3779b9n);
  for (const link of [step, key, example, element]) h = mix(h ^ BigInt(link));
  return Number(h >> 8n) / 2 ** 24;
}

const draws = (seed: number, step: number, key: number, first: number, rows: number, columns: number): number[] =>
  Array.from({ length: rows * columns }, (_, i) =>
    uniform(seed, step, key, first + Math.floor(i / columns), i % columns),
  );

export const reductionCases: Record<keyof typeof reductionOps, OpCases> = {
  reduce_sum: reduction(21, [6, 15], [5, 7, 9]),
  reduce_max: {
    ...reduction(6, [3, 6], [4, 5, 6]),
    values: [
      ...reduction(6, [3, 6], [4, 5, 6]).values,
      { operands: [['f32[2]', [ninf, ninf]]], attrs: { axes: [0], keep: false }, results: [[ninf]] },
    ],
  },
  argmax: {
    types: [
      [['f32[N,3]'], { axis: 1 }, ['i32[N]']],
      [['f32[2,3,4]'], { axis: 0 }, ['i32[3,4]']],
    ],
    rejects: [
      [['f32[3]'], { axis: 1 }, /not an axis/],
      [['sym[3]'], { axis: 0 }, /dense/],
    ],
    values: [
      // Ties: the first maximum.
      { operands: [['f32[4,3]', [1, 3, 3, 2, 2, 2, -1, -5, 0, 7, 7, 1]]], attrs: { axis: 1 }, results: [[1, 0, 2, 0]] },
      { operands: [['f32[3,2]', [1, 9, 4, 9, 4, 8]]], attrs: { axis: 0 }, results: [[1, 0]] },
    ],
  },
  gather: {
    types: [
      [['f32[10,4]', 'i32[N]'], { axis: 0 }, ['f32[N,4]']],
      [['f32[N,10]', 'i32[2,3]'], { axis: 1 }, ['f32[N,2,3]']],
      [['f32[10]', 'i32[]'], { axis: 0 }, ['f32[]']],
    ],
    rejects: [
      [['f32[10]', 'f32[2]'], { axis: 0 }, /indices must be i32/],
      [['f32[10]', 'i32[2]'], { axis: 1 }, /not an axis/],
      [['sym[3]', 'i32[2]'], { axis: 0 }, /dense/],
    ],
    values: [
      {
        operands: [
          ['f32[3,2]', six],
          ['i32[2]', [2, 0]],
        ],
        attrs: { axis: 0 },
        results: [[5, 6, 1, 2]],
      },
      {
        operands: [
          ['f32[2,3]', six],
          ['i32[1,2]', [1, 1]],
        ],
        attrs: { axis: 1 },
        results: [[2, 2, 5, 5]],
      },
      {
        operands: [
          ['f32[3]', [1, 2, 3]],
          ['i32[2]', [-5, 99]],
        ],
        attrs: { axis: 0 },
        results: [[1, 3]],
      },
    ],
  },
  scatter_add: {
    types: [
      [['i32[N]', 'f32[N,4]'], { axis: 0, size: 10 }, ['f32[10,4]']],
      [['i32[2,3]', 'f32[N,2,3]'], { axis: 1, size: 5 }, ['f32[N,5]']],
    ],
    rejects: [
      [['i32[3]', 'f32[2,4]'], { axis: 0, size: 10 }, /have no axes/],
      [['f32[2]', 'f32[2,4]'], { axis: 0, size: 10 }, /i32/],
      [['i32[2]', 'f32[2,4]'], { axis: 0, size: 0 }, /size/],
      [['i32[2]', 'f32[2]'], { axis: 1, size: 3 }, /have no axes/],
    ],
    values: [
      {
        operands: [
          ['i32[3]', [2, 0, 2]],
          ['f32[3,2]', six],
        ],
        attrs: { axis: 0, size: 3 },
        results: [[3, 4, 0, 0, 6, 8]],
      },
      {
        operands: [
          ['i32[2]', [1, 1]],
          ['f32[2,2]', [1, 2, 3, 4]],
        ],
        attrs: { axis: 1, size: 3 },
        results: [[0, 3, 0, 0, 7, 0]],
      },
      {
        operands: [
          ['i32[]', [1]],
          ['f32[]', [5]],
        ],
        attrs: { axis: 0, size: 2 },
        results: [[0, 5]],
      },
      // The gradient of gather: sum over (i, j) of wave[i] * gather(e_j)[i] for the same indices.
      {
        operands: [
          ['i32[4]', [0, 1, 0, 9]],
          ['f32[4]', wave(4)],
        ],
        attrs: { axis: 0, size: 3 },
        results: [[wave(4)[0] + wave(4)[2], wave(4)[1], wave(4)[3]]],
      },
    ],
  },
  random_uniform: {
    types: [[['i32[3]'], { shape: ['N', '4'], key: 7 }, ['f32[N,4]']]],
    rejects: [
      [['f32[3]'], { shape: [2], key: 7 }, /rng must be i32/],
      [['i32[2]'], { shape: [2], key: 7 }, /rng must be i32/],
    ],
    values: [
      { operands: [['i32[3]', [1, 2, 0]]], attrs: { shape: [3, 2, 2], key: 7 }, results: [draws(1, 2, 7, 0, 3, 4)] },
      // A micro-batch that begins at example 2 draws what the whole batch draws there.
      {
        operands: [['i32[3]', [1, 2, 2]]],
        attrs: { shape: [1, 4], key: 7 },
        results: [draws(1, 2, 7, 0, 3, 4).slice(8)],
      },
      { operands: [['i32[3]', [9, 2, 5]]], attrs: { shape: [5], key: 8 }, results: [draws(9, 2, 8, 5, 5, 1)] },
    ],
  },
};
