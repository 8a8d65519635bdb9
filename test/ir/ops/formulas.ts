/** Formulas: values by hand on numbers that float64 holds exactly, and the types of vectors over channels and examples. */
import type { formulaOps, unitBlockOps } from '../../../ir/ops/formulas.js';
import type { OpCases, ValueCase } from './case.js';

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

/** [N,C,P] = [2,2,2]: example 0 is 1..4, example 1 is 5..8. */
const x: ValueCase['operands'][number] = ['f32[2,2,2]', [1, 2, 3, 4, 5, 6, 7, 8]];
const mean: ValueCase['operands'][number] = ['f32[2]', [1, 2]];
const rstd: ValueCase['operands'][number] = ['f32[2]', [0.5, 2]];
const valid: ValueCase['operands'][number] = ['f32[2]', [1, 0]];

export const formulaCases = {
  relu_grad: {
    types: [[['f32[N,3]', 'f32[N,3]'], {}, ['f32[N,3]']]],
    rejects: [
      [['f32[2]', 'f32[3]'], {}, /operand 1 must have shape \[2\]/],
      [['i32[2]', 'i32[2]'], {}, /floating point/],
    ],
    values: [
      {
        operands: [
          ['f32[5]', [2, 0, -1, nan, inf]],
          ['f32[5]', [3, 4, 5, 6, 7]],
        ],
        results: [[3, 0, 0, 0, 7]],
      },
    ],
  },
  moving_average: {
    types: [[['f32[3]', 'f32[3]'], { momentum: 0.9 }, ['f32[3]']]],
    rejects: [[['f32[3]', 'f32[1]'], { momentum: 0.9 }, /shape \[3\]/]],
    values: [
      {
        operands: [
          ['f32[2]', [4, 8]],
          ['f32[2]', [8, -8]],
        ],
        attrs: { momentum: 0.75 },
        results: [[5, 4]],
      },
    ],
  },
  rstd: {
    types: [[['f32[3]'], { epsilon: 1e-5 }, ['f32[3]']]],
    rejects: [[['i32[3]'], { epsilon: 1e-5 }, /floating point/]],
    values: [{ operands: [['f32[2]', [3.75, 0]]], attrs: { epsilon: 0.25 }, results: [[0.5, 2]] }],
  },
  channel_affine: {
    types: [
      [['f32[4,3,5,5]', 'f32[3]', 'f32[3]', 'f32[3]'], {}, ['f32[4,3,5,5]']],
      [['f32[3,3]', 'f32[3]', 'f32[3]', 'f32[3]'], {}, ['f32[3,3]']],
    ],
    rejects: [
      [['f32[4,3]', 'f32[4]', 'f32[3]', 'f32[3]'], {}, /operand 1 must have shape \[3\]/],
      [['f32[3]', 'f32[3]', 'f32[3]', 'f32[3]'], {}, /over axis 1, which the result does not have/],
    ],
    values: [{ operands: [x, mean, rstd, ['f32[2]', [10, 20]]], results: [[10, 10.5, 22, 24, 12, 12.5, 30, 32]] }],
  },
  batch_norm_inference: {
    types: [[['f32[N,3,8]', 'f32[3]', 'f32[3]', 'f32[3]', 'f32[3]'], { epsilon: 1e-5 }, ['f32[N,3,8]']]],
    rejects: [
      [['f32[N,3,8]', 'f32[3]', 'f32[3]', 'f32[3]', 'f32[1]'], { epsilon: 1e-5 }, /operand 4 must have shape \[3\]/],
    ],
    values: [
      {
        operands: [x, ['f32[2]', [1, 4]], ['f32[2]', [10, 20]], mean, ['f32[2]', [3.75, 0]]],
        attrs: { epsilon: 0.25 },
        results: [[10, 10.5, 28, 36, 12, 12.5, 60, 68]],
      },
    ],
  },
  weighted_square: {
    types: [[['f32[4,3,5]', 'f32[3]', 'f32[4]'], {}, ['f32[4,3,5]']]],
    rejects: [[['f32[4,3,5]', 'f32[3]', 'f32[3]'], {}, /operand 2 must have shape \[4\]/]],
    values: [{ operands: [x, mean, valid], results: [[0, 1, 1, 4, 0, 0, 0, 0]] }],
  },
  normalized_product: {
    types: [[['f32[4,3]', 'f32[4,3]', 'f32[3]', 'f32[3]'], {}, ['f32[4,3]']]],
    rejects: [[['f32[4,3]', 'f32[3]', 'f32[3]', 'f32[3]'], {}, /operand 1 must have shape \[4,3\]/]],
    values: [
      { operands: [['f32[2,2,2]', [1, 2, 1, 2, 1, 2, 1, 2]], x, mean, rstd], results: [[0, 1, 2, 8, 2, 5, 10, 24]] },
    ],
  },
  batch_norm_input_grad: {
    types: [
      [
        ['f32[4,3,2]', 'f32[4,3,2]', 'f32[3]', 'f32[3]', 'f32[3]', 'f32[3]', 'f32[3]', 'f32[]', 'f32[4]'],
        {},
        ['f32[4,3,2]'],
      ],
    ],
    rejects: [
      [
        ['f32[4,3,2]', 'f32[4,3,2]', 'f32[3]', 'f32[3]', 'f32[3]', 'f32[3]', 'f32[3]', 'f32[]', 'f32[3]'],
        {},
        /operand 8 must have shape \[4\]/,
      ],
    ],
    values: [
      {
        // xhat is 0, 0.5, 2, 4, 2, 2.5, 10, 12; the second example does not count.
        operands: [
          ['f32[2,2,2]', [1, 1, 1, 1, 1, 1, 1, 1]],
          x,
          mean,
          rstd,
          ['f32[2]', [2, 10]],
          ['f32[2]', [8, 2]],
          ['f32[2]', [2, -2]],
          ['f32[]', [2]],
          valid,
        ],
        results: [[0, -4, 0, -20, 2, 2, 10, 10]],
      },
    ],
  },
  pi: {
    types: [
      [['f32[]', 'f32[]'], { ratio: 1 }, ['f32[]']],
      [['f32[4]', 'f32[4]'], { ratio: 1 }, ['f32[4]']],
    ],
    rejects: [[['f32[4]', 'f32[]'], { ratio: 1 }, /operand 1 must have shape \[4\]/]],
    values: [
      {
        // Zero, overflowed and negative traces leave the damping in halves.
        operands: [
          ['f32[7]', [8, 2, 0, 2, inf, -1, nan]],
          ['f32[7]', [4, 16, 2, 0, 2, 2, 2]],
        ],
        attrs: { ratio: 2 },
        results: [[2, 0.5, 1, 1, 1, 1, 1]],
      },
    ],
  },
  momentum_step: {
    types: [
      [['f32[2,3]', 'f32[]', 'f32[2,3]', 'f32[]'], {}, ['f32[2,3]']],
      [['f32[2,3]', 'f32[]', 'f32[2,3]', 'f32[]', 'f32[]'], {}, ['f32[2,3]']],
    ],
    rejects: [[['f32[2,3]', 'f32[3]', 'f32[2,3]', 'f32[]'], {}, /operand 1 must have shape \[\]/]],
    values: [undefined, 7, nan, inf].map(
      (test): ValueCase => ({
        operands: [
          ['f32[2]', [4, 8]],
          ['f32[]', [-0.5]],
          ['f32[2]', [10, 20]],
          ['f32[]', [0.5]],
          ...(test === undefined ? [] : [['f32[]', [test]] as const]),
        ],
        results: [test === undefined || Number.isFinite(test) ? [3, 6] : [10, 20]],
      }),
    ),
  },
  weight_step: {
    types: [[['f32[2,3]', 'f32[2,3]', 'f32[]'], {}, ['f32[2,3]']]],
    rejects: [[['f32[2,3]', 'f32[2,3]', 'f32[3]'], {}, /operand 2 must have shape \[\]/]],
    values: [0, inf, nan].map(
      (test): ValueCase => ({
        operands: [
          ['f32[2]', [1, 2]],
          ['f32[2]', [3, nan]],
          ['f32[]', [test]],
        ],
        results: [test === 0 ? [4, nan] : [1, 2]],
      }),
    ),
  },
  if_finite: {
    types: [[['f32[]', 'f32[2,3]', 'f32[2,3]'], {}, ['f32[2,3]']]],
    rejects: [[['f32[2,3]', 'f32[2,3]', 'f32[2,3]'], {}, /operand 0 must have shape \[\]/]],
    values: [0, -inf, nan].map(
      (test): ValueCase => ({
        operands: [
          ['f32[]', [test]],
          ['f32[2]', [1, nan]],
          ['f32[2]', [3, 4]],
        ],
        results: [test === 0 ? [1, nan] : [3, 4]],
      }),
    ),
  },
  unit_products: {
    types: [[['f32[5,3]', 'f32[5,3]'], {}, ['f32[5,3,3]']]],
    rejects: [
      [['f32[5]', 'f32[5]'], {}, /rows are \[N, C\]/],
      [['f32[5,3]', 'f32[3,5]'], {}, /beta must have shape \[5,3\]/],
    ],
    values: [
      {
        operands: [
          ['f32[2,2]', [1, 2, 3, 4]],
          ['f32[2,2]', [5, 6, 7, 8]],
        ],
        results: [[1, 4, 5, 12, 25, 36, 9, 16, 21, 32, 49, 64]],
      },
    ],
  },
  unit_natural: {
    types: [[['f32[3,4]', 'f32[4]', 'f32[4]', 'f32[]'], { shift: true }, ['f32[4]']]],
    rejects: [
      [['f32[4,3]', 'f32[4]', 'f32[4]', 'f32[]'], { shift: true }, /fisher must have shape \[3,4\]/],
      [['f32[3,4]', 'f32[4,1]', 'f32[4]', 'f32[]'], { shift: true }, /gamma is \[C\]/],
    ],
    // Channel 0: [3, 1; 1, 1] + I = [4, 1; 1, 2], determinant 7. Channel 1: a zero block, so division by the damping.
    values: [false, true].map(
      (shift): ValueCase => ({
        operands: [
          ['f32[3,2]', [3, 0, 1, 0, 1, 0]],
          ['f32[2]', [14, 5]],
          ['f32[2]', [7, 6]],
          ['f32[]', [1]],
        ],
        attrs: { shift },
        results: [shift ? [2, 6] : [3, 5]],
      }),
    ),
  },
} satisfies Record<keyof typeof formulaOps | keyof typeof unitBlockOps, OpCases>;
