import type { Attrs } from '../../../ir/graph.js';
import type { elementwiseOps } from '../../../ir/ops/elementwise.js';
import type { OpCases, ValueCase } from './case.js';

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

/** Values along one axis, each column one application: rows of `table` are operands, the last the result. */
function columns(types: readonly string[], table: readonly (readonly number[])[], tolerance = 0): ValueCase {
  const n = table[0].length;
  return {
    operands: types.map((t, i) => [`${t}[${n}]`, table[i]]),
    results: [table[table.length - 1]],
    tolerance,
  };
}

const unary = (x: readonly number[], y: readonly number[], tolerance = 0): OpCases => ({
  types: [
    [['f32[]'], {}, ['f32[]']],
    [['f32[N,3]'], {}, ['f32[N,3]']],
    [['sym[3]'], {}, ['sym[3]']],
  ],
  rejects: [[['bool[2]'], {}, /bool/]],
  values: [columns(['f32'], [x, y], tolerance)],
});

/** Floating-point only. */
const real = (x: readonly number[], y: readonly number[], tolerance = 0): OpCases => ({
  ...unary(x, y, tolerance),
  rejects: [[['i32[2]'], {}, /floating-point/]],
});

const broadcasts: OpCases['types'] = [
  [['f32[2,3]', 'f32[3]'], {}, ['f32[2,3]']],
  [['f32[]', 'f32[N,3]'], {}, ['f32[N,3]']],
  [['f32[4,1]', 'f32[1,5]'], {}, ['f32[4,5]']],
  [['sym[3]', 'f32[]'], {}, ['sym[3]']],
  [['f32[]', 'sym[2,3]'], {}, ['sym[2,3]']],
  [['sym[3]', 'sym[3]'], {}, ['sym[3]']],
];

const misfits: OpCases['rejects'] = [
  [['f32[2]', 'f32[3]'], {}, /do not broadcast/],
  [['f32[2]', 'i32[2]'], {}, /different types/],
  [['f32[N]', 'f32[M]'], {}, /do not broadcast/],
  [['sym[3]', 'f32[3]'], {}, /symmetric operand/],
  [['sym[3]', 'sym[2,3]'], {}, /symmetric operand/],
  [['sym[1,3]', 'sym[4,3]'], {}, /symmetric operand/],
];

/** `table` with two operands; also broadcast [2,1] with [2]. */
const binary = (
  f: (a: number, b: number) => number,
  table: readonly (readonly number[])[],
  tolerance = 0,
): OpCases => ({
  types: broadcasts,
  rejects: [...misfits, [['bool[]', 'bool[]'], {}, /bool/]],
  values: [
    columns(['f32', 'f32'], table, tolerance),
    {
      operands: [
        ['f32[2,1]', [6, 8]],
        ['f32[2]', [2, 4]],
      ],
      results: [[f(6, 2), f(6, 4), f(8, 2), f(8, 4)]],
    },
    {
      operands: [
        ['sym[2]', [1, 2, 3]],
        ['f32[]', [2]],
      ],
      results: [[f(1, 2), f(2, 2), f(3, 2)]],
    },
  ],
});

const comparison = (a: readonly number[], b: readonly number[], y: readonly number[]): OpCases => ({
  types: [
    [['f32[2,3]', 'f32[3]'], {}, ['bool[2,3]']],
    [['i32[N]', 'i32[]'], {}, ['bool[N]']],
  ],
  rejects: misfits,
  values: [columns(['f32', 'f32'], [a, b, y])],
});

const logical = (y: readonly number[]): OpCases => ({
  types: [[['bool[2,1]', 'bool[3]'], {}, ['bool[2,3]']]],
  rejects: [[['f32[2]', 'f32[2]'], {}, /bool/]],
  values: [columns(['bool', 'bool'], [[0, 0, 1, 1], [0, 1, 0, 1], y])],
});

const to = (dtype: string): Attrs => ({ dtype });
const e = Math.E;

/** Values of erf from the C library (glibc, correctly rounded to within one unit in the last place). */
const erfTable: readonly (readonly [number, number])[] = [
  [0, 0],
  [1e-10, 1.1283791670955126e-10],
  [0.1, 0.1124629160182849],
  [0.5, 0.5204998778130465],
  [-0.7, -0.6778011938374184],
  [1, 0.8427007929497149],
  [1.5, 0.9661051464753108],
  [2, 0.9953222650189527],
  [2.9, 0.9999589021219005],
  [2.9999, 0.9999778955735178],
  [3.0001, 0.9999779234241298],
  [3, 0.9999779095030014],
  [4, 0.9999999845827421],
  [5.5, 0.9999999999999927],
  [inf, 1],
  [-inf, -1],
];

