/** The generator itself: what it makes is valid, finite, repeatable, and of every op that it promises. */
import { describe, expect, it } from 'vitest';
import { evaluate } from '../../ir/evaluate.js';
import type { Module } from '../../ir/graph.js';
import { type OpName, opNames, ops } from '../../ir/ops/table.js';
import { parseModule, printModule } from '../../ir/text/spn.js';
import { verifyModule } from '../../ir/verify.js';
import { randomFunc, randomInputs, stepKinds } from './graphs.js';

const seeds = Array.from({ length: 400 }, (_, i) => i);
const moduleOf = (seed: number): Module => ({
  name: 'fuzz',
  level: 'train',
  state: [],
  functions: [randomFunc(seed)],
  weights: new Map(),
  parameters: [],
});

/** Not generated: composites are gone before kernels; the others have state, random keys or guards. */
const left: readonly OpName[] = ['damped_inverse', 'shift_history', 'refresh', 'random_uniform'];

describe('random functions', () => {
  it('verify, print and parse back', () => {
    for (const seed of seeds) {
      const module = moduleOf(seed);
      verifyModule(module);
      if (seed % 4 === 0) expect(parseModule(printModule(module))).toEqual(module);
    }
  });

  it('evaluate to finite values of moderate size', () => {
    for (const seed of seeds) {
      const func = randomFunc(seed);
      const { values } = evaluate(func, randomInputs(func, seed));
      for (const [name, data] of values)
        for (const v of data) if (!(Math.abs(v) < 1e3)) expect.fail(`seed ${seed}: ${name} has the value ${v}`);
    }
  });

  it('hold every op that kernels must compute', () => {
    const seen = new Set(seeds.flatMap((seed) => randomFunc(seed).nodes.map((n) => n.op)));
    const wanted = opNames.filter((op) => ops[op].fuse !== 'composite' && !left.includes(op));
    expect(wanted.filter((op) => !seen.has(op))).toEqual([]);
  });

  it('are the same for the same seed, and made of the kinds that are asked for', () => {
    expect(randomFunc(7)).toEqual(randomFunc(7));
    expect(printModule(moduleOf(7))).not.toBe(printModule(moduleOf(8)));
    for (const kind of stepKinds) expect(randomFunc(3, { kinds: [kind], steps: 20 }).nodes.length).toBeGreaterThan(0);
  });
});
