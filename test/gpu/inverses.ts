/**
 * Damped inverses of symmetric matrices: sizes around the edges of blocks, every block, batches, and matrices that cannot be
 * inverted at once or at all.
 */
import { lowerInverse } from '../../compiler/kernels/gpu/inverse.js';
import { symmetric, tensor } from '../../ir/types.js';
import { builder, type Inputs, type Lower, noise, type Problem, problem, type Tolerance } from './problem.js';

const chosen: readonly [string, Lower] = ['chosen', (region, name) => lowerInverse(region, name)];
const ways = [
  chosen,
  ...[4, 8, 16, 32].map(
    (b) => [`block ${b}`, (region, name) => lowerInverse(region, name, b)] as readonly [string, Lower],
  ),
];

const packed = (n: number): number => (n * (n + 1)) / 2;

/** Second moment of `rank` random vectors, packed: the shape of a Kronecker factor. */
function moment(n: number, rank: number, seed: number): Float64Array {
  const v = noise(n * rank, seed);
  const out = new Float64Array(packed(n));
  for (let r = 0; r < rank; r++)
    for (let i = 0, k = 0; i < n; i++) for (let j = 0; j <= i; j++) out[k++] += (v[r * n + i] * v[r * n + j]) / rank;
  return out.map(Math.fround);
}

function trace(a: Float64Array, n: number): number {
  let sum = 0;
  for (let i = 1; i <= n; i++) sum += a[packed(i) - 1];
  return sum;
}

interface Options {
  readonly batch?: readonly number[];
  readonly large?: boolean;
}

function inverse(
  what: string,
  n: number,
  inputs: () => Inputs,
  tolerance: Tolerance,
  some: readonly (readonly [string, Lower])[],
  { batch = [], large }: Options = {},
): Problem {
  const b = builder();
  const x = b.input('x', symmetric(n, batch));
  const shift = b.input('shift', tensor('f32', batch));
  const previous = b.input('previous', symmetric(n, batch));
  const [r, failures] = b.multi('damped_inverse', [x, shift, previous], { attrs: { retries: 3 } });
  b.output('inverse', r);
  b.output('failures', failures);
  return problem(`inverse: ${what}`, b.finish(), some, { inputs, tolerance, large });
}

/**
 * Cholesky's inverse has a relative error of about condition * 2^-24, times a small factor; the condition is at most
 * (trace + shift) / shift, which is n / damping + 1.
 */
function ordinary(n: number, damping: number, rank: number, some = ways, large = false): Problem {
  const inputs = (): Inputs => {
    const x = moment(n, rank, n);
    return { x, shift: [(damping * trace(x, n)) / n], previous: new Float64Array(packed(n)) };
  };
  const tolerance = { relative: (n / damping + 1) * 2 ** -22 };
  return inverse(`${n}x${n}, rank ${Math.min(n, rank)}, damping ${damping}`, n, inputs, tolerance, some, { large });
}

function spoilt(what: string, spoil: (x: Float64Array) => void, shift = 0.1): Problem {
  const n = 21;
  const inputs = (): Inputs => {
    const x = moment(n, 40, 3);
    spoil(x);
    return { x, shift: [shift], previous: noise(packed(n), 9) };
  };
  return inverse(`keeps the previous one: ${what}`, n, inputs, { absolute: 1e-6 }, ways);
}

function indefinite(n: number): Problem {
  const inputs = (): Inputs => {
    const x = moment(n, 2 * n, 5);
    // A negative eigenvalue at the far end, so that many pivots are good before the bad one.
    x[x.length - 1] -= 20;
    return { x, shift: [0.5], previous: new Float64Array(packed(n)) };
  };
  return inverse(`${n}x${n}, indefinite: more damping`, n, inputs, { absolute: 1e-5 }, ways);
}

function batch(n: number): Problem {
  const inputs = (): Inputs => {
    const x = Float64Array.from([1, 2, 3, 4].flatMap((seed) => [...moment(n, 12, seed)]));
    // The third keeps its previous inverse, and is counted alone.
    x[2 * packed(n)] = Number.NaN;
    return { x, shift: [0.5, 0.1, 0.2, 0.3], previous: noise(4 * packed(n), 6) };
  };
  return inverse(`batch of ${n}x${n}, one fails`, n, inputs, { absolute: 1e-4 }, ways, { batch: [4] });
}

export const inverseProblems: readonly Problem[] = [
  ...[1, 2, 3, 4, 5, 8, 9, 16, 17, 31, 32, 33, 36, 63, 64, 65, 129].map((n) => ordinary(n, 0.1, 2 * n)),
  ...[1e-2, 1e-3, 1e-4].map((damping) => ordinary(64, damping, 30)),
  batch(1),
  batch(9),
  ...[3, 20, 40].map(indefinite),
  spoilt('NaN on the diagonal', (x) => x.fill(Number.NaN, packed(5) - 1, packed(5))),
  spoilt('NaN off the diagonal', (x) => x.fill(Number.NaN, packed(20) + 3, packed(20) + 4)),
  spoilt('infinity', (x) => x.fill(Number.POSITIVE_INFINITY, 0, 1)),
  spoilt('a huge negative eigenvalue', (x) => x.fill(-1e9, packed(21) - 1)),
  spoilt('a shift that is not a number', () => {}, Number.NaN),
  ordinary(300, 0.05, 100, [chosen], true),
  ordinary(577, 0.05, 700, [chosen], true),
];
