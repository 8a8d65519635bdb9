/**
 * Module after fusion -> Program: every region becomes a step, equal regions share a kernel, every value gets a buffer, and
 * consecutive steps with one guard become a segment. Buffers lie in one memory of a CPU, or in several of a GPU, which also
 * binds them as it must. What follows from the printed kernel (grid, scratch, what it requires) is filled in by the target.
 */
import type { Func, Module, Node, Value } from '../../ir/graph.js';
import { i32, type Kernel, load, loop, ref, store } from '../../ir/kernel.js';
import type { Buffer, KernelInfo, Memory, Program, ProgramFunction, Segment, Step } from '../../ir/program.js';
import { concrete, storedBytes, storedCount } from '../../ir/types.js';
import type { Region } from '../kernels/region.js';
import { precedence } from '../kernels/schedule.js';
import { placeInArenas, type Unplaced, withPlace } from './arenas.js';
import { Binder } from './bindings.js';
import { type BatchOptions, type BatchPlan, batchInverses, lowerBatch } from './inverse-batches.js';
import { align, liveBound, planArena } from './memory-plan.js';
import {
  type FunctionPlan,
  type Fused,
  type Kernels,
  type PlannedStep,
  planFunction,
  printSource,
  sourceOf,
} from './plan-function.js';
import { RegionKeys } from './region-key.js';
import { groupSmall, joinKernels } from './small-steps.js';

export type { Fused } from './plan-function.js';

export interface Assembled {
  readonly program: Program;
  /** In the order of program.kernels. */
  readonly kernels: readonly Kernel[];
}

const MEMORY = 'main';

type Target = Program['target'];

/** FLOP/s and bytes/s of one core and of a large GPU: whichever binds gives the modelled seconds. A ranking, not a promise. */
const reference: Record<Target, { readonly flops: number; readonly bytes: number }> = {
  wasm: { flops: 40e9, bytes: 20e9 },
  webgpu: { flops: 20e12, bytes: 2e12 },
};

const modelledCost = (kernel: Kernel, target: Target): number =>
  Math.max(kernel.flops / reference[target].flops, kernel.bytes / reference[target].bytes);

export function assemble(
  module: Module,
  fuse: (func: Func) => Fused,
  lower: (region: Region, name: string) => Kernel,
  target: Target = 'wasm',
  inverses: BatchOptions = {},
): Assembled {
  const kernels = new Map<string, { kernel: Kernel; info: KernelInfo }>();
  const keys = new RegionKeys();
  const byKey: Kernel[] = [];

  const kernelFor = (region: Region): Kernel => {
    const key = keys.keyOf(region);
    let kernel: Kernel | undefined = byKey[key];
    if (!kernel) {
      const hint = region.anchor?.op ?? 'pointwise';
      kernel = lower(region, `k${kernels.size}_${hint}`);
      byKey[key] = kernel;
      kernels.set(kernel.name, { kernel, info: describe(kernel, target, region) });
    }
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
      body: [
        loop(target === 'wasm' ? 'vector' : 'grid', 'i', i32(length), [store('p1', ref('i'), load('p0', ref('i')))]),
      ],
      workgroup: 64,
      flops: 0,
      bytes: 2 * storedBytes(value.type),
      loc: value.loc,
    };
    const info = {
      ...describe(kernel, target),
      computes: ['copy'],
      stopped: 'state is still read after its new value is known',
    };
    kernels.set(key, { kernel, info });
    return kernel;
  };

  const joined: Kernels['joined'] = (members) => {
    const own = members.map(({ region, args }) => ({ kernel: kernelFor(region), args }));
    const places = new Map<string, number>();
    const pattern = own.map(({ kernel, args }) => {
      for (const a of args) if (!places.has(a)) places.set(a, places.size);
      return `${kernel.name} ${args.map((a) => places.get(a))}`;
    });
    const key = `small ${pattern.join(' ')}`;
    const known = kernels.get(key);
    const source = sourceOf(members[0].region);
    if (known) return { kernel: known.kernel, args: [...places.keys()], source };
    const { kernel, args } = joinKernels(own, `k${kernels.size}_small`);
    const infos = members.map(({ region }, i) => describe(own[i].kernel, target, region));
    const info = {
      ...infos[0],
      ...describe(kernel, target),
      computes: [...new Set(infos.flatMap((n) => n.computes))],
      source: infos[0].source,
      stopped: `${members.length} small steps in one workgroup`,
    };
    kernels.set(key, { kernel, info });
    return { kernel, args, source };
  };

  const batchOf = (regions: readonly Region[]): BatchPlan => {
    const plan = lowerBatch(regions, `k${kernels.size}_damped_inverse`, inverses);
    const info = describe(plan.rounds[0].kernels[0], target, regions[0]);
    const computes = countOps(regions.flatMap((r) => r.nodes));
    for (const kernel of new Set(plan.rounds.flatMap((r) => r.kernels))) {
      const { name, flops, bytes } = kernel;
      const cost = modelledCost(kernel, target);
      const stopped = `inverses of ${regions.length} statistics share it`;
      kernels.set(name, { kernel, info: { ...info, name, flops, bytes, cost, computes, stopped } });
    }
    return plan;
  };

  const states = new Set(module.state.map((s) => s.name));
  const plans = module.functions.map((func) => {
    const group: Kernels['group'] = ({ regions, aliasOf }) => {
      if (target === 'wasm') return regions.map((r) => ({ regions: [r] }));
      const batched = batchInverses(regions, precedence(func, regions, aliasOf), inverses);
      const { batches } = batched;
      return groupSmall(batched.regions, batched.before, kernelFor, (r) => batches.has(r)).map((members) => {
        const inBatch = batches.get(members[0]);
        return inBatch ? { regions: inBatch, batch: batchOf(inBatch) } : { regions: members };
      });
    };
    return planFunction(func, fuse(func), states, { kernelFor, copyKernel, joined, group });
  });

  const state = module.state.map((entry) => {
    const { dtype, layout } = entry.type;
    const buffer: Unplaced = {
      name: entry.name,
      dtype,
      layout,
      shape: concrete(entry.type.shape),
      bytes: storedBytes(entry.type),
      role: entry.role === 'constant' ? 'constant' : 'state',
    };
    return { buffer, curvature: ['factor', 'inverse', 'history', 'accumulator'].includes(entry.role) };
  });
  const placement: { memories: readonly Memory[]; buffers: readonly Buffer[]; waves?: readonly number[] } =
    target === 'wasm'
      ? placeInOne(
          state.map((s) => s.buffer),
          plans,
        )
      : placeInArenas(
          state,
          plans.map(({ steps, buffers }) => ({
            steps: steps.map(({ kernel, args, round }) => ({
              args,
              writes: kernel.params.map((p) => p.access !== 'read'),
              times: round?.times ?? 1,
            })),
            buffers,
          })),
        );
  const infos = new Map([...kernels.values()].map((e) => [e.kernel, e.info]));
  const binder = target === 'wasm' ? undefined : new Binder(new Map(placement.buffers.map((b) => [b.name, b])));
  const finished = new Map<Kernel, KernelInfo>();
  const functions = plans.map((plan, n) =>
    toFunction(plan, placement.waves?.[n], ({ kernel, args, source }, index) => {
      const bound = binder?.bind(kernel, args) ?? { kernel, args };
      if (!finished.has(bound.kernel)) finished.set(bound.kernel, { ...infos.get(kernel)!, name: bound.kernel.name });
      return { slot: `s${index}`, variants: [bound.kernel.name], args: bound.args, source };
    }),
  );
  const peak = placement.memories.reduce((n, m) => n + m.bytes, 0);
  const stateBytes = state.reduce((n, s) => n + s.buffer.bytes, 0);
  const bound = Math.max(0, ...plans.map((p) => liveBound(p.buffers)));
  return {
    kernels: [...finished.keys()],
    program: {
      name: module.name,
      target,
      memories: placement.memories,
      buffers: [...placement.buffers, ...(binder?.windows ?? [])],
      kernels: [...finished.values()],
      functions,
      plan: {
        peak,
        liveBound: stateBytes + bound,
      },
    },
  };
}

