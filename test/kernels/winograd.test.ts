/**
 * Winograd's convolutions, input gradients and weight gradients against the float64 evaluator of the op, in all windows that have three
 * rows of taps side by side, however few channels; and how their rounding errors compare with those of the direct forms.
 */
import { describe, expect, it } from 'vitest';
import { lowerContraction, type TileChoice } from '../../compiler/kernels/contraction.js';
import {
  type Algorithm,
  chooseAlgorithm,
  contractionAlgorithms,
} from '../../compiler/kernels/contraction-algorithms.js';
import { POINTS, transformData, transformFilter, transformProducts } from '../../compiler/kernels/winograd.js';
import { Builder } from '../../ir/builder.js';
import type { Func } from '../../ir/graph.js';
import { type Expr, f32 } from '../../ir/kernel.js';
import { passLoc } from '../../ir/loc.js';
import { product, tensor } from '../../ir/types.js';
import { randomFrom } from '../targets/run-wasm.js';
import { attrsOf, type Conv, outputShape, weightShape } from './convs.js';
import { near, regionOf, runners, runRegion, truthOf } from './lowered.js';

const named = (name: string): Algorithm => contractionAlgorithms.find((a) => a.name === name)!;
const [winograd, winogradGradient] = [named('winograd'), named('winograd-gradient')];

/** The algorithm's own sizes; and small stages, so that every edge of a band, of a block and of a tile is met. */
const choices: readonly Partial<TileChoice>[] = [
  {},
  { mr: 4, nr: 8, kc: 5, mc: 8, nc: 16 },
  { mr: 2, nr: 16, kc: 40, mc: 6, nc: 8 },
];

const convs: readonly Conv[] = [
  { x: [2, 9, 8, 8], outputs: 10, kernel: [3, 3], pads: [1, 1, 1, 1] },
  { x: [3, 8, 7, 7], outputs: 8, kernel: [3, 3], pads: [1, 1, 1, 1] },
  { x: [2, 5, 6, 19], outputs: 13, kernel: [3, 3] },
  { x: [1, 12, 5, 9], outputs: 17, kernel: [3, 1], pads: [2, 0, 2, 0] },
  { x: [2, 8, 9, 11], outputs: 9, kernel: [3, 2], pads: [1, 0, 0, 1], strides: [1, 3] },
  { x: [2, 3, 11, 12], outputs: 4, kernel: [3, 3], pads: [0, 2, 1, 3], dilations: [1, 2] },
  { x: [2, 4, 13, 10], outputs: 3, kernel: [3, 5], pads: [1, 2, 1, 2], strides: [1, 2], dilations: [1, 2] },
  { x: [2, 16, 6, 5], outputs: 24, kernel: [3, 3], pads: [1, 1, 1, 1], groups: 2 },
  { x: [1, 2, 3, 3], outputs: 2, kernel: [3, 3], pads: [1, 1, 1, 1] },
  { x: [3, 3, 1, 4], outputs: 5, kernel: [3, 3], pads: [1, 1, 1, 1] },
  { x: [2, 2, 2, 1], outputs: 3, kernel: [3, 1], pads: [3, 0, 4, 0] },
];

const builder = (): Builder => new Builder('f', passLoc('test'));

