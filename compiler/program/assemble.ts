/**
 * Module after fusion -> Program: every region becomes a step, equal regions share a kernel, every value gets a buffer, and
 * consecutive steps with one guard become a segment. What is target-specific (grid, scratch) is filled in by the target.
 */
import type { Func, Module, Value } from '../../ir/graph.js';
import { i32, type Kernel, load, loop, ref, store } from '../../ir/kernel.js';
import { printLoc, userLoc } from '../../ir/loc.js';
import type { Buffer, KernelInfo, Program, ProgramFunction, Segment, Step } from '../../ir/program.js';
import { concrete, storedBytes, storedCount } from '../../ir/types.js';
import type { Region } from '../kernels/region.js';
import { align, type Interval, liveBound, planArena } from './memory-plan.js';
import { regionKey } from './region-key.js';
import { placeState, rootOf } from './storage.js';

export interface Fused {
  readonly regions: readonly Region[];
  /** Values that share the bytes of another: reshapes, and refreshed state. */
  readonly aliasOf: ReadonlyMap<Value, Value>;
}

export interface Assembled {
  readonly program: Program;
  /** In the order of program.kernels. */
  readonly kernels: readonly Kernel[];
}

interface FunctionPlan {
  readonly func: Func;
  readonly bufferName: (v: Value) => string;
  readonly steps: readonly { readonly step: Step; readonly guard?: string }[];
  readonly buffers: readonly (Omit<Buffer, 'offset' | 'memory'> & { readonly interval: Interval })[];
}

const MEMORY = 'main';

/** Modelled seconds on one core: 40 GFLOP/s and 20 GB/s, whichever binds. A ranking, not a promise. */
function modelledCost(kernel: Kernel): number {
  return Math.max(kernel.flops / 40e9, kernel.bytes / 20e9);
}

export function assemble(
  module: Module,
  fuse: (func: Func) => Fused,
  lower: (region: Region, name: string) => Kernel,
): Assembled {
  const kernels = new Map<string, { kernel: Kernel; info: KernelInfo }>();

  const kernelFor = (region: Region): Kernel => {
    const key = regionKey(region);
    const known = kernels.get(key);
    if (known) return known.kernel;
    const hint = region.anchor?.op ?? 'pointwise';
    const kernel = lower(region, `k${kernels.size}_${hint}`);
    kernels.set(key, { kernel, info: describe(kernel, region) });
    return kernel;
  };

  const copyKernel = (value: Value): Kernel => {
    const { dtype } = value.type;
    // A 64-bit element is copied as two 32-bit ones.
    const length = storedCount(value.type) * (dtype === 'i64' ? 2 : 1);
    const key = `copy ${dtype} ${length}`;
    const known = kernels.get(key);
    if (known) return known.kernel;
    const type = dtype === 'i64' ? 'i32' : dtype;
    const kernel: Kernel = {
      name: `k${kernels.size}_copy`,
      params: [
        { name: 'p0', type, access: 'read', length },
        { name: 'p1', type, access: 'write', length },
      ],
      body: [loop('vector', 'i', i32(length), [store('p1', ref('i'), load('p0', ref('i')))])],
      workgroup: 64,
      flops: 0,
      bytes: 2 * storedBytes(value.type),
      loc: value.loc,
    };
    const info = {
      ...describe(kernel),
      computes: ['copy'],
      stopped: 'state is still read after its new value is known',
    };
    kernels.set(key, { kernel, info });
    return kernel;
  };

  const states = new Set(module.state.map((s) => s.name));
  const plans = module.functions.map((func) => planFunction(func, fuse(func), states, kernelFor, copyKernel));

  // ---- Memory: state, then one arena for the transients of whichever function runs ----
  const buffers: Buffer[] = [];
  let at = 0;
  for (const entry of module.state) {
    const bytes = storedBytes(entry.type);
    const { dtype, layout } = entry.type;
    buffers.push({
      name: entry.name,
      memory: MEMORY,
      offset: at,
      dtype,
      layout,
      shape: concrete(entry.type.shape),
      bytes,
      role: entry.role === 'constant' ? 'constant' : 'state',
    });
    at += align(bytes);
  }
  let peak = 0;
  let bound = 0;
  for (const plan of plans) {
    const intervals = plan.buffers.map((b) => b.interval);
    const arena = planArena(intervals);
    peak = Math.max(peak, arena.peak);
    bound = Math.max(bound, liveBound(intervals));
    for (const { interval, name, ...b } of plan.buffers)
      buffers.push({ name, memory: MEMORY, offset: at + arena.offsets.get(name)!, ...b });
  }
  const stateBytes = buffers
    .filter((b) => b.role === 'state' || b.role === 'constant')
    .reduce((n, b) => n + b.bytes, 0);
  const entries = [...kernels.values()];
  return {
    kernels: entries.map((e) => e.kernel),
    program: {
      name: module.name,
      target: 'wasm',
      memories: [{ name: MEMORY, bytes: at + peak }],
      buffers,
      kernels: entries.map((e) => e.info),
      functions: plans.map((p) => toFunction(p)),
      plan: { peak: at + peak, liveBound: stateBytes + bound },
    },
  };
}

