/**
 * Runs a function the way a device does: fused into regions, each lowered to a kernel, the kernels run in order. What comes
 * out is compared with the float64 evaluator.
 */
import { expect } from 'vitest';
import { fuse } from '../../compiler/kernels/fuse.js';
import { lowerForGpu } from '../../compiler/kernels/gpu/lower.js';
import { lowerRegion } from '../../compiler/kernels/lower.js';
import type { Region } from '../../compiler/kernels/region.js';
import { evaluate } from '../../ir/evaluate.js';
import type { Func, Value } from '../../ir/graph.js';
import type { Kernel } from '../../ir/kernel.js';
import { interpret, type KernelData } from '../../ir/kernel-interpret.js';
import { type DType, storedCount } from '../../ir/types.js';
import { verifyKernel } from '../../ir/verify-kernel.js';
import { runDawn } from '../targets/run-dawn.js';
import { runWasm } from '../targets/run-wasm.js';

export function storage(dtype: DType, from: number | ArrayLike<number>): KernelData {
  const make = dtype === 'f32' || dtype === 'f16' ? Float32Array : dtype === 'i32' ? Int32Array : Uint8Array;
  return typeof from === 'number' ? new make(from) : make.from(from);
}

/** Memory for the parameters behind the region's own; nobody may rely on what is in it. */
export function scratchOf(kernel: Kernel, own: number): Record<string, KernelData> {
  return Object.fromEntries(kernel.params.slice(own).map((p) => [p.name, storage('f32', p.length).fill(Number.NaN)]));
}

export interface Executed {
  readonly outputs: Record<string, KernelData>;
  readonly regions: readonly Region[];
  readonly kernels: readonly Kernel[];
}

export type Runner = (kernel: Kernel, buffers: Record<string, KernelData>) => void;

/** On WebAssembly, the grid in two ranges as two threads would take it. */
const onWasm: Runner = (kernel, buffers) => {
  const after = runWasm(kernel, buffers, 2);
  for (const [name, data] of Object.entries(after)) buffers[name].set(data as never);
};

const onDawn: Runner = (kernel, buffers) => {
  for (const [name, data] of Object.entries(runDawn(kernel, buffers))) buffers[name].set(data as never);
};

export type Lowering = (region: Region, name: string) => Kernel;

export function execute(
  func: Func,
  inputs: Record<string, ArrayLike<number>>,
  enabled = true,
  run: Runner = interpret,
  lower: Lowering = lowerRegion,
): Executed {
  const { regions, aliasOf } = fuse(func, { enabled });
  const memory = new Map<Value, KernelData>();
  for (const v of [...func.inputs, ...func.reads]) memory.set(v, storage(v.type.dtype, inputs[v.name]));
  const root = (v: Value): Value => {
    let at = v;
    for (let next = aliasOf.get(at); next; next = aliasOf.get(at)) at = next;
    return at;
  };
  const kernels: Kernel[] = [];
  regions.forEach((region, k) => {
    const kernel = lower(region, `k${k}`);
    verifyKernel(kernel);
    kernels.push(kernel);
    const reads = region.inputs.map((v) => {
      const data = memory.get(root(v));
      if (!data) throw new Error(`region ${k} reads ${v.name} before it is written`);
      return data;
    });
    const writes = region.outputs.map((v) => {
      if (memory.has(v)) throw new Error(`${v.name} is written twice`);
      // What a kernel forgets to write must not look right by chance.
      const data = storage(v.type.dtype, storedCount(v.type)).fill(77);
      memory.set(v, data);
      return data;
    });
    run(kernel, {
      ...Object.fromEntries([...reads, ...writes].map((data, i) => [`p${i}`, data])),
      ...scratchOf(kernel, reads.length + writes.length),
    });
  });
  const outputs: Record<string, KernelData> = {};
  for (const o of func.outputs) outputs[o.name] = memory.get(root(o.value))!;
  return { outputs, regions, kernels };
}

/**
 * Fused and unfused results, and fused ones on WebAssembly, for a GPU and on Dawn (a software driver needs up to a second for
 * a kernel: `dawn` leaves it out), against float64. An f32 result of n roundings is off by about sqrt(n) 2^-24 of the largest
 * intermediate; 3e-6 of the largest output covers the chains and sums of these tests (up to about 10^6 terms in blocks).
 */
export function agrees(func: Func, inputs: Record<string, ArrayLike<number>>, tolerance = 3e-6, dawn = true): Executed {
  const rounded = Object.fromEntries(
    [...func.inputs, ...func.reads].map((v) => [v.name, Float64Array.from(storage(v.type.dtype, inputs[v.name]))]),
  );
  const truth = evaluate(func, rounded, rounded).outputs;
  const runs = [
    execute(func, inputs),
    execute(func, inputs, false),
    execute(func, inputs, true, onWasm),
    execute(func, inputs, true, interpret, lowerForGpu),
    ...(dawn ? [execute(func, inputs, true, onDawn, lowerForGpu)] : []),
  ];
  const ways = ['fused', 'unfused', 'fused on wasm', 'fused for a GPU', 'fused on Dawn'];
  runs.forEach((run, k) => {
    for (const [name, want] of Object.entries(truth)) {
      const got = run.outputs[name];
      expect(got.length, name).toBe(want.length);
      let largest = 1e-30;
      for (const w of want) if (Number.isFinite(w)) largest = Math.max(largest, Math.abs(w));
      for (let i = 0; i < want.length; i++) {
        const equal = Object.is(got[i], want[i]) || got[i] === want[i];
        if (!equal && !(Math.abs(got[i] - want[i]) <= tolerance * largest))
          expect.fail(`${ways[k]} ${name}[${i}] = ${got[i]}, not ${want[i]} (largest ${largest})`);
      }
    }
  });
  return runs[0];
}

/** Numbers in about (-2, 2) without pattern, the same each time. */
export function noise(n: number, seed = 1): Float64Array {
  let s = seed * 2654435761;
  return Float64Array.from({ length: n }, () => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    return (s / 2 ** 32) * 4 - 2;
  });
}
