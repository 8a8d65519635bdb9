import type { viewOps } from '../../../ir/ops/views.js';
import type { OpCases } from './case.js';

const six = [1, 2, 3, 4, 5, 6];

export const viewCases: Record<keyof typeof viewOps, OpCases> = {
  reshape: {
    types: [
      [['f32[2,6]'], { shape: [3, 4] }, ['f32[3,4]']],
      [['f32[N,2,3]'], { shape: ['N', '6'] }, ['f32[N,6]']],
      [['f32[N,6]'], { shape: ['2*N', '3'] }, ['f32[2*N,3]']],
      [['f32[1,1]'], { shape: [] }, ['f32[]']],
    ],
    rejects: [
      [['f32[2,6]'], { shape: [3, 5] }, /cannot reshape/],
      [['f32[N,6]'], { shape: ['M', '6'] }, /cannot reshape/],
      [['f32[N,N]'], { shape: ['N', 'N'] }, /cannot reshape/],
      [['sym[2]'], { shape: [4] }, /dense/],
    ],
    values: [{ operands: [['f32[2,3]', six]], attrs: { shape: [3, 2] }, results: [six] }],
  },
  transpose: {
    types: [[['f32[N,3,4]'], { perm: [2, 0, 1] }, ['f32[4,N,3]']]],
    rejects: [
      [['f32[2,3]'], { perm: [0, 0] }, /no permutation/],
      [['f32[2,3]'], { perm: [0] }, /no permutation/],
      [['sym[2]'], { perm: [1, 0] }, /dense/],
    ],
    values: [
      { operands: [['f32[2,3]', six]], attrs: { perm: [1, 0] }, results: [[1, 4, 2, 5, 3, 6]] },
      // Element (k, i, j) of the result is (i, j, k) of the operand.
      { operands: [['f32[1,2,3]', six]], attrs: { perm: [2, 0, 1] }, results: [[1, 4, 2, 5, 3, 6]] },
      { operands: [['i32[2,1,3]', six]], attrs: { perm: [1, 2, 0] }, results: [[1, 4, 2, 5, 3, 6]] },
    ],
  },
  broadcast: {
    types: [
      [['f32[3,1]'], { shape: [2, 3, 4] }, ['f32[2,3,4]']],
      [['f32[1,3]'], { shape: ['N', '3'] }, ['f32[N,3]']],
    ],
    rejects: [
      [['f32[3]'], { shape: [2, 4] }, /does not broadcast/],
      [['f32[2,3]'], { shape: [3] }, /does not broadcast/],
      [['f32[4]'], { shape: [1] }, /does not broadcast/],
    ],
    values: [
      {
        operands: [['f32[2,1]', [1, 2]]],
        attrs: { shape: [2, 2, 3] },
        results: [[1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]],
      },
    ],
  },
  slice: {
    types: [
      [['f32[N,7]'], { starts: [0, 1], ends: [-1, 6], steps: [1, 2] }, ['f32[N,3]']],
      [['f32[5,7]'], { starts: [0, 6], ends: [-1, 7], steps: [2, 1] }, ['f32[3,1]']],
    ],
    rejects: [
      [['f32[5]'], { starts: [0], ends: [6], steps: [1] }, /slice 0:6:1 of an axis of 5/],
      [['f32[5]'], { starts: [3], ends: [3], steps: [1] }, /slice/],
      [['f32[5]'], { starts: [-1], ends: [3], steps: [1] }, /slice/],
      [['f32[5]'], { starts: [0], ends: [5], steps: [0] }, /slice/],
      [['f32[5]'], { starts: [0], ends: [5], steps: [] }, /for each axis/],
      [['f32[5,5]'], { starts: [0], ends: [5], steps: [1] }, /for each axis/],
      [['f32[N]'], { starts: [1], ends: [-1], steps: [1] }, /symbolic axis/],
      [['sym[2]'], { starts: [0, 0], ends: [1, 1], steps: [1, 1] }, /dense/],
    ],
    values: [
      {
        operands: [['f32[2,3]', six]],
        attrs: { starts: [0, 1], ends: [2, 3], steps: [1, 1] },
        results: [[2, 3, 5, 6]],
      },
      { operands: [['f32[6]', six]], attrs: { starts: [1], ends: [6], steps: [2] }, results: [[2, 4, 6]] },
    ],
  },
  stack: {
    types: [
      [['f32[]', 'f32[]', 'f32[]'], {}, ['f32[3]']],
      [['i32[]'], {}, ['i32[1]']],
    ],
    rejects: [
      [['f32[]', 'i32[]'], {}, /one type/],
      [['f32[1]'], {}, /operand must have shape \[\]/],
    ],
    values: [
      {
        operands: [
          ['f32[]', [3]],
          ['f32[]', [1]],
        ],
        results: [[3, 1]],
      },
    ],
  },
  concat: {
    types: [
      [['f32[N,2]', 'f32[N,3]', 'f32[N,1]'], { axis: 1 }, ['f32[N,6]']],
      [['i32[2]'], { axis: 0 }, ['i32[2]']],
    ],
    rejects: [
      [['f32[2,2]', 'f32[3,3]'], { axis: 1 }, /equal dimensions/],
      [['f32[2]', 'i32[2]'], { axis: 0 }, /one type and rank/],
      [['f32[N]', 'f32[2]'], { axis: 0 }, /one type and rank/],
      [['f32[2]', 'f32[2]'], { axis: 1 }, /not an axis/],
    ],
    values: [
      {
        operands: [
          ['f32[2,1]', [1, 2]],
          ['f32[2,2]', [3, 4, 5, 6]],
        ],
        attrs: { axis: 1 },
        results: [[1, 3, 4, 2, 5, 6]],
      },
      {
        operands: [
          ['f32[1,2]', [1, 2]],
          ['f32[2,2]', [3, 4, 5, 6]],
        ],
        attrs: { axis: 0 },
        results: [six],
      },
    ],
  },
  pad: {
    types: [[['f32[N,3]'], { low: [0, 1], high: [0, 2], value: 0 }, ['f32[N,6]']]],
    rejects: [
      [['f32[3]'], { low: [-1], high: [0], value: 0 }, /low and high >= 0/],
      [['f32[3]'], { low: [0, 0], high: [0], value: 0 }, /for each axis/],
      [['f32[N]'], { low: [1], high: [0], value: 0 }, /symbolic axis/],
    ],
    values: [
      {
        operands: [['f32[2,2]', [1, 2, 3, 4]]],
        attrs: { low: [1, 0], high: [0, 1], value: -7 },
        results: [[-7, -7, -7, 1, 2, -7, 3, 4, -7]],
      },
    ],
  },
  fill: {
    types: [
      [[], { value: 1, shape: ['N', '2'], dtype: 'f32' }, ['f32[N,2]']],
      [[], { value: 0, shape: [3, 3], dtype: 'f32', layout: 'packed-lower' }, ['sym[3]']],
    ],
    rejects: [
      [[], { value: 1, shape: [2], dtype: 'f64' }, /dtype/],
      [[], { value: 1, shape: [-2], dtype: 'f32' }, /shape/],
    ],
    values: [
      { operands: [], attrs: { value: 2.5, shape: [2, 2], dtype: 'f32' }, results: [[2.5, 2.5, 2.5, 2.5]] },
      { operands: [], attrs: { value: 1, shape: [2, 2], dtype: 'f32', layout: 'packed-lower' }, results: [[1, 1, 1]] },
    ],
  },
  iota: {
    types: [[[], { shape: ['N', '2'], axis: 1, dtype: 'i32' }, ['i32[N,2]']]],
    rejects: [[[], { shape: [2], axis: 1, dtype: 'i32' }, /not an axis/]],
    values: [
      { operands: [], attrs: { shape: [2, 3], axis: 1, dtype: 'i32' }, results: [[0, 1, 2, 0, 1, 2]] },
      { operands: [], attrs: { shape: [2, 3], axis: 0, dtype: 'f32' }, results: [[0, 0, 0, 1, 1, 1]] },
    ],
  },
};
