/**
 * Offset correlations as kernels against the float64 evaluator of the op: scale, weights of examples, the column of ones, groups.
 */
import { describe, expect, it } from 'vitest';
import { lowerContraction, type TileChoice } from '../../compiler/kernels/contraction.js';
import { contractionAlgorithms, offsetCorrelations } from '../../compiler/kernels/contraction-algorithms.js';
import { blockChoices, lowerContraction as lowerForGpu } from '../../compiler/kernels/gpu/contraction.js';
import { Builder } from '../../ir/builder.js';
import type { Func } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { product, tensor } from '../../ir/types.js';
import { runDawn } from '../targets/run-dawn.js';
import { runInterpreted } from '../targets/run-wasm.js';
import { noise } from './execute.js';
import { near, regionOf, runners, runRegion, truthOf } from './lowered.js';
import { type OffsetCase, offsetCases } from './offset-cases.js';

/** The algorithm's own sizes; and small stages and few rows, so that every edge of a band and of a block is met. */
const choices: readonly Partial<TileChoice>[] = [{}, { kc: 20, mc: 4 }, { mr: 2, nr: 16, kc: 50, mc: 6 }];

/** Few enough channels to have several blocks of them. */
const smallest = { rows: 2, cols: 2, tile: 2, depth: 4 };
const window = { kernel: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 } as const;

function moment(c: OffsetCase, ones: boolean, weighted: boolean): Func {
  const b = new Builder('f', passLoc('test'));
  const operands = [b.input('x', tensor('f32', c.x)), b.input('scale', tensor('f32', []))];
  if (weighted) operands.push(b.input('weight', tensor('f32', [c.x[0]])));
  const { kernel, strides, pads, dilations, groups } = c;
  b.output('A', b.node('patch_second_moment', operands, { attrs: { kernel, strides, pads, dilations, groups, ones } }));
  return b.finish();
}

/** Inputs are in (-2, 2): n products of up to 4, times a weight and a scale of up to 2 each; see contraction.test.ts. */
const toleranceOf = (terms: number): number => 2 ** -24 * Math.sqrt(Math.min(terms, 1024)) * 16 * terms;

describe('second moments by offset correlations', () => {
  it.each(offsetCases.map((c, n) => [n, c] as const))('case %i: %j', (n, c) => {
    // What a large window adds is code: it takes seconds to print and translate.
    const large = product(c.kernel) > 9;
    for (const flags of large ? [n] : [n, n + 3]) {
      const [ones, weighted] = [flags % 2 === 0, flags % 4 < 2];
      const func = moment(c, ones, weighted);
      const inputs = Object.fromEntries(
        func.inputs.map((v, i) => [v.name, noise(product(v.type.shape as number[]), i + 1)]),
      );
      const [want] = truthOf(func, inputs);
      for (const [k, choice] of choices.entries()) {
        const kernel = lowerContraction(regionOf(func), 'k', choice, offsetCorrelations);
        // The interpreter takes long: small blocks, and ones and weights as they come.
        const on = Object.entries(runners).filter(
          ([name]) => name !== 'interpreter' || (k === 1 && flags === n && !large),
        );
        for (const [target, run] of on) {
          const [got] = runRegion(regionOf(func), kernel, inputs, run);
          const what = `${JSON.stringify(choice)} ${target} ones=${ones} weighted=${weighted}`;
          near(got, want, toleranceOf(product(c.x)), what);
        }
      }
    }
    expect.hasAssertions();
  });
});

describe('second moments by offset correlations for a GPU', () => {
  // Of the largest windows some: the interpreter takes seconds for each.
  const some = offsetCases.map((c, n) => [n, c] as const).filter(([n, c]) => product(c.kernel) <= 9 || n % 3 === 0);
  it.each(some)('case %i: %j', (n, c) => {
    const [ones, weighted] = [n % 2 === 0, n % 4 < 2];
    const func = moment(c, ones, weighted);
    const inputs = Object.fromEntries(
      func.inputs.map((v, i) => [v.name, noise(product(v.type.shape as number[]), i + 1)]),
    );
    const [want] = truthOf(func, inputs);
    const kernel = lowerForGpu(regionOf(func), 'k', { correlate: n % 2 === 0 ? blockChoices[3] : smallest });
    // A software driver takes a second or more to compile a kernel.
    for (const run of [runInterpreted, ...(n % 9 === 0 ? [runDawn] : [])]) {
      const [got] = runRegion(regionOf(func), kernel, inputs, run);
      near(got, want, toleranceOf(product(c.x)), `${run.name} ones=${ones} weighted=${weighted}`);
    }
    expect.hasAssertions();
  });
});

/** Sizes at which there are many blocks of channels and bands of rows; both forms, whichever would be chosen. */
describe('large second moments', () => {
  const large: readonly OffsetCase[] = [
    { ...window, x: [3, 70, 14, 14] },
    { ...window, x: [5, 33, 12, 40], groups: 3 },
    { ...window, x: [2, 12, 40, 33], strides: [2, 1], pads: [1, 0, 0, 2] },
  ];
  it.each(large)('of $x', (c) => {
    const func = moment(c, true, true);
    const inputs = Object.fromEntries(
      func.inputs.map((v, i) => [v.name, noise(product(v.type.shape as number[]), i + 1)]),
    );
    const [want] = truthOf(func, inputs);
    const direct = contractionAlgorithms.find((a) => a.name === 'symmetric-gemm');
    for (const algorithm of [direct, offsetCorrelations]) {
      const kernel = lowerContraction(regionOf(func), 'k', {}, algorithm);
      for (const run of [runners.wasm, runners['wasm in parts']])
        near(runRegion(regionOf(func), kernel, inputs, run)[0], want, toleranceOf(product(c.x)), algorithm!.name);
    }
    const kernel = lowerForGpu(regionOf(func), 'k', { correlate: blockChoices[2] });
    near(runRegion(regionOf(func), kernel, inputs, runDawn)[0], want, toleranceOf(product(c.x)), 'on Dawn');
  });
});
