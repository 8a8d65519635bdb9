/**
 * Winograd's offset correlations against the float64 evaluator of the op: windows with three rows of taps, all ways in which these may
 * lie over the image's ends, weights of examples, groups.
 */
import { describe, expect, it } from 'vitest';
import { lowerContraction, type TileChoice } from '../../compiler/kernels/contraction.js';
import { chooseAlgorithm, winogradMoment } from '../../compiler/kernels/contraction-algorithms.js';
import { planWinogradMoment } from '../../compiler/kernels/contraction-winograd-moment-plan.js';
import { Builder } from '../../ir/builder.js';
import type { Func } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { product, tensor } from '../../ir/types.js';
import { noise } from './execute.js';
import { near, regionOf, runners, runRegion, truthOf } from './lowered.js';
import type { OffsetCase } from './offset-cases.js';

/** The algorithm's own sizes; and small stages and few rows, so that every edge of a block is met. */
const choices: readonly Partial<TileChoice>[] = [{}, { kc: 20, mc: 4 }, { mr: 2, nr: 16, kc: 50, mc: 6 }];

const plain = { kernel: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 } as const;
const cases: readonly OffsetCase[] = [
  { ...plain, x: [2, 3, 8, 8] },
  { ...plain, x: [3, 9, 7, 6] },
  { ...plain, x: [5, 17, 9, 4] },
  { ...plain, x: [2, 4, 10, 9], pads: [0, 0, 0, 0] },
  { ...plain, x: [2, 5, 6, 7], pads: [2, 2, 2, 2] },
  { ...plain, x: [1, 6, 11, 5], pads: [0, 1, 2, 0] },
  { ...plain, x: [1, 4, 12, 5], pads: [3, 2, 4, 3] },
  { ...plain, x: [2, 8, 8, 9], pads: [2, 0, 0, 1] },
  { ...plain, x: [2, 16, 7, 6], groups: 2 },
  { ...plain, x: [2, 6, 9, 1], kernel: [3, 1], pads: [1, 0, 1, 0] },
  { ...plain, x: [2, 5, 8, 11], kernel: [3, 2], pads: [1, 0, 1, 1], strides: [1, 2] },
  { ...plain, x: [1, 4, 8, 12], kernel: [3, 3], pads: [1, 2, 1, 2], dilations: [1, 2] },
  { ...plain, x: [1, 3, 9, 13], kernel: [3, 5], pads: [1, 2, 1, 2], strides: [1, 2] },
];

function moment(c: OffsetCase, weighted: boolean, ones = false): Func {
  const b = new Builder('f', passLoc('test'));
  const operands = [b.input('x', tensor('f32', c.x)), b.input('scale', tensor('f32', []))];
  if (weighted) operands.push(b.input('weight', tensor('f32', [c.x[0]])));
  const { kernel, strides, pads, dilations, groups } = c;
  b.output('A', b.node('patch_second_moment', operands, { attrs: { kernel, strides, pads, dilations, groups, ones } }));
  return b.finish();
}

/**
 * Inputs are in (-2, 2): n products of up to 4, times a weight and a scale of up to 2 each; see contraction.test.ts. Transformed sums are
 * up to three times as large, see winograd.test.ts.
 */
const toleranceOf = (terms: number): number => 3 * 2 ** -24 * Math.sqrt(Math.min(terms, 1024)) * 16 * terms;

describe("second moments by Winograd's offset correlations", () => {
  it.each(cases.map((c, n) => [n, c] as const))('case %i: %j', (n, c) => {
    for (const weighted of [true, false]) {
      const func = moment(c, weighted);
      expect(planWinogradMoment(func.nodes[0])).toBeDefined();
      const inputs = Object.fromEntries(
        func.inputs.map((v, i) => [v.name, noise(product(v.type.shape as number[]), i + n + 1)]),
      );
      const [want] = truthOf(func, inputs);
      for (const [k, choice] of choices.entries()) {
        const kernel = lowerContraction(regionOf(func), 'k', choice, winogradMoment);
        for (const [target, run] of Object.entries(runners)) {
          if (target === 'interpreter' && (k !== 1 || !weighted)) continue;
          const [got] = runRegion(regionOf(func), kernel, inputs, run);
          near(got, want, toleranceOf(product(c.x)), `${JSON.stringify(choice)} ${target} weighted=${weighted}`);
        }
      }
    }
  });

  it.each<OffsetCase>([
    { ...plain, x: [3, 70, 14, 14] },
    { ...plain, x: [5, 33, 12, 40], groups: 3 },
    { ...plain, x: [17, 20, 32, 33] },
  ])('many blocks: %j', (c) => {
    const func = moment(c, true);
    const inputs = Object.fromEntries(
      func.inputs.map((v, i) => [v.name, noise(product(v.type.shape as number[]), i + 1)]),
    );
    const [want] = truthOf(func, inputs);
    const kernel = lowerContraction(regionOf(func), 'k', {}, winogradMoment);
    for (const run of [runners.wasm, runners['wasm in parts']])
      near(runRegion(regionOf(func), kernel, inputs, run)[0], want, toleranceOf(product(c.x)), 'wasm');
  });

  it('are chosen where images are high enough, and there is no constant', () => {
    const chosen = (c: OffsetCase, ones = false): string => chooseAlgorithm(moment(c, true, ones).nodes[0]).name;
    expect(chosen({ ...plain, x: [8, 32, 16, 16] })).toBe('winograd-moment');
    expect(chosen({ ...plain, x: [8, 64, 56, 56] })).toBe('winograd-moment');
    expect(chosen({ ...plain, x: [8, 64, 56, 56] }, true)).toBe('offset-correlations');
    expect(chosen({ ...plain, x: [8, 64, 8, 8] })).toBe('offset-correlations');
    expect(chosen({ ...plain, x: [8, 64, 56, 56], strides: [2, 1] })).toBe('offset-correlations');
    expect(chosen({ ...plain, x: [8, 64, 56, 56], dilations: [2, 1] })).toBe('offset-correlations');
  });

  it('cancel little where the image is dark but for its last row', () => {
    // Taps of row 0 do not see it: their moments are a million times smaller. Subtracted from the whole, their error would be 2^-24 times a
    // million; a transform mixes the rows of a tile, so that it may be 2^-24 times a thousand.
    const c: OffsetCase = { ...plain, x: [1, 4, 10, 6] };
    const func = moment(c, false);
    const x = noise(product(c.x), 1).map((v, i) => (Math.floor(i / 6) % 10 === 9 ? 1000 * v : v));
    const inputs = { x, scale: [1] };
    const [want] = truthOf(func, inputs);
    const kernel = lowerContraction(regionOf(func), 'k', {}, winogradMoment);
    const [got] = runRegion(regionOf(func), kernel, inputs, runners.wasm);
    for (let channel = 0, size = 9; channel < 4; channel++)
      for (const tap of [0, 1, 2]) {
        const f = channel * size + tap;
        const at = (f * (f + 1)) / 2 + f;
        expect(Math.abs(got[at] - want[at]) / want[at]).toBeLessThan(1e-5);
      }
  });
});
