/**
 * Offset correlations as kernels against the float64 evaluator of the op: scale, weights of examples, the column of ones, groups.
 */
import { describe, expect, it } from 'vitest';
import { lowerContraction, type TileChoice } from '../../compiler/kernels/contraction.js';
import { offsetCorrelations } from '../../compiler/kernels/contraction-algorithms.js';
import { Builder } from '../../ir/builder.js';
import type { Func } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { product, tensor } from '../../ir/types.js';
import { noise } from './execute.js';
import { near, regionOf, runners, runRegion, truthOf } from './lowered.js';
import { type OffsetCase, offsetCases } from './offset-cases.js';

/** The algorithm's own sizes; and small stages and few rows, so that every edge of a band and of a block is met. */
const choices: readonly Partial<TileChoice>[] = [{}, { kc: 20, mc: 4 }, { mr: 2, nr: 16, kc: 50, mc: 6 }];

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
