/**
 * What a statistic's history costs and moves: the kernel that compares a new value with the two before it.
 */
import { lowerHistory } from '../../compiler/kernels/gpu/history.js';
import { symmetric } from '../../ir/types.js';
import { builder, type Problem, problem } from './problem.js';

function history(n: number, batch: readonly number[]): Problem {
  const b = builder();
  const given = ['x', 'last', 'before'].map((name) => b.input(name, symmetric(n, batch)));
  b.multi('shift_history', given).forEach((r, i) => {
    b.output(['last', 'before', 'squares'][i], r);
  });
  const name = `history: shift_history of ${n}, batch [${batch}]`;
  return problem(name, b.finish(), [['chosen', (region, kernel) => lowerHistory(region, kernel)]]);
}

export const historyProblems: readonly Problem[] = [1, 9, 150].flatMap((n) => [history(n, []), history(n, [3])]);
