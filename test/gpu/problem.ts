/**
 * A problem of the GPU's tests: a small graph with its inputs, the ways in which it is lowered, and how far results may be
 * from the float64 evaluator's. Each way is one test.
 */
import { isAnchor } from '../../compiler/kernels/archetype.js';
import { fuse } from '../../compiler/kernels/fuse.js';
import { lowerForGpu } from '../../compiler/kernels/gpu/lower.js';
import type { Aliases } from '../../compiler/kernels/grow.js';
import type { Region } from '../../compiler/kernels/region.js';
import { joinKernels } from '../../compiler/program/small-steps.js';
import { Builder } from '../../ir/builder.js';
import { evaluate } from '../../ir/evaluate.js';
import type { Func, Value } from '../../ir/graph.js';
import type { Kernel, KernelType } from '../../ir/kernel.js';
import { passLoc } from '../../ir/loc.js';
import { storedCount } from '../../ir/types.js';

/** How far a result may be off: of the largest result (`relative`), or of itself (`own`), or by as much (`absolute`). */
export interface Tolerance {
  readonly relative?: number;
  readonly own?: number;
  readonly absolute?: number;
}

/** One buffer of a test. */
export interface Memory {
  readonly type: KernelType;
  readonly length: number;
  /** What it holds before; absent: what nobody may rely on. */
  readonly data?: ArrayLike<number>;
}

/** What the device runs, and what must come out. */
export interface Work {
  readonly memories: readonly Memory[];
  readonly calls: readonly { readonly kernel: Kernel; readonly args: readonly number[] }[];
  readonly expected: readonly Expected[];
}

export interface Expected {
  readonly name: string;
  readonly memory: number;
  readonly values: Float64Array;
  /** What is right too: where the device takes denormal numbers for zero. */
  readonly flushed?: Float64Array;
  readonly tolerance: Tolerance;
}

export interface Way {
  readonly name: string;
  readonly work: () => Work;
}

export interface Problem {
  /** `contraction: matmul 3x5x7`: the part before the colon is its family. */
  readonly name: string;
  readonly ways: readonly Way[];
  /** For real GPUs alone: a driver in software would take minutes. */
  readonly large?: boolean;
  /** A feature that the device must have. */
  readonly feature?: string;
}

export type Lower = (region: Region, name: string) => Kernel;
export type Inputs = Readonly<Record<string, ArrayLike<number>>>;

export const builder = (): Builder => new Builder('f', passLoc('test'));

/** Numbers in (-2, 2) without pattern, the same each time. */
export function noise(n: number, seed = 1): Float64Array {
  let s = Math.imul(seed, 2654435761);
  return Float64Array.from({ length: n }, () => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    return (s / 2 ** 32) * 4 - 2;
  });
}

/** Noise for each input. */
export const noiseFor = (func: Func): Inputs =>
  Object.fromEntries(func.inputs.map((v, i) => [v.name, noise(storedCount(v.type), i + 1)]));

/** The whole function as one region. */
export function regionOf(func: Func): Region {
  return {
    anchor: func.nodes.find(isAnchor),
    nodes: func.nodes,
    inputs: func.inputs,
    outputs: func.outputs.map((o) => o.value),
    stopped: 'made by hand',
  };
}

/**
 * An f32 result of n roundings is off by about sqrt(n) 2^-24 of the largest intermediate; 3e-6 of the largest result covers
 * chains and sums of up to about 10^3 terms in a row.
 */
export const rounding: Tolerance = { relative: 3e-6 };

export interface ProblemOptions {
  /** Noise, if not given. */
  readonly inputs?: () => Inputs;
  readonly tolerance?: Tolerance;
  /** Compares with what the evaluator gives for denormal inputs taken as zero, too. */
  readonly flushes?: boolean;
  readonly large?: boolean;
}

/**
 * @param ways how the function as one region is lowered; none: it is fused into regions, each lowered as the compiler chooses
 */