export const elementwiseCases: Record<keyof typeof elementwiseOps, OpCases> = {
  neg: unary([1, -2, 0.5], [-1, 2, -0.5]),
  abs: unary([1, -2, -0, -inf], [1, 2, 0, inf]),
  exp: real([0, 1, -inf, 2], [1, e, 0, e * e], 1e-15),
  log: real([1, e, 0, -1], [0, 1, -inf, nan], 1e-15),
  sqrt: real([4, 0.25, 0, -1], [2, 0.5, 0, nan]),
  reciprocal: real([4, -0.5, inf, 0], [0.25, -2, 0, inf]),
  tanh: real([0, 1, -40, 0.5], [0, (e * e - 1) / (e * e + 1), -1, (e - 1) / (e + 1)], 1e-15),
  erf: real(
    erfTable.map(([x]) => x),
    erfTable.map(([, y]) => y),
    1e-15,
  ),
  sigmoid: real([0, 1, -1, 1000, -1000], [0.5, e / (1 + e), 1 / (1 + e), 1, 0], 1e-15),
  relu: real([-1, 0, 2, -inf, nan], [0, 0, 2, 0, nan]),
  sign: real([-3, 0, 0.1, inf], [-1, 0, 1, 1]),
  floor: real([1.5, -1.5, 2, -0.1], [1, -2, 2, -1]),
  is_finite: {
    types: [[['f32[N,3]'], {}, ['bool[N,3]']]],
    rejects: [[['i32[2]'], {}, /floating-point/]],
    values: [
      columns(
        ['f32'],
        [
          [0, 1e300, inf, -inf, nan],
          [1, 1, 0, 0, 0],
        ],
      ),
    ],
  },
  not: {
    types: [[['bool[2]'], {}, ['bool[2]']]],
    rejects: [[['f32[2]'], {}, /bool/]],
    values: [
      columns(
        ['bool'],
        [
          [0, 1],
          [1, 0],
        ],
      ),
    ],
  },
  cast: {
    types: [
      [['f32[N,2]'], to('i32'), ['i32[N,2]']],
      [['bool[]'], to('f32'), ['f32[]']],
    ],
    rejects: [[['f32[2]'], to('float'), /dtype/]],
    values: [
      { operands: [['f32[4]', [1.9, -1.9, 0, 3]]], attrs: to('i32'), results: [[1, -1, 0, 3]] },
      { operands: [['f32[3]', [0, 0.5, -2]]], attrs: to('bool'), results: [[0, 1, 1]] },
      { operands: [['bool[2]', [0, 1]]], attrs: to('f32'), results: [[0, 1]] },
    ],
  },
  add: binary(
    (a, b) => a + b,
    [
      [1, 2, inf],
      [3, -5, -inf],
      [4, -3, nan],
    ],
  ),
  sub: binary(
    (a, b) => a - b,
    [
      [1, 2],
      [3, -5],
      [-2, 7],
    ],
  ),
  mul: binary(
    (a, b) => a * b,
    [
      [1, 2, 0],
      [3, -5, inf],
      [3, -10, nan],
    ],
  ),
  div: {
    ...binary(
      (a, b) => a / b,
      [
        [1, 3, 1, 0],
        [4, -2, 0, 0],
        [0.25, -1.5, inf, nan],
      ],
    ),
    values: [
      columns(
        ['f32', 'f32'],
        [
          [1, 3, 1, 0],
          [4, -2, 0, 0],
          [0.25, -1.5, inf, nan],
        ],
      ),
      // Integers truncate towards zero, as ONNX Div does.
      columns(
        ['i32', 'i32'],
        [
          [7, -7, 7, -7, 6],
          [2, 2, -2, -2, 3],
          [3, -3, -3, 3, 2],
        ],
      ),
    ],
  },
  pow: {
    ...binary(
      (a, b) => a ** b,
      [
        [2, 9, -2, 4],
        [10, 0.5, 3, -1],
        [1024, 3, -8, 0.25],
      ],
    ),
    rejects: [...misfits, [['i32[]', 'i32[]'], {}, /floating-point/]],
  },
  max: binary(Math.max, [
    [1, 5, nan, 1],
    [2, -5, 1, nan],
    [2, 5, nan, nan],
  ]),
  min: binary(Math.min, [
    [1, 5, nan, 1],
    [2, -5, 1, nan],
    [1, -5, nan, nan],
  ]),
  equal: comparison([1, 2, nan, 0], [1, 3, nan, -0], [1, 0, 0, 1]),
  less: comparison([1, 2, 3, nan], [2, 2, 1, 1], [1, 0, 0, 0]),
  and: logical([0, 0, 0, 1]),
  or: logical([0, 1, 1, 1]),
  select: {
    types: [
      [['bool[2,1]', 'f32[3]', 'f32[]'], {}, ['f32[2,3]']],
      [['bool[]', 'sym[3]', 'sym[3]'], {}, ['sym[3]']],
      [['bool[N]', 'i32[N]', 'i32[N]'], {}, ['i32[N]']],
    ],
    rejects: [
      [['f32[2]', 'f32[2]', 'f32[2]'], {}, /condition must be bool/],
      [['bool[2]', 'f32[2]', 'i32[2]'], {}, /different types/],
      [['bool[2]', 'f32[3]', 'f32[3]'], {}, /do not broadcast/],
    ],
    values: [
      columns(
        ['bool', 'f32', 'f32'],
        [
          [1, 0, 1],
          [1, nan, 3],
          [nan, 5, 6],
          [1, 5, 3],
        ],
      ),
      {
        operands: [
          ['bool[]', [0]],
          ['sym[2]', [1, 2, 3]],
          ['sym[2]', [4, 5, 6]],
        ],
        results: [[4, 5, 6]],
      },
    ],
  },
};
