/** Shifts of a history, with the norms counted here from whole matrices, element by element. */
import type { historyOps } from '../../../ir/ops/history.js';
import type { OpCases } from './case.js';

/** [1 2; 2 3] and [4], against others: each off-diagonal element counts twice. */
const fresh = [1, 2, 3];
const last = [1, 1, 1];
const before = [0, 0, 2];

export const historyCases: Record<keyof typeof historyOps, OpCases> = {
  shift_history: {
    types: [
      [['sym[5]', 'sym[5]', 'sym[5]'], {}, ['sym[5]', 'sym[5]', 'f32[5,4]']],
      [['sym[4,5]', 'sym[4,5]', 'sym[4,5]'], {}, ['sym[4,5]', 'sym[4,5]', 'f32[20,4]']],
      [['f32[3,7]', 'f32[3,7]', 'f32[3,7]'], {}, ['f32[3,7]', 'f32[3,7]', 'f32[3,4]']],
    ],
    rejects: [
      [['sym[5]', 'sym[5]', 'sym[4]'], {}, /one type/],
      [['f32[4,4]', 'f32[4,4]', 'f32[4,4]'], {}, /symmetric, or 2x2 blocks/],
    ],
    values: [
      {
        operands: [
          ['sym[2]', fresh],
          ['sym[2]', last],
          ['sym[2]', before],
        ],
        // Rows: [1]; [2 (twice), 3].
        results: [fresh, last, [0, 1, 1, 0, 2 * 1 + 4, 2 * 1 + 1, 2 * 4 + 1, 2 * 0 + 4]],
      },
      {
        operands: [
          ['sym[2,1]', [4, 5]],
          ['sym[2,1]', [3, 7]],
          ['sym[2,1]', [0, 1]],
        ],
        results: [
          [4, 5],
          [3, 7],
          [1, 9, 16, 0, 4, 49, 16, 1],
        ],
      },
      {
        operands: [
          ['f32[3,1]', fresh],
          ['f32[3,1]', last],
          ['f32[3,1]', before],
        ],
        results: [fresh, last, [0, 1, 1, 0, 2, 2, 8, 0, 4, 1, 1, 4]],
      },
    ],
  },
};
