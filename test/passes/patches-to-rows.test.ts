/**
 * Rows of patches give what the convolution, its weight gradient and the second moment of its patches give in float64; what
 * does not tile its image stays as it is.
 */
import { describe, expect, it } from 'vitest';
import { patchesToRows } from '../../compiler/passes/patches-to-rows.js';
import { Builder } from '../../ir/builder.js';
import { evaluate } from '../../ir/evaluate.js';
import type { Func } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { elementCount, tensor } from '../../ir/types.js';

const wave = (n: number, seed: number): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => Math.sin(i * 1.7 + seed));

function net(attrs: { readonly strides: number[]; readonly pads: number[] }, image: number): Func {
  const b = new Builder('f', passLoc('test'));
  const window = { ...attrs, dilations: [1, 1], groups: 1 };
  const x = b.input('x', tensor('f32', [3, 2, image, 16]));
  const w = b.input('w', tensor('f32', [5, 2, 8, 8]));
  const valid = b.input('valid', tensor('f32', [3]));
  const y = b.node('conv', [x, w], { attrs: window });
  b.output('y', y);
  b.output('dw', b.node('conv_weight_grad', [x, y], { attrs: { ...window, kernel: [8, 8] } }));
  for (const ones of [true, false])
    b.output(
      `m${ones}`,
      b.node('patch_second_moment', [x, b.fill(0.5), valid], { attrs: { ...window, kernel: [8, 8], ones } }),
    );
  return b.finish();
}
const rewritten = (func: Func): Func =>
  patchesToRows({ name: 'm', level: 'train', state: [], functions: [func], weights: new Map(), parameters: [] })
    .functions[0];

describe('patches-to-rows', () => {
  it.each([
    ['side by side', [8, 8], 24],
    ['one below the other, as wide as the image', [8, 8], 8],
  ])('computes the same, on rows: windows %s', (_name, strides, image) => {
    const func = net({ strides, pads: [0, 0, 0, 0] }, image);
    const inputs = Object.fromEntries(
      func.inputs.map((v, i) => [
        v.name,
        v.name === 'valid' ? Float64Array.of(1, 0, 1) : wave(elementCount(v.type), i),
      ]),
    );
    const rows = rewritten(func);
    expect(rows.nodes.filter((n) => /conv|patch/.test(n.op))).toEqual([]);
    expect(rows.outputs.map((o) => o.value.type)).toEqual(func.outputs.map((o) => o.value.type));
    const [before, after] = [func, rows].map((f) => evaluate(f, inputs).outputs);
    // The same sums in another order, in float64.
    for (const [name, want] of Object.entries(before))
      for (let i = 0; i < want.length; i++) expect(after[name][i]).toBeCloseTo(want[i], 10);
  });

  it.each([
    ['windows that overlap', { strides: [4, 8], pads: [0, 0, 0, 0] }, 24],
    ['padding', { strides: [8, 8], pads: [4, 0, 4, 0] }, 24],
    ['a rest', { strides: [8, 8], pads: [0, 0, 0, 0] }, 25],
  ])('leaves %s alone', (_name, attrs, image) => {
    const func = net(attrs, image);
    expect(rewritten(func).nodes.map((n) => n.op)).toEqual(func.nodes.map((n) => n.op));
  });
});