/** Each direction of a convolution, its operands and its result inside other ops; with the number of products of an element. */
function directions(c: Conv): readonly { what: string; func: Func; terms: number; algorithm: Algorithm }[] {
  const attrs = attrsOf(c);
  const y = outputShape(c);
  const [inputs, outputs] = [c.x[1], c.outputs].map((n) => n / attrs.groups);

  const f = builder();
  const conv = [f.node('relu', [f.input('x', tensor('f32', c.x))]), f.neg(f.input('w', tensor('f32', weightShape(c))))];
  f.output('y', f.add(f.node('conv', conv, { attrs }), f.input('b', tensor('f32', [c.outputs, 1, 1]))));

  const b = builder();
  const back = [b.input('dy', tensor('f32', y)), b.input('w', tensor('f32', weightShape(c)))];
  const dx = b.node('conv_input_grad', back, { attrs: { ...attrs, height: c.x[2], width: c.x[3] } });
  b.output('dx', b.mul(dx, b.input('mask', tensor('f32', c.x))));

  const g = builder();
  const grad = [g.input('x', tensor('f32', c.x)), g.mul(g.input('dy', tensor('f32', y)), g.fill(0.5))];
  const dw = g.node('conv_weight_grad', grad, { attrs: { ...attrs, kernel: c.kernel } });
  g.output('dw', g.add(dw, g.input('old', tensor('f32', weightShape(c)))));

  const taps = product(c.kernel);
  return [
    { what: 'convolution', func: f.finish(), terms: inputs * taps, algorithm: winograd },
    { what: 'input gradient', func: b.finish(), terms: outputs * taps, algorithm: winograd },
    { what: 'weight gradient', func: g.finish(), terms: y[0] * y[2] * y[3], algorithm: winogradGradient },
  ];
}

/** Numbers in (-2, 2), independent of each other: what is compared is how errors add up. */
function inputsOf(func: Func): Record<string, Float64Array> {
  const random = randomFrom(1);
  const numbers = (length: number) => Float64Array.from({ length }, () => 4 * random() - 2);
  return Object.fromEntries(func.inputs.map((v) => [v.name, numbers(product(v.type.shape as number[]))]));
}

/**
 * Inputs are in (-2, 2), a sum is of products up to 4, and the epilogue at most doubles it; for direct sums 2^-24 sqrt(terms) 4 terms is
 * several times the error that is to be expected (contraction.test.ts). Elements of the transforms reach 3.2, and what is summed is up to
 * three times as large where it cancels in the end.
 */
const toleranceOf = (terms: number): number => 3 * 2 ** -24 * Math.sqrt(terms) * 8 * Math.max(terms, 8);

describe('Winograd convolutions', () => {
  it.each(convs)('%j', (c) => {
    for (const { what, func, terms, algorithm } of directions(c)) {
      const inputs = inputsOf(func);
      const [want] = truthOf(func, inputs);
      for (const [n, choice] of choices.entries())
        for (const [target, run] of Object.entries(runners)) {
          if (n > 1 && target !== 'wasm') continue;
          const [got] = runRegion(
            regionOf(func),
            lowerContraction(regionOf(func), 'k', choice, algorithm),
            inputs,
            run,
          );
          near(got, want, toleranceOf(terms), `${what} ${JSON.stringify(choice)} ${target}`);
        }
    }
    expect.hasAssertions();
  });

  /** Sizes at which the algorithm's own choices have many blocks of each kind; too slow for the interpreter. */
  it.each<Conv>([
    { x: [3, 130, 14, 14], outputs: 140, kernel: [3, 3], pads: [1, 1, 1, 1] },
    { x: [40, 32, 8, 8], outputs: 32, kernel: [3, 3], pads: [1, 1, 1, 1] },
    { x: [2, 24, 33, 60], outputs: 20, kernel: [3, 3], pads: [1, 1, 1, 1] },
    { x: [2, 300, 7, 7], outputs: 80, kernel: [3, 3], pads: [1, 1, 1, 1] },
  ])('many blocks: %j', (c) => {
    for (const { what, func, terms, algorithm } of directions(c)) {
      const inputs = inputsOf(func);
      const [want] = truthOf(func, inputs);
      for (const run of [runners.wasm, runners['wasm in parts']]) {
        const [got] = runRegion(regionOf(func), lowerContraction(regionOf(func), 'k', {}, algorithm), inputs, run);
        near(got, want, toleranceOf(terms), what);
      }
    }
    expect.hasAssertions();
  });

  it('rounds little worse than the direct forms', () => {
    const c: Conv = { x: [4, 64, 16, 16], outputs: 64, kernel: [3, 3], pads: [1, 1, 1, 1] };
    const rms = (values: ArrayLike<number>): number => {
      const squares = Array.from(values, (v) => v * v);
      return Math.sqrt(squares.reduce((a, b) => a + b) / squares.length);
    };
    for (const { what, func, algorithm } of directions(c)) {
      const inputs = inputsOf(func);
      const [want] = truthOf(func, inputs);
      const kernel = lowerContraction(regionOf(func), 'k', {}, algorithm);
      const [got] = runRegion(regionOf(func), kernel, inputs, runners.wasm);
      // Measured: 4.7e-7, 5.9e-7, 6.7e-7; direct forms 2.9e-7, 4.2e-7, 1.8e-7; with points at 1 and 2: 6.6e-7, 8.5e-7, 9.7e-7.
      expect(rms(want.map((w, i) => got[i] - w)) / rms(want), what).toBeLessThan(8e-7);
    }
  });
});

