/**
 * The decomposition into offsets, in float64: correlations of an image with itself, put together to the second moment of its
 * patches, are what the op's evaluator gives. Only additions are made, so the two differ by rounding alone.
 */
import { describe, expect, it } from 'vitest';
import { convolutionOf } from '../../compiler/kernels/contraction-convolution.js';
import { offsetsOf } from '../../compiler/kernels/contraction-offsets.js';
import { Builder } from '../../ir/builder.js';
import { evaluate } from '../../ir/evaluate.js';
import { passLoc } from '../../ir/loc.js';
import { packedIndex } from '../../ir/ops/curvature.js';
import { product, tensor } from '../../ir/types.js';
import { noise } from './execute.js';
import { offsetCases } from './offset-cases.js';

describe('offsets of a window', () => {
  it.each(offsetCases)('of $x, kernel $kernel, $strides, $pads, $dilations, $groups', (c) => {
    const attrs = { kernel: c.kernel, strides: c.strides, pads: c.pads, dilations: c.dilations, groups: c.groups };
    const b = new Builder('f', passLoc('test'));
    const operands = [b.input('x', tensor('f32', c.x)), b.input('scale', tensor('f32', []))];
    b.output('A', b.node('patch_second_moment', operands, { attrs: { ...attrs, ones: false } }));
    const x = noise(product(c.x), 1);
    const want = evaluate(b.finish(), { x, scale: [1] }).outputs.A;

    const conv = convolutionOf(c.x, c.groups, c.groups, c);
    const [taps, width] = [product(c.kernel), c.kernel[1]];
    const d = conv.inputs * taps;
    const got = new Float64Array(want.length);
    const met = new Float64Array(want.length);
    const sum = (group: number, c1: number, c2: number, at: readonly Rectangle[], dy: number, dx: number): number => {
      let total = 0;
      for (const r of at)
        for (let n = 0; n < c.x[0]; n++)
          for (let y = 0; y < r.rows.count; y++)
            for (let k = 0; k < r.cols.count; k++) {
              const [u, v] = [r.rows.first + y * conv.rows.stride, r.cols.first + k * conv.cols.stride];
              const image = n * c.x[1] + group * conv.inputs;
              const read = (ch: number, yy: number, xx: number): number =>
                yy >= 0 && yy < c.x[2] && xx >= 0 && xx < c.x[3]
                  ? x[((image + ch) * c.x[2] + yy) * c.x[3] + xx]
                  : Number.NaN;
              total += read(c1, u, v) * read(c2, u + dy, v + dx);
            }
      return total;
    };
    for (let g = 0; g < c.groups; g++)
      for (let c1 = 0; c1 < conv.inputs; c1++)
        for (let c2 = 0; c2 <= c1; c2++)
          for (const dy of offsetsOf(conv.rows))
            for (const dx of offsetsOf(conv.cols)) {
              const parts = dy.strips.map((rows) =>
                dx.strips.map((cols) => sum(g, c1, c2, [{ rows, cols }], dy.distance, dx.distance)),
              );
              for (const ty of dy.pairs)
                for (const tx of dx.pairs) {
                  const i = c1 * taps + ty.tap * width + tx.tap;
                  const j = c2 * taps + ty.partner * width + tx.partner;
                  if (j > i) continue;
                  const at = (g * d * (d + 1)) / 2 + packedIndex(i, j);
                  met[at]++;
                  got[at] = parts
                    .slice(ty.lo, ty.hi)
                    .reduce((t, row) => t + row.slice(tx.lo, tx.hi).reduce((s, v) => s + v, 0), 0);
                }
            }
    // Products are below 16; a sum of n of them in float64 errs by far less than n 2^-50 of that.
    const bound = c.x[0] * product([conv.rows.output, conv.cols.output]) * 16 * 2 ** -50;
    expect(met.every((n) => n === 1)).toBe(true);
    expect(Math.max(...want.map((w, k) => Math.abs(got[k] - w)))).toBeLessThanOrEqual(bound);
  });

  it('reads each position of an unpadded border once', () => {
    const axis = { kernel: 3, stride: 1, pad: 1, dilation: 1, input: 14, output: 14 };
    const strips = offsetsOf(axis).map((o) => [o.distance, o.strips.map((s) => s.count)]);
    expect(strips).toEqual([
      [-2, [12]],
      [-1, [13]],
      [0, [1, 12, 1]],
      [1, [13]],
      [2, [12]],
    ]);
  });
});

interface Rectangle {
  readonly rows: { readonly first: number; readonly count: number };
  readonly cols: { readonly first: number; readonly count: number };
}
