/**
 * 2,000 random graphs, two in each of 1,000 modules: fused = unfused = evaluator, as programs at planned offsets on the CPU and
 * in the memories of a GPU; a sample of the latter on Dawn with a software driver.
 */
import { describe, it } from 'vitest';
import { checkProgram, onDawn, randomModule } from '../fuzz/programs.js';

describe('random graphs', () => {
  for (let first = 0; first < 1000; first += 250)
    it(`modules ${first} to ${first + 249}`, () => {
      for (let seed = first; seed < first + 250; seed++) checkProgram(seed, randomModule(seed));
    }, 1_200_000);

  it('30 of the modules on Dawn', () => {
    let kernels = 0;
    for (let seed = 3; seed < 1000; seed += 34)
      kernels += checkProgram(seed, randomModule(seed), [onDawn])[0].kernels.length;
    console.log(`${kernels} kernels on Dawn`);
  }, 1_200_000);
});
