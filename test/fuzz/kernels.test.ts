/**
 * Random functions through fusion and lowering, run by the kernel interpreter, against the float64 evaluator. The wasm target has
 * the same check for graphs of its own; here the question is whether kernels say what the graph says.
 */
import { expect, it } from 'vitest';
import { evaluate } from '../../ir/evaluate.js';
import { execute } from '../kernels/execute.js';
import { randomFunc, randomInputs } from './graphs.js';

/**
 * Intermediate values are of magnitude one and there are at most a few hundred terms in a sum, so float32 (2^-24 = 6e-8 a
 * rounding) stays within some 1e-6 of the largest value; outputs below 1e-2 are what is left of larger values that cancelled.
 */
const TOLERANCE = 2e-5;

it.each([
  ['fused', true],
  ['unfused', false],
])('%s kernels compute what the graph says', (_, fused) => {
  for (let seed = 0; seed < 250; seed++) {
    const func = randomFunc(seed);
    const inputs = randomInputs(func, seed);
    const wanted = evaluate(func, inputs).outputs;
    const { outputs } = execute(func, inputs, fused);
    for (const [name, want] of Object.entries(wanted)) {
      const largest = want.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-2);
      for (let i = 0; i < want.length; i++)
        if (!(Math.abs(outputs[name][i] - want[i]) <= TOLERANCE * largest))
          expect.fail(`seed ${seed}: ${name}[${i}] is ${outputs[name][i]}, not ${want[i]}`);
    }
  }
});
