/**
 * Damped inverses of symmetric matrices: sizes around the edges of blocks, every block, batches, and matrices that cannot be
 * inverted at once or at all.
 */
import { lowerInverse } from '../../compiler/kernels/gpu/inverse.js';
import { DUE } from '../../compiler/kernels/gpu/inverse-batch.js';
import { type JoinedParam, joinParameters } from '../../compiler/kernels/parameters.js';
import { type BatchOptions, lowerBatch } from '../../compiler/program/inverse-batches.js';
import type { Value } from '../../ir/graph.js';
import type { Kernel, KernelParam } from '../../ir/kernel.js';
import { storedCount, symmetric, tensor } from '../../ir/types.js';
import {
  builder,
  expectations,
  type Inputs,
  type Lower,
  type Memory,
  noise,
  type Problem,
  problem,
  type Tolerance,
  type Work,
} from './problem.js';

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

/**
 * Two statistics that share their steps, the second three matrices of which one is spoilt; a third is not due. As in a program,
 * but that results have memory of their own: what is not due leaves 77 there.
 */
function together(what: string, widths: readonly [number, number], options: BatchOptions, large = false): Problem {
  const b = builder();
  const inputs: Record<string, ArrayLike<number>> = {};
  const statistic = (name: string, n: number, matrices: number, spoil: (x: Float64Array) => void) => {
    const batch = matrices > 1 ? [matrices] : [];
    const x = Float64Array.from(Array.from({ length: matrices }, (_, m) => [...moment(n, 2 * n, n + m)]).flat());
    spoil(x);
    inputs[`${name}.x`] = x;
    inputs[`${name}.shift`] = Array(matrices).fill(0.1);
    inputs[`${name}.previous`] = noise(matrices * packed(n), 9);
    const operands = [
      b.input(`${name}.x`, symmetric(n, batch)),
      b.input(`${name}.shift`, tensor('f32', batch)),
      b.input(`${name}.previous`, symmetric(n, batch)),
    ];
    return b.multi('damped_inverse', operands, { attrs: { retries: 2 } });
  };
  const [first, second] = widths;
  const due = [
    ...statistic('one', first, 1, () => {}),
    ...statistic('three', second, 3, (x) => x.fill(Number.NaN, packed(second), packed(second) + 1)),
  ];
  const resting = statistic('resting', 5, 1, () => {});
  const results: readonly Value[] = [...due, ...resting];
  for (const [i, v] of results.entries()) b.output(`y${i}`, v);
  const func = b.finish();
  const work = (): Work => {
    // What is given lies in one memory: a device may bind no more than a dozen.
    const offsets = new Map<Value, number>();
    const given: number[] = [];
    for (const v of func.inputs) {
      offsets.set(v, given.length);
      given.push(...Array.from(inputs[v.name]));
    }
    const memories: Memory[] = [
      { type: 'f32', length: given.length, data: given },
      ...results.map((v): Memory => ({ type: 'f32', length: storedCount(v.type) })),
    ];
    const scratch = new Map<string, number>();
    const regions = func.nodes.map((n) => ({
      ...{ anchor: n, nodes: [n], inputs: n.operands, outputs: n.results },
      ...{ guard: `due(${n.results[0].name})`, stopped: '' },
    }));
    const { batch, rounds } = lowerBatch(regions, 'k', options);
    const call = (kernel: Kernel): Work['calls'][number] => {
      const offsetOf = (param: string): number | undefined => offsets.get(batch.valueOf(param)!);
      const parts = kernel.params.filter((p) => offsetOf(p.name) !== undefined);
      const others = kernel.params.filter((p) => offsetOf(p.name) === undefined);
      const window: JoinedParam = {
        ...{ name: 'given', type: 'f32', access: 'read', length: given.length },
        parts: parts.map((p) => ({ param: p.name, offset: offsetOf(p.name)! })),
      };
      const alone = others.map((p): JoinedParam => ({ ...p, parts: [{ param: p.name, offset: 0 }] }));
      const place = ({ name, type, length }: KernelParam): number => {
        const value = batch.valueOf(name);
        if (value) return 1 + results.indexOf(value);
        const data = name === DUE ? [1, 1, 0] : undefined;
        const at = scratch.get(name) ?? memories.push({ type, length, data }) - 1;
        scratch.set(name, at);
        return at;
      };
      const joined = parts.length > 0 ? [window, ...alone] : alone;
      return {
        kernel: joinParameters(kernel, kernel.name, joined),
        args: [...(parts.length > 0 ? [0] : []), ...others.map(place)],
      };
    };
    const calls = rounds.flatMap(({ kernels, times }) => {
      const once = kernels.map(call);
      return Array.from({ length: times }, () => once).flat();
    });
    // The tolerance of one that is spoilt or small, as above, covers all.
    const tolerance = { relative: (Math.max(first, second) / 0.1 + 1) * 2 ** -22 };
    const untouched = func.outputs.slice(4).map(({ value }) => new Float64Array(storedCount(value.type)).fill(77));
    const expected = expectations(func, inputs, tolerance, false).map((e, i) => ({
      ...e,
      values: i < 4 ? e.values : untouched[i - 4],
      memory: 1 + i,
    }));
    return { memories, calls, expected };
  };
  return { name: `inverse: ${what}`, ways: [{ name: 'together', work }], large };
}

const inBlocks = (block: number, depth: number): BatchOptions => ({ narrow: 0, choice: { block, depth } });

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
  together('narrow ones', [31, 9], {}),
  together('wide ones, block 8', [31, 9], inBlocks(8, 4)),
  together('wide ones, block 16', [33, 16], inBlocks(16, 8)),
  together('wide ones, block 32', [65, 20], inBlocks(32, 8)),
  together('wide ones', [130, 64], { narrow: 0 }, true),
  together('large wide ones', [600, 300], {}, true),
  together('one wide one of many blocks', [1153, 257], {}, true),
  ordinary(300, 0.05, 100, [chosen], true),
  ordinary(577, 0.05, 700, [chosen], true),
];
