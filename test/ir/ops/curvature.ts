import type { Attrs } from '../../../ir/graph.js';
import type { curvatureOps } from '../../../ir/ops/curvature.js';
import { type OpCases, type ValueCase, wave } from './case.js';
import { type Geometry, patches, type Shape4 } from './naive.js';

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

/** The lower triangle of sum of weight * v v^T, from the whole matrix. */
function moment(rows: readonly (readonly number[])[], weights: readonly number[], scale: number): number[] {
  const d = rows[0].length;
  const full = Array.from({ length: d }, (_, i) =>
    Array.from({ length: d }, (_, j) => rows.reduce((s, v, n) => s + weights[n] * v[i] * v[j], 0) * scale),
  );
  return full.flatMap((row, i) => row.slice(0, i + 1));
}

const rowsOf = (data: readonly number[], d: number): number[][] =>
  Array.from({ length: data.length / d }, (_, n) => data.slice(n * d, (n + 1) * d));
const withOne = (rows: readonly (readonly number[])[]): number[][] => rows.map((v) => [...v, 1]);
const ones = (n: number): number[] => new Array<number>(n).fill(1);

const x = wave(12, 1);
const image: Shape4 = { shape: [2, 4, 5, 4], data: wave(160, 2) };
const weight = [0.5, 2];

interface Patch extends Geometry {
  readonly kernel: readonly [number, number];
}
const patchGeometries: readonly Patch[] = [
  { kernel: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1] },
  { kernel: [2, 1], strides: [2, 3], pads: [0, 0, 1, 2], dilations: [2, 1] },
];

function patchValues(): ValueCase[] {
  const cases: ValueCase[] = [];
  for (const g of patchGeometries)
    for (const groups of [1, 2])
      for (const bias of [false, true])
        for (const weighted of [false, true]) {
          const cg = 4 / groups;
          const result: number[] = [];
          for (let k = 0; k < groups; k++) {
            const per = [0, 1].map((n) => patches(image, n, k * cg, cg, g.kernel, g));
            const weights = per.flatMap((list, n) => list.map(() => (weighted ? weight[n] : 1)));
            result.push(...moment(bias ? withOne(per.flat()) : per.flat(), weights, 0.25));
          }
          cases.push({
            operands: [
              ['f32[2,4,5,4]', image.data],
              ['f32[]', [0.25]],
              ...(weighted ? [['f32[2]', weight] as const] : []),
            ],
            attrs: { kernel: g.kernel, strides: g.strides, pads: g.pads, dilations: g.dilations, groups, ones: bias },
            results: [result],
            tolerance: 1e-13,
          });
        }
  return cases;
}

/** A matrix with eigenvalues of at least 1/2, as A^T A + I/2, packed. */
const definite = (n: number, phase: number): number[] =>
  moment(rowsOf(wave(n * n, phase), n), ones(n), 1).map((v, k) => {
    const i = Math.floor((Math.sqrt(8 * k + 1) - 1) / 2);
    return v + (k === (i * (i + 3)) / 2 ? 0.5 : 0);
  });

const full = (packed: readonly number[], n: number): number[][] =>
  Array.from({ length: n }, (_, i) =>
    Array.from({ length: n }, (_, j) => packed[(Math.max(i, j) * (Math.max(i, j) + 1)) / 2 + Math.min(i, j)]),
  );

/** Gauss-Jordan with row exchange: another way to the inverse than Cholesky. */
function inverse(packed: readonly number[], n: number, shift: number): number[] {
  const m = full(packed, n).map((row, i) => [
    ...row.map((v, j) => v + (i === j ? shift : 0)),
    ...row.map((_, j) => (i === j ? 1 : 0)),
  ]);
  for (let c = 0; c < n; c++) {
    const p = m.slice(c).reduce((best, row, i) => (Math.abs(row[c]) > Math.abs(m[best][c]) ? i + c : best), c);
    [m[c], m[p]] = [m[p], m[c]];
    m[c] = m[c].map((v) => v / m[c][c]);
    for (let r = 0; r < n; r++) if (r !== c) m[r] = m[r].map((v, j) => v - m[r][c] * m[c][j]);
  }
  return m.flatMap((row, i) => row.slice(n, n + i + 1));
}