/** State first, for good; then one arena for the transients of whichever function runs. */
function placeInOne(
  state: readonly Unplaced[],
  plans: readonly FunctionPlan[],
): { memories: readonly Memory[]; buffers: readonly Buffer[] } {
  const buffers: Buffer[] = [];
  let at = 0;
  for (const b of state) {
    buffers.push(withPlace(b, MEMORY, at));
    at += align(b.bytes);
  }
  let peak = 0;
  for (const plan of plans) {
    const arena = planArena(plan.buffers);
    peak = Math.max(peak, arena.peak);
    for (let i = 0; i < plan.buffers.length; i++)
      buffers.push(withPlace(plan.buffers[i], MEMORY, at + arena.offsets[i]));
  }
  return { memories: [{ name: MEMORY, bytes: at + peak }], buffers };
}

function describe(kernel: Kernel, target: Target, region?: Region): KernelInfo {
  return {
    name: kernel.name,
    grid: 1,
    scratch: 0,
    access: [],
    flops: kernel.flops,
    bytes: kernel.bytes,
    cost: modelledCost(kernel, target),
    requires: { features: [], limits: {} },
    computes: region ? countOps(region.nodes) : [],
    source: printSource(region?.anchor?.loc ?? kernel.loc),
    stopped: region?.stopped ?? '',
  };
}

/** `conv`, `add x2`: the ops of nodes, in the order in which they first appear. */
function countOps(nodes: readonly Node[]): string[] {
  const counts = new Map<string, number>();
  for (const n of nodes) counts.set(n.op, (counts.get(n.op) ?? 0) + 1);
  return [...counts].map(([op, n]) => (n > 1 ? `${op} x${n}` : op));
}

function toFunction(
  plan: FunctionPlan,
  waves: number | undefined,
  makeStep: (planned: PlannedStep, index: number) => Step,
): ProgramFunction {
  const segments: { name: string; guard?: string; repeat?: number; steps: Step[] }[] = [];
  let last: PlannedStep | undefined;
  for (let index = 0; index < plan.steps.length; index++) {
    const planned = plan.steps[index];
    const { guard, round } = planned;
    const step = makeStep(planned, index);
    const times = round?.times ?? 1;
    const goesOn = last && last.guard === guard && (last.round === round || (last.round?.times ?? 1) * times === 1);
    if (goesOn) segments[segments.length - 1].steps.push(step);
    else
      segments.push({
        name: guard ?? `always.${segments.length}`,
        ...(guard !== undefined && { guard }),
        ...(times > 1 && { repeat: times }),
        steps: [step],
      });
    last = planned;
  }
  const { name, inputs, outputs } = plan.func;
  return {
    name,
    ...(waves !== undefined && { waves }),
    inputs: inputs.map((v) => ({ name: v.name, buffer: plan.bufferName(v) })),
    outputs: outputs.map((o) => ({ name: o.name, buffer: plan.bufferName(o.value) })),
    ...(plan.batches.length > 0 && { batches: plan.batches }),
    segments: segments as Segment[],
  };
}
