/**
 * One region lowered and run against the float64 evaluator. Regions are made by hand: a function whose nodes are all fused
 * around its one anchor.
 */
import { expect } from 'vitest';
import { isAnchor } from '../../compiler/kernels/archetype.js';
import type { Region } from '../../compiler/kernels/region.js';
import { evaluate } from '../../ir/evaluate.js';
import type { Func } from '../../ir/graph.js';
import type { Kernel } from '../../ir/kernel.js';
import type { KernelData } from '../../ir/kernel-interpret.js';
import { storedCount } from '../../ir/types.js';
import { verifyKernel } from '../../ir/verify-kernel.js';
import { runInterpreted, runWasm } from '../targets/run-wasm.js';
import { scratchOf, storage } from './execute.js';

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

export type Runner = (kernel: Kernel, buffers: Record<string, KernelData>) => Readonly<Record<string, KernelData>>;

export const runners: Readonly<Record<string, Runner>> = {
  interpreter: runInterpreted,
  wasm: (kernel, buffers) => runWasm(kernel, buffers),
  // The grid in parts, as threads would run it.
  'wasm in parts': (kernel, buffers) => runWasm(kernel, buffers, 3),
};

/** Runs the kernel; results in the order of the region's outputs, prefilled with 77 (a missed element shows). */
export function runRegion(
  region: Region,
  kernel: Kernel,
  inputs: Readonly<Record<string, ArrayLike<number>>>,
  run: Runner,
): KernelData[] {
  verifyKernel(kernel);
  const reads = region.inputs.map((v) => storage(v.type.dtype, inputs[v.name]));
  const writes = region.outputs.map((v) => storage(v.type.dtype, storedCount(v.type)).fill(77));
  const after = run(kernel, {
    ...Object.fromEntries([...reads, ...writes].map((data, i) => [`p${i}`, data])),
    ...scratchOf(kernel, reads.length + writes.length),
  });
  return writes.map((_, i) => after[`p${reads.length + i}`]);
}

/** Exact results for inputs as f32 holds them. */
export function truthOf(func: Func, inputs: Readonly<Record<string, ArrayLike<number>>>): Float64Array[] {
  const rounded = Object.fromEntries(
    func.inputs.map((v) => [v.name, Float64Array.from(storage(v.type.dtype, inputs[v.name]))]),
  );
  const { outputs } = evaluate(func, rounded);
  return func.outputs.map((o) => outputs[o.name]);
}

/** @param tolerance absolute */
export function near(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what: string): void {
  expect(got.length, what).toBe(want.length);
  for (let i = 0; i < want.length; i++)
    if (!(Math.abs(got[i] - want[i]) <= tolerance))
      expect.fail(`${what}: [${i}] is ${got[i]}, not ${want[i]} (tolerance ${tolerance})`);
}
