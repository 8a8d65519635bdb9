import { describe, expect, it } from 'vitest';
import { lowerInverse } from '../../compiler/kernels/gpu/inverse.js';
import type { Region } from '../../compiler/kernels/region.js';
import { lowerRoutine } from '../../compiler/kernels/routine.js';
import { Builder } from '../../ir/builder.js';
import type { Func } from '../../ir/graph.js';
import type { Kernel } from '../../ir/kernel.js';
import { passLoc } from '../../ir/loc.js';
import { symmetric, tensor } from '../../ir/types.js';
import { runDawn } from '../targets/run-dawn.js';
import { runInterpreted } from '../targets/run-wasm.js';
import { noise } from './execute.js';
import { near, type Runner, regionOf, runners, runRegion, truthOf } from './lowered.js';

function inverse(n: number, batch: readonly number[] = [], retries = 3): Func {
  const b = new Builder('f', passLoc('test'));
  const x = b.input('x', symmetric(n, batch));
  const shift = b.input('shift', tensor('f32', batch));
  const previous = b.input('previous', symmetric(n, batch));
  const [r, failures] = b.multi('damped_inverse', [x, shift, previous], { attrs: { retries } });
  b.output('inverse', r);
  b.output('failures', failures);
  return b.finish();
}

const packed = (n: number): number => (n * (n + 1)) / 2;

/** Second moment of `rank` random vectors, packed: the shape of a Kronecker factor. */
function moment(n: number, rank: number, seed: number): Float64Array {
  const v = noise(n * rank, seed);
  const out = new Float64Array(packed(n));
  for (let r = 0; r < rank; r++)
    for (let i = 0, k = 0; i < n; i++) for (let j = 0; j <= i; j++) out[k++] += (v[r * n + i] * v[r * n + j]) / rank;
  return out;
}

const trace = (a: Float64Array, n: number): number => {
  let s = 0;
  for (let i = 0; i < n; i++) s += a[packed(i + 1) - 1];
  return s;
};

/** A form of the routine, where it runs, and the blocks that it can eliminate at once. */
interface Way {
  readonly run: Runner;
  readonly lower: (region: Region, name: string, block?: number) => Kernel;
  readonly blocks: readonly number[];
  /** Every n-th size is tried: a software driver takes a second to compile one. */
  readonly each: number;
}

const ways: readonly (readonly [string, Way])[] = [
  ...Object.entries(runners).map(
    ([name, run]) => [name, { run, lower: lowerRoutine, blocks: [8, 16, 32, 64], each: 1 }] as const,
  ),
  ['interpreter, for a GPU', { run: runInterpreted, lower: lowerInverse, blocks: [4, 8, 16, 32], each: 1 }],
  ['Dawn', { run: runDawn, lower: lowerInverse, blocks: [32], each: 34 }],
];

/**
 * Cholesky's inverse has a relative error of about condition * 2^-24, times a small factor; the condition is at most
 * (trace + shift) / shift. The tolerance takes that bound, relative to the largest element (at most 1 / shift).
 */
function check(
  { run, lower }: Way,
  n: number,
  shift: number,
  rank: number,
  blocks: readonly (number | undefined)[] = [undefined],
): void {
  const f = inverse(n);
  const x = moment(n, rank, n);
  const damping = shift * (trace(x, n) / n);
  const inputs = { x, shift: [damping], previous: new Float64Array(packed(n)) };
  const [want] = truthOf(f, inputs);
  const largest = want.reduce((m, w) => Math.max(m, Math.abs(w)), 0);
  const condition = (trace(x, n) + damping) / damping;
  for (const block of blocks) {
    const region = regionOf(f);
    const [got, failures] = runRegion(region, lower(region, 'k', block), inputs, run);
    expect(failures[0]).toBe(0);
    near(got, want, condition * 2 ** -22 * largest, `n=${n} block=${block}`);
  }
}