export function problem(
  name: string,
  func: Func,
  ways: readonly (readonly [string, Lower])[] = [],
  { inputs = () => noiseFor(func), tolerance = rounding, flushes = false, large }: ProblemOptions = {},
): Problem {
  let left = Math.max(1, ways.length);
  let known: { readonly given: Inputs; readonly expected: readonly Expected[] } | undefined;
  /** Evaluated for the first way, and forgotten with the last. */
  const told = (): { readonly given: Inputs; readonly expected: readonly Expected[] } => {
    const given = known?.given ?? inputs();
    const now = known ?? { given, expected: expectations(func, given, tolerance, flushes) };
    left--;
    known = left > 0 ? now : undefined;
    return now;
  };
  const whole = (lower: Lower): Work => {
    const { given, expected } = told();
    return workOf(func, [regionOf(func)], new Map(), given, lower, expected);
  };
  const fused = (): Work => {
    const { given, expected } = told();
    const { regions, aliasOf } = fuse(func);
    return workOf(func, regions, aliasOf, given, lowerForGpu, expected);
  };
  return {
    name,
    large,
    ways:
      ways.length === 0
        ? [{ name: 'fused', work: fused }]
        : ways.map(([way, lower]) => ({ name: way, work: () => whole(lower) })),
  };
}

/** All regions of the function in one dispatch of one workgroup. */
export function joinedProblem(name: string, func: Func): Problem {
  const work = (): Work => {
    const inputs = noiseFor(func);
    const { regions, aliasOf } = fuse(func);
    const apart = workOf(func, regions, aliasOf, inputs, lowerForGpu, expectations(func, inputs, rounding, false));
    const members = apart.calls.map(({ kernel, args }) => ({ kernel, args: args.map(String) }));
    const { kernel, args } = joinKernels(members, 'joined');
    return { ...apart, calls: [{ kernel, args: args.map(Number) }] };
  };
  return { name, ways: [{ name: 'one dispatch', work }] };
}

export const isDenormal = (x: number): boolean => x !== 0 && Math.abs(x) < 2 ** -126;

export function expectations(func: Func, inputs: Inputs, tolerance: Tolerance, flushes: boolean): Expected[] {
  const given = (alter: (x: number) => number): Record<string, Float64Array> =>
    Object.fromEntries(
      func.inputs.map((v) => [
        v.name,
        Float64Array.from(inputs[v.name], (x) => alter(v.type.dtype === 'f32' ? Math.fround(x) : x)),
      ]),
    );
  const { outputs } = evaluate(
    func,
    given((x) => x),
  );
  const flushed = flushes
    ? evaluate(
        func,
        given((x) => (isDenormal(x) ? 0 * x : x)),
      ).outputs
    : {};
  // Results come behind the inputs, in the order of the function's outputs.
  return func.outputs.map((o) => ({
    name: o.name,
    memory: -1,
    values: outputs[o.name],
    flushed: flushed[o.name],
    tolerance: o.value.type.dtype === 'f32' ? tolerance : {},
  }));
}

function workOf(
  func: Func,
  regions: readonly Region[],
  aliasOf: Aliases,
  inputs: Inputs,
  lower: Lower,
  expected: readonly Expected[],
): Work {
  const memories: Memory[] = [];
  const places = new Map<Value, number>();
  const root = (v: Value): Value => {
    let at = v;
    for (let next = aliasOf.get(at); next; next = aliasOf.get(at)) at = next;
    return at;
  };
  const placeOf = (v: Value, data?: ArrayLike<number>): number => {
    const value = root(v);
    const known = places.get(value);
    if (known !== undefined) return known;
    memories.push({ type: value.type.dtype as KernelType, length: storedCount(value.type), data });
    places.set(value, memories.length - 1);
    return memories.length - 1;
  };
  for (const v of func.inputs) placeOf(v, inputs[v.name]);
  const calls = regions.map((region, k) => {
    const kernel = lower(region, `k${k}`);
    const own = [...region.inputs, ...region.outputs].map((v) => placeOf(v));
    const scratch = kernel.params.slice(own.length).map((p) => {
      memories.push({ type: p.type, length: p.length });
      return memories.length - 1;
    });
    return { kernel, args: [...own, ...scratch] };
  });
  return { memories, calls, expected: expected.map((e, i) => ({ ...e, memory: placeOf(func.outputs[i].value) })) };
}
