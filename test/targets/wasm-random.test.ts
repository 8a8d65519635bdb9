/**
 * Two hundred random kernels: WebAssembly and the interpreter agree bit for bit, but for sums that lanes reassociate.
 */
import { describe, expect, it } from 'vitest';
import { randomKernel } from './random-kernel.js';
import { runInterpreted, runWasm } from './run-wasm.js';

/** At most 27 * 3 * 3 terms in [-4, 4]: partial sums below 1000, each addition off by at most 2^-24 of that. */
const TOLERANCE = 27 * 9 * 1000 * 2 ** -24;

describe('random kernels', () => {
  for (let first = 0; first < 200; first += 50)
    it(`seeds ${first} to ${first + 49}`, () => {
      for (let seed = first; seed < first + 50; seed++) {
        const { kernel, buffers, inexact } = randomKernel(seed);
        const expected = runInterpreted(kernel, buffers);
        const found = runWasm(kernel, buffers, 1 + (seed % 3));
        for (const p of kernel.params)
          for (let i = 0; i < p.length; i++) {
            const [x, y] = [found[p.name][i], expected[p.name][i]];
            const same = inexact.has(p.name) ? Object.is(x, y) || Math.abs(x - y) <= TOLERANCE : Object.is(x, y);
            if (!same) expect.fail(`seed ${seed}: ${p.name}[${i}] is ${x}, not ${y}`);
          }
      }
    });
});