describe.each(ways)('damped_inverse on %s', (_, way) => {
  const { run, lower, blocks, each } = way;
  it('inverts every size from 1 to 70', () => {
    for (let n = 1; n <= 70; n += each) check(way, n, 0.1, 2 * n, n % 7 === 0 || each > 1 ? blocks : [undefined]);
  });
  it('inverts larger sizes', () => {
    if (each > 1) return;
    check(way, 129, 0.05, 200);
    check(way, 300, 0.05, 100);
  });
  it('keeps the accuracy of Cholesky for factors of low rank with little damping', () => {
    const some = blocks.length > 1 ? blocks.slice(1) : blocks;
    for (const shift of [1e-2, 1e-3, 1e-4]) check(way, 64, shift, 30, some);
  });
  it('inverts a batch, each with its shift', () => {
    const n = 9;
    const f = inverse(n, [2, 3]);
    const x = Float64Array.from({ length: 6 * packed(n) });
    for (let b = 0; b < 6; b++) x.set(moment(n, 12, b + 1), b * packed(n));
    const inputs = { x, shift: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], previous: new Float64Array(6 * packed(n)) };
    const region = regionOf(f);
    const [got, failures] = runRegion(region, lower(region, 'k'), inputs, run);
    near(got, truthOf(f, inputs)[0], 1e-4, 'batch');
    expect([...failures]).toEqual([0, 0, 0, 0, 0, 0]);
  });
  it('keeps the previous inverse of one of a batch, and counts for it alone', () => {
    for (const n of [1, 9]) {
      const f = inverse(n, [4]);
      const x = Float64Array.from([1, 2, 3, 4].flatMap((seed) => [...moment(n, 12, seed)]));
      x[2 * packed(n)] = Number.NaN;
      const previous = noise(4 * packed(n), 6);
      const inputs = { x, shift: [0.5, 0.1, 0.2, 0.3], previous };
      const region = regionOf(f);
      const [got, failures] = runRegion(region, lower(region, 'k'), inputs, run);
      expect([...failures]).toEqual([0, 0, 4, 0]);
      near(got, truthOf(f, inputs)[0], 1e-4, `n=${n}`);
      near(got.slice(2 * packed(n), 3 * packed(n)), previous.slice(2 * packed(n), 3 * packed(n)), 1e-6, 'previous');
    }
  });
  it('adds damping to an indefinite matrix until it is positive, and counts', () => {
    for (const n of [3, 20, 40]) {
      const f = inverse(n);
      const x = moment(n, 2 * n, 5);
      // A negative eigenvalue at the far end, so that many pivots are good before the bad one.
      x[x.length - 1] -= 20;
      const inputs = { x, shift: [0.5], previous: new Float64Array(packed(n)).fill(3) };
      const [want, failed] = truthOf(f, inputs);
      expect(failed[0]).toBe(2);
      const region = regionOf(f);
      const [got, failures] = runRegion(region, lower(region, 'k', 16), inputs, run);
      expect(failures[0]).toBe(2);
      near(got, want, 1e-5, `n=${n}`);
    }
  });
  it('keeps the previous inverse where nothing helps', () => {
    const n = 21;
    const previous = noise(packed(n), 9);
    const bad: readonly (readonly [string, (x: Float64Array) => void, number])[] = [
      ['NaN on the diagonal', (x) => x.fill(Number.NaN, packed(5) - 1, packed(5)), 0.1],
      ['NaN off the diagonal', (x) => x.fill(Number.NaN, packed(20) + 3, packed(20) + 4), 0.1],
      ['infinity', (x) => x.fill(Number.POSITIVE_INFINITY, 0, 1), 0.1],
      ['a huge negative eigenvalue', (x) => x.fill(-1e9, packed(n) - 1), 0.1],
      ['a shift that is not a number', () => {}, Number.NaN],
    ];
    for (const [what, spoil, shift] of bad) {
      const x = moment(n, 40, 3);
      spoil(x);
      const f = inverse(n);
      const inputs = { x, shift: [shift], previous };
      const region = regionOf(f);
      const [got, failures] = runRegion(region, lower(region, 'k'), inputs, run);
      expect(failures[0], what).toBe(4);
      near(got, previous, 1e-6, what);
    }
  });
});