function describe(kernel: Kernel, region?: Region): KernelInfo {
  const from = userLoc(region?.anchor?.loc ?? kernel.loc);
  return {
    name: kernel.name,
    grid: 1,
    scratch: 0,
    flops: kernel.flops,
    bytes: kernel.bytes,
    computes: region ? countOps(region) : [],
    source: from ? printLoc(from) : '',
    stopped: region?.stopped ?? '',
  };
}

/** `conv`, `add x2`: the ops of a region, in the order in which they first appear. */
function countOps(region: Region): string[] {
  const counts = new Map<string, number>();
  for (const n of region.nodes) counts.set(n.op, (counts.get(n.op) ?? 0) + 1);
  return [...counts].map(([op, n]) => (n > 1 ? `${op} x${n}` : op));
}

function planFunction(
  func: Func,
  fused: Fused,
  states: ReadonlySet<string>,
  kernelFor: (r: Region) => Kernel,
  copyKernel: (v: Value) => Kernel,
): FunctionPlan {
  const { regions, aliasOf } = fused;
  const root = rootOf(aliasOf);
  const storage = placeState(func, regions, aliasOf);
  const reads = new Set<Value>(func.reads);
  const last = new Map<Value, number>();
  const first = new Map<Value, number>();
  const end = regions.length + storage.copies.length;
  for (const v of func.inputs) first.set(v, -1);
  regions.forEach((region, at) => {
    for (const v of region.inputs) last.set(root(v), at);
    for (const v of region.outputs) {
      first.set(v, at);
      if (!last.has(v)) last.set(v, at);
    }
  });
  for (const o of func.outputs) last.set(root(o.value), end);
  for (const c of storage.copies) last.set(root(c.from), end);

  const bufferName = (v: Value): string => {
    const r = root(v);
    if (reads.has(r)) return r.name;
    const state = storage.inState.get(r);
    if (state !== undefined) return state;
    let name = `${func.name}.${r.name}`;
    // A weight may be called `train.x`.
    while (states.has(name)) name += "'";
    return name;
  };
  const outputs = new Set(func.outputs.map((o) => root(o.value)));
  const inputs = new Set<Value>(func.inputs);
  const buffers = [...first].flatMap(([v, from]) => {
    if (root(v) !== v || storage.inState.has(v)) return [];
    const name = bufferName(v);
    const bytes = storedBytes(v.type);
    const role: Buffer['role'] = inputs.has(v) ? 'input' : outputs.has(v) ? 'output' : 'transient';
    const { dtype, layout } = v.type;
    const interval = { name, bytes, from, to: last.get(v) ?? from };
    return [{ name, dtype, layout, shape: concrete(v.type.shape), bytes, role, interval }];
  });

  const step = (kernel: Kernel, index: number, args: readonly string[]): Step => ({
    slot: `s${index}`,
    variants: [{ kernel: kernel.name, requires: { features: ['simd128'], limits: {} }, cost: modelledCost(kernel) }],
    args,
  });
  const steps: { step: Step; guard?: string }[] = regions.map((region, at) => ({
    step: step(kernelFor(region), at, [...region.inputs, ...region.outputs].map(bufferName)),
    guard: region.guard,
  }));
  for (const c of storage.copies) {
    steps.push({ step: step(copyKernel(c.from), steps.length, [bufferName(c.from), c.state]) });
  }
  return { func, steps, buffers, bufferName };
}

function toFunction(plan: FunctionPlan): ProgramFunction {
  const segments: { name: string; guard?: string; steps: Step[] }[] = [];
  for (const { step, guard } of plan.steps) {
    const current = segments[segments.length - 1];
    if (current && current.guard === guard) current.steps.push(step);
    else
      segments.push({
        name: guard ?? `always.${segments.length}`,
        ...(guard === undefined ? {} : { guard }),
        steps: [step],
      });
  }
  const { name, inputs, outputs } = plan.func;
  return {
    name,
    inputs: inputs.map((v) => ({ name: v.name, buffer: plan.bufferName(v) })),
    outputs: outputs.map((o) => ({ name: o.name, buffer: plan.bufferName(o.value) })),
    segments: segments as Segment[],
  };
}
