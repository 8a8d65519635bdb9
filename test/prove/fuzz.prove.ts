/**
 * 2,000 random graphs, two in each of 1,000 modules: fused = unfused = evaluator, as programs at planned offsets on the CPU and
 * in the memories of a GPU; the kernels of a sample of them on Dawn with a software driver.
 */
import { describe, expect, it } from 'vitest';
import { lowerForGpu } from '../../compiler/kernels/gpu/lower.js';
import { evaluate } from '../../ir/evaluate.js';
import { randomFunc, randomInputs } from '../fuzz/graphs.js';
import { checkProgram, difference, randomModule } from '../fuzz/programs.js';
import { execute, onDawn } from '../kernels/execute.js';

describe('random graphs', () => {
  for (let first = 0; first < 1000; first += 250)
    it(`modules ${first} to ${first + 249}`, () => {
      for (let seed = first; seed < first + 250; seed++) checkProgram(seed, randomModule(seed));
    }, 1_200_000);

  it('60 of them on Dawn', () => {
    let kernels = 0;
    for (let seed = 3; seed < 2000; seed += 34) {
      const func = randomFunc(seed);
      const inputs = randomInputs(func, seed);
      const want = evaluate(func, inputs).outputs;
      const ran = execute(func, inputs, true, onDawn, lowerForGpu);
      kernels += ran.kernels.length;
      for (const [name, data] of Object.entries(want)) {
        const why = difference(ran.outputs[name], data);
        if (why !== undefined) expect.fail(`seed ${seed}: ${name} ${why}`);
      }
    }
    console.log(`${kernels} kernels on Dawn`);
  }, 1_200_000);
});
