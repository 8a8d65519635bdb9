/**
 * The shared polynomials, run on WebAssembly, against float64: errors in units in the last place of the true result.
 */
import { describe, expect, it } from 'vitest';
import { expandMath } from '../../compiler/kernels/math.js';
import { i32, type Kernel, load, loop, ref, store, type UnaryOp, unary } from '../../ir/kernel.js';
import { erf } from '../../ir/ops/elementwise.js';
import { kernelOf, param, runInterpreted, runWasm } from './run-wasm.js';

const unaryKernel = (op: UnaryOp, n: number): Kernel =>
  kernelOf(
    op,
    [param('x', n), param('y', n, 'f32', 'write')],
    [loop('vector', 'i', i32(n), [store('y', ref('i'), unary(op, load('x', ref('i'))))])],
  );

const apply = (op: UnaryOp, x: Float32Array): Float32Array =>
  runWasm(unaryKernel(op, x.length), { x, y: new Float32Array(x.length) }).y as Float32Array;

/** Size of the last place of an f32 near `y`. */
const place = (y: number): number => 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(y)))) - 23);

function grid(low: number, high: number, count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));
}

/** Evenly over the bits: all magnitudes. */
function magnitudes(low: number, high: number, count: number): Float32Array {
  const bits = new Int32Array(new Float32Array([low, high]).buffer);
  return new Float32Array(
    Int32Array.from({ length: count }, (_, i) => bits[0] + Math.floor(((bits[1] - bits[0]) * i) / (count - 1))).buffer,
  );
}

function worst(op: UnaryOp, reference: (x: number) => number, x: Float32Array): number {
  const y = apply(op, x);
  let most = 0;
  x.forEach((v, i) => {
    const truth = reference(v);
    most = Math.max(most, Math.abs(y[i] - truth) / place(truth));
  });
  return most;
}

describe('transcendental functions', () => {
  const both = (x: Float32Array): Float32Array => Float32Array.from([...x, ...x.map((v) => -v)]);
  const cases: readonly [UnaryOp, (x: number) => number, Float32Array, number][] = [
    ['exp', Math.exp, grid(-87, 88.7, 400_001), 1.5],
    ['exp', Math.exp, both(magnitudes(1e-30, 1, 100_001)), 1.5],
    // Results are denormal: half a place of rounding twice, and the polynomial's error.
    ['exp', Math.exp, grid(-103.9, -87, 50_001), 1.5],
    ['log', Math.log, magnitudes(1.1754944e-38, 3.4e38, 400_001), 1.5],
    ['log', Math.log, magnitudes(1e-44, 1.17e-38, 20_001), 1.5],
    ['log', Math.log, grid(0.5, 2, 200_001), 1.5],
    ['tanh', Math.tanh, both(magnitudes(1e-38, 12, 200_001)), 2],
    ['tanh', Math.tanh, grid(-10, 10, 200_001), 2],
    ['erf', erf, both(magnitudes(1e-37, 5, 100_001)), 2],
    ['erf', erf, grid(-4.5, 4.5, 100_001), 2],
  ];
  for (const [op, reference, x, ulp] of cases)
    it(`${op} on ${x.length} numbers from ${x[0].toPrecision(3)} is within ${ulp} ulp`, () => {
      expect(worst(op, reference, x)).toBeLessThan(ulp);
    });

  it('limits and what is no number', () => {
    const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
    const x = Float32Array.of(0, -0, inf, -inf, nan, 89, 1000, -104, -1000, 3.4e38, -3.4e38, -1e-45);
    const check = (op: UnaryOp, expected: number[]): void => expect([...apply(op, x)]).toEqual(expected);
    check('exp', [1, 1, inf, 0, nan, inf, inf, 0, 0, inf, 0, 1]);
    const log = (v: number): number => Math.fround(Math.log(v));
    check('log', [-inf, -inf, inf, nan, nan, log(89), log(1000), nan, nan, log(Math.fround(3.4e38)), nan, nan]);
    const tiny = Math.fround(-1e-45);
    // The sign of zero is lost in tanh.
    check('tanh', [0, 0, 1, -1, nan, 1, 1, -1, -1, 1, -1, tiny]);
    check('erf', [0, -0, 1, -1, nan, 1, 1, -1, -1, 1, -1, tiny]);
  });

  it('the expansion means the same to the interpreter and to lanes and tails', () => {
    for (const op of ['exp', 'log', 'tanh', 'erf'] as const) {
      const x = grid(-9, 9, 1003);
      const kernel = expandMath(unaryKernel(op, x.length));
      const buffers = { x, y: new Float32Array(x.length) };
      expect(runWasm(kernel, buffers)).toEqual(runInterpreted(kernel, buffers));
      expect(JSON.stringify(kernel.body)).not.toContain(`"${op}"`);
    }
  });
});