const a5 = definite(5, 1);
const b5 = definite(5, 2);
const old5 = wave(15, 7);
/** Eigenvalues 3 and -1. */
const indefinite = [1, 2, 1];
const old2 = [7, 8, 9];
const inverting = (
  x2: readonly number[],
  shift: number,
  retries: number,
  result: readonly number[],
  failures: number,
): ValueCase => ({
  operands: [
    ['sym[2]', x2],
    ['f32[]', [shift]],
    ['sym[2]', old2],
  ],
  attrs: { retries },
  results: [result, [failures]],
  tolerance: 1e-14,
});

const second = (axis: number, one = false): Attrs => ({ axis, ones: one });
const patch = { kernel: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1, ones: false };

export const curvatureCases: Record<keyof typeof curvatureOps, OpCases> = {
  second_moment: {
    types: [
      [['f32[N,7]', 'f32[]'], second(1), ['sym[7]']],
      [['f32[N,7]', 'f32[]', 'f32[N]'], second(1, true), ['sym[8]']],
      [['f32[N,7,3,3]', 'f32[]', 'f32[N]'], second(1), ['sym[7]']],
    ],
    rejects: [
      [['f32[N,7]', 'f32[]'], second(0), /known size/],
      [['f32[7,N]', 'f32[]', 'f32[7]'], second(0), /example axis/],
      [['f32[N,7]', 'f32[1]'], second(1), /scale must have shape/],
      [['f32[N,7]', 'f32[]', 'f32[7]'], second(1), /weight must have shape/],
      [['sym[7]', 'f32[]'], second(1), /dense/],
    ],
    values: [
      {
        operands: [
          ['f32[4,3]', x],
          ['f32[]', [0.5]],
        ],
        attrs: second(1),
        results: [moment(rowsOf(x, 3), ones(4), 0.5)],
        tolerance: 1e-14,
      },
      {
        operands: [
          ['f32[4,3]', x],
          ['f32[]', [0.5]],
        ],
        attrs: second(1, true),
        results: [moment(withOne(rowsOf(x, 3)), ones(4), 0.5)],
        tolerance: 1e-14,
      },
      {
        operands: [
          ['f32[4,3]', x],
          ['f32[]', [2]],
          ['f32[4]', [1, 0, 2, 0.5]],
        ],
        attrs: second(1),
        results: [moment(rowsOf(x, 3), [1, 0, 2, 0.5], 2)],
        tolerance: 1e-14,
      },
      // [2,2,3]: vectors along axis 1, one for each example and position.
      {
        operands: [
          ['f32[2,2,3]', x],
          ['f32[]', [1]],
          ['f32[2]', weight],
        ],
        attrs: second(1),
        results: [
          moment(
            [0, 1].flatMap((n) => [0, 1, 2].map((p) => [x[n * 6 + p], x[n * 6 + 3 + p]])),
            [0.5, 0.5, 0.5, 2, 2, 2],
            1,
          ),
        ],
        tolerance: 1e-14,
      },
      {
        operands: [
          ['f32[3,4]', x],
          ['f32[]', [1]],
        ],
        attrs: second(0),
        results: [
          moment(
            [0, 1, 2, 3].map((c) => [x[c], x[4 + c], x[8 + c]]),
            ones(4),
            1,
          ),
        ],
        tolerance: 1e-14,
      },
    ],
  },
  patch_second_moment: {
    types: [
      [['f32[N,4,8,8]', 'f32[]'], patch, ['sym[36]']],
      [['f32[N,4,8,8]', 'f32[]', 'f32[N]'], { ...patch, groups: 2, ones: true }, ['sym[2,19]']],
    ],
    rejects: [
      [['f32[N,4,8,8]', 'f32[]'], { ...patch, groups: 3 }, /do not make 3 groups/],
      [['f32[N,4,8,8]', 'f32[2]'], patch, /scale must have shape/],
      [['f32[N,4,8,8]', 'f32[]', 'f32[M]'], patch, /weight must have shape/],
      [['f32[N,4,1,1]', 'f32[]'], { ...patch, kernel: [5, 5] }, /does not fit an image/],
      [['f32[N,4,8]', 'f32[]'], patch, /must be \[N,C,H,W\]/],
    ],
    values: patchValues(),
  },
  trace: {
    types: [
      [['sym[5]'], {}, ['f32[]']],
      [['sym[4,5]'], {}, ['f32[4]']],
    ],
    rejects: [[['f32[5,5]'], {}, /symmetric/]],
    values: [
      { operands: [['sym[3]', [1, 2, 3, 4, 5, 6]]], results: [[10]] },
      { operands: [['sym[2,2]', [1, 2, 3, 4, 5, 6]]], results: [[4, 10]] },
    ],
  },
  damped_inverse: {
    types: [
      [['sym[5]', 'f32[]', 'sym[5]'], { retries: 2 }, ['sym[5]', 'f32[]']],
      [['sym[3,5]', 'f32[3]', 'sym[3,5]'], { retries: 2 }, ['sym[3,5]', 'f32[3]']],
    ],
    rejects: [
      [['f32[5,5]', 'f32[]', 'f32[5,5]'], { retries: 2 }, /symmetric/],
      [['sym[5]', 'f32[]', 'sym[4]'], { retries: 2 }, /previous/],
      [['sym[3,5]', 'f32[]', 'sym[3,5]'], { retries: 2 }, /shift must have shape \[3\]/],
      [['sym[5]', 'f32[]', 'sym[5]'], { retries: 0.5 }, /retries/],
    ],
    values: [
      {
        operands: [
          ['sym[5]', a5],
          ['f32[]', [0.1]],
          ['sym[5]', old5],
        ],
        attrs: { retries: 3 },
        results: [inverse(a5, 5, 0.1), [0]],
        tolerance: 1e-12,
      },
      // A batch: the second cannot be inverted and keeps what it had.
      {
        operands: [
          ['sym[3,5]', [...a5, ...a5.map(() => nan), ...b5]],
          ['f32[3]', [0.1, 1, 2]],
          ['sym[3,5]', [...old5, ...old5, ...old5]],
        ],
        attrs: { retries: 1 },
        results: [
          [...inverse(a5, 5, 0.1), ...old5, ...inverse(b5, 5, 2)],
          [0, 2, 0],
        ],
        tolerance: 1e-12,
      },
      // -1 + 0.5 < 0: fails once; with ten times the shift, eigenvalues are 8 and 4.
      inverting(indefinite, 0.5, 1, [6 / 32, -2 / 32, 6 / 32], 1),
      inverting(indefinite, 0.5, 0, old2, 1),
      // Needs a hundred times the shift: two failures, eigenvalues 8 and 4 again.
      inverting(indefinite, 0.05, 5, [6 / 32, -2 / 32, 6 / 32], 2),
      inverting([inf, 0, 1], 1, 2, old2, 3),
      inverting([1, nan, 1], 1, 0, old2, 1),
      // Positive, but its inverse overflows.
      inverting([1e-320, 0, 1], 0, 0, old2, 1),
    ],
  },
  unpack: {
    types: [
      [['sym[3]'], {}, ['f32[3,3]']],
      [['sym[2,3]'], {}, ['f32[2,3,3]']],
    ],
    rejects: [[['f32[3,3]'], {}, /symmetric/]],
    values: [
      { operands: [['sym[3]', [1, 2, 3, 4, 5, 6]]], results: [[1, 2, 4, 2, 3, 5, 4, 5, 6]] },
      { operands: [['sym[2,2]', [1, 2, 3, 4, 5, 6]]], results: [[1, 2, 2, 3, 4, 5, 5, 6]] },
    ],
  },
  accumulate: {
    types: [
      [['f32[2,3]', 'f32[]'], {}, ['f32[2,3]']],
      [['sym[3]', 'f32[]'], {}, ['sym[3]']],
      [['f32[]'], {}, ['f32[]']],
    ],
    rejects: [
      [['i32[2]'], {}, /f32/],
      [['f32[2]', 'f32[2]'], {}, /weight/],
    ],
    values: [
      {
        operands: [
          ['f32[2]', [1, 2]],
          ['f32[]', [8]],
        ],
        results: [[1, 2]],
      },
      { operands: [['f32[]', [5]]], results: [[5]] },
    ],
  },
  refresh: {
    types: [[['sym[3]', 'sym[3]'], {}, ['sym[3]']]],
    rejects: [[['sym[3]', 'sym[4]'], {}, /one type/]],
    values: [
      {
        operands: [
          ['f32[2]', [1, 2]],
          ['f32[2]', [3, 4]],
        ],
        results: [[1, 2]],
      },
    ],
  },
};
