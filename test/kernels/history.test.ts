/**
 * The kernel that compares a statistic with its history and moves it on, against the float64 evaluator; then the change that the
 * host reads, against Frobenius norms of whole matrices. f32 sums of up to 150 squares in a row: 150 * 2^-24 at worst.
 */
import { describe, expect, it } from 'vitest';
import { lowerHistory as lowerForGpu } from '../../compiler/kernels/gpu/history.js';
import { lowerHistory } from '../../compiler/kernels/history.js';
import { Builder } from '../../ir/builder.js';
import type { Func } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { storedCount, symmetric, type TensorType, tensor } from '../../ir/types.js';
import { runDawn } from '../targets/run-dawn.js';
import { runInterpreted } from '../targets/run-wasm.js';
import { noise } from './execute.js';
import { near, regionOf, runners, runRegion, truthOf } from './lowered.js';

function shift(type: TensorType): Func {
  const b = new Builder('f', passLoc('test'));
  const given = ['x', 'last', 'before'].map((name) => b.input(name, type));
  b.multi('shift_history', given).forEach((r, i) => {
    b.output(['last', 'before', 'squares'][i], r);
  });
  return b.finish();
}

const ways = [
  ...Object.entries(runners).map(([name, run]) => [name, run, lowerHistory, 1] as const),
  ['interpreter, for a GPU', runInterpreted, lowerForGpu, 1] as const,
  // A software driver takes a second to compile one.
  ['Dawn', runDawn, lowerForGpu, 4] as const,
];

const types = [
  symmetric(1),
  symmetric(2),
  symmetric(9),
  symmetric(150),
  symmetric(300),
  symmetric(5, [3]),
  symmetric(8, [2, 2]),
  tensor('f32', [3, 1]),
  tensor('f32', [3, 70]),
];

describe.each(ways)('shift_history on %s', (_, run, lower, each) => {
  it('compares with both values before, and keeps the last two', () => {
    for (const [i, type] of types.entries()) {
      if (i % each !== each - 1) continue;
      const f = shift(type);
      const n = storedCount(type);
      const inputs = { x: noise(n, 1), last: noise(n, 2), before: noise(n, 3) };
      const region = regionOf(f);
      const got = runRegion(region, lower(region, 'k'), inputs, run);
      const want = truthOf(f, inputs);
      near(got[0], want[0], 0, `${i}: last`);
      near(got[1], want[1], 0, `${i}: before`);
      want[2].forEach((w, k) => {
        expect(Math.abs(got[2][k] - w), `${i}: square ${k}`).toBeLessThanOrEqual(2e-5 * w);
      });
    }
  });
});