describe('Winograd is chosen', () => {
  const chosen = (c: Conv): string => {
    const b = builder();
    b.node('conv', [b.input('x', tensor('f32', c.x)), b.input('w', tensor('f32', weightShape(c)))], {
      attrs: attrsOf(c),
    });
    return chooseAlgorithm(b.nodes[0]).name;
  };
  it('where there are three rows of taps side by side and enough channels and rows', () => {
    expect(chosen({ x: [1, 8, 5, 5], outputs: 8, kernel: [3, 3] })).toBe('winograd');
    expect(chosen({ x: [1, 8, 5, 5], outputs: 8, kernel: [3, 1], strides: [1, 2], dilations: [1, 2] })).toBe(
      'winograd',
    );
    expect(chosen({ x: [1, 8, 4, 5], outputs: 8, kernel: [3, 3] })).toBe('implicit-gemm');
    expect(chosen({ x: [1, 3, 9, 9], outputs: 8, kernel: [3, 3] })).toBe('implicit-gemm');
    expect(chosen({ x: [1, 8, 9, 9], outputs: 8, kernel: [3, 3], strides: [2, 1] })).toBe('implicit-gemm');
    expect(chosen({ x: [1, 8, 9, 9], outputs: 8, kernel: [3, 3], dilations: [2, 1] })).toBe('implicit-gemm');
    expect(chosen({ x: [1, 8, 9, 9], outputs: 8, kernel: [5, 5] })).toBe('implicit-gemm');
    expect(chosen({ x: [1, 8, 9, 9], outputs: 8, kernel: [3, 3], groups: 8 })).toMatch(/depthwise/);
  });
});

describe('minimal filtering', () => {
  const evaluated = (e: Expr): number => {
    if (e.kind === 'const') return e.value;
    if (e.kind !== 'binary') throw new Error(`no ${e.kind} in a transform`);
    const [a, b] = [evaluated(e.a), evaluated(e.b)];
    return e.op === 'add' ? a + b : e.op === 'sub' ? a - b : a * b;
  };
  it.each([
    [4, 3],
    [3, 4],
  ])('F(%i, %i) computes what it stands for', (outputs, taps) => {
    // Linear in both: unit vectors are enough. Factors are f32, 2^-24 off at most, and four of up to 3.2 meet in a product.
    for (let at = 0; at < POINTS; at++)
      for (let tap = 0; tap < taps; tap++) {
        const unit = (n: number, one: number): Expr[] => Array.from({ length: n }, (_, i) => f32(Number(i === one)));
        const [d, g] = [transformData(unit(POINTS, at)), transformFilter(unit(taps, tap))];
        const products = d.map((e, p) => f32(evaluated(e) * evaluated(g[p])));
        for (const [i, y] of transformProducts(products, outputs).entries())
          expect(evaluated(y), `d${at} g${tap} y${i}`).toBeCloseTo(Number(i + tap === at), 5);
      }
  });
});
