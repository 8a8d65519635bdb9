/**
 * Module after fusion -> Program: every region becomes a step, equal regions share a kernel, every value gets a buffer, and
 * consecutive steps with one guard become a segment. Buffers lie in one memory of a CPU, or in several of a GPU, which also
 * binds them as it must. What follows from the printed kernel (grid, scratch) is filled in by the target.
 */
import type { Func, Module, Value } from '../../ir/graph.js';
import { i32, type Kernel, load, loop, ref, store } from '../../ir/kernel.js';
import { type Loc, printLoc, userLoc } from '../../ir/loc.js';
import type { Buffer, KernelInfo, Memory, Program, ProgramFunction, Segment, Step } from '../../ir/program.js';
import { bytesPerElement, concrete, type DType, storedBytes, storedCount } from '../../ir/types.js';
import type { Region } from '../kernels/region.js';
import { precedence } from '../kernels/schedule.js';
import { placeInArenas, type Unplaced } from './arenas.js';
import { Binder } from './bindings.js';
import { align, type Interval, liveBound, planArena } from './memory-plan.js';
import { regionKey } from './region-key.js';
import { groupSmall, joinKernels } from './small-steps.js';
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

interface PlannedStep {
  readonly kernel: Kernel;
  readonly args: readonly string[];
  readonly source: string;
  readonly guard?: string;
}

interface FunctionPlan {
  readonly func: Func;
  readonly bufferName: (v: Value) => string;
  readonly steps: readonly PlannedStep[];
  readonly buffers: readonly (Unplaced & { readonly interval: Interval })[];
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
      body: [
        loop(target === 'wasm' ? 'vector' : 'grid', 'i', i32(length), [store('p1', ref('i'), load('p0', ref('i')))]),
      ],
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
    const infos = members.map(({ region }, i) => describe(own[i].kernel, region));
    const info = {
      ...infos[0],
      ...describe(kernel),
      computes: [...new Set(infos.flatMap((n) => n.computes))],
      source: infos[0].source,
      stopped: `${members.length} small steps in one workgroup`,
    };
    kernels.set(key, { kernel, info });
    return { kernel, args, source };
  };

  const states = new Set(module.state.map((s) => s.name));
  const plans = module.functions.map((func) => {
    const group: Kernels['group'] = ({ regions, aliasOf }) =>
      target === 'wasm' ? regions.map((r) => [r]) : groupSmall(regions, precedence(func, regions, aliasOf), kernelFor);
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
            steps: steps.map(({ kernel, args }) => ({ args, writes: kernel.params.map((p) => p.access !== 'read') })),
            buffers,
          })),
        );
  const infos = new Map([...kernels.values()].map((e) => [e.kernel, e.info]));
  const binder = target === 'wasm' ? undefined : new Binder(new Map(placement.buffers.map((b) => [b.name, b])));
  const finished = new Map<Kernel, KernelInfo>();
  const functions = plans.map((plan, n) =>
    toFunction(plan, placement.waves?.[n], ({ kernel, args, source }, index) => {
      const bound = binder?.bind(kernel, args) ?? { kernel, args };
      finished.set(bound.kernel, { ...infos.get(kernel)!, name: bound.kernel.name });
      const requires = target === 'wasm' ? { features: ['simd128'], limits: {} } : { features: [], limits: {} };
      return {
        slot: `s${index}`,
        variants: [{ kernel: bound.kernel.name, requires, cost: modelledCost(kernel, target) }],
        args: bound.args,
        source,
      };
    }),
  );
  const peak = placement.memories.reduce((n, m) => n + m.bytes, 0);
  const stateBytes = state.reduce((n, s) => n + s.buffer.bytes, 0);
  const bound = Math.max(0, ...plans.map((p) => liveBound(p.buffers.map((b) => b.interval))));
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
  for (const { name, ...b } of state) {
    buffers.push({ name, memory: MEMORY, offset: at, ...b });
    at += align(b.bytes);
  }
  let peak = 0;
  for (const plan of plans) {
    const arena = planArena(plan.buffers.map((b) => b.interval));
    peak = Math.max(peak, arena.peak);
    for (const { interval: _, name, ...b } of plan.buffers)
      buffers.push({ name, memory: MEMORY, offset: at + arena.offsets.get(name)!, ...b });
  }
  return { memories: [{ name: MEMORY, bytes: at + peak }], buffers };
}

function printSource(loc: Loc): string {
  const from = userLoc(loc);
  return from ? printLoc(from) : '';
}

const sourceOf = ({ anchor, nodes }: Region): string => printSource((anchor ?? nodes[nodes.length - 1]).loc);

function describe(kernel: Kernel, region?: Region): KernelInfo {
  return {
    name: kernel.name,
    grid: 1,
    scratch: 0,
    access: [],
    flops: kernel.flops,
    bytes: kernel.bytes,
    computes: region ? countOps(region) : [],
    source: printSource(region?.anchor?.loc ?? kernel.loc),
    stopped: region?.stopped ?? '',
  };
}

/** `conv`, `add x2`: the ops of a region, in the order in which they first appear. */
function countOps(region: Region): string[] {
  const counts = new Map<string, number>();
  for (const n of region.nodes) counts.set(n.op, (counts.get(n.op) ?? 0) + 1);
  return [...counts].map(([op, n]) => (n > 1 ? `${op} x${n}` : op));
}

/** What a function's plan asks for. */
interface Kernels {
  readonly kernelFor: (region: Region) => Kernel;
  readonly copyKernel: (value: Value) => Kernel;
  /** Regions in an order in which they can run; those of a group are one step. */
  readonly group: (fused: Fused) => readonly (readonly Region[])[];
  readonly joined: (members: readonly { readonly region: Region; readonly args: readonly string[] }[]) => PlannedStep;
}

function planFunction(
  func: Func,
  fused: Fused,
  states: ReadonlySet<string>,
  { kernelFor, copyKernel, joined, group }: Kernels,
): FunctionPlan {
  const { aliasOf } = fused;
  const groups = group(fused);
  const regions = groups.flat();
  const root = rootOf(aliasOf);
  const storage = placeState(func, regions, aliasOf);
  const reads = new Set<Value>(func.reads);
  const last = new Map<Value, number>();
  const first = new Map<Value, number>();
  const end = groups.length + storage.copies.length;
  for (const v of func.inputs) first.set(v, -1);
  groups.forEach((members, at) => {
    for (const region of members) {
      for (const v of region.inputs) last.set(root(v), at);
      for (const v of region.outputs) {
        first.set(v, at);
        if (!last.has(v)) last.set(v, at);
      }
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
  const buffers: (Unplaced & { readonly interval: Interval })[] = [...first].flatMap(([v, from]) => {
    if (root(v) !== v || storage.inState.has(v)) return [];
    const name = bufferName(v);
    const bytes = storedBytes(v.type);
    const role: Buffer['role'] = inputs.has(v) ? 'input' : outputs.has(v) ? 'output' : 'transient';
    const { dtype, layout } = v.type;
    const interval = { name, bytes, from, to: last.get(v) ?? from };
    return [{ name, dtype, layout, shape: concrete(v.type.shape), bytes, role, interval }];
  });

  const steps = groups.map((members, at): PlannedStep => {
    const [region] = members;
    const argsOf = (r: Region): string[] => [...r.inputs, ...r.outputs].map(bufferName);
    if (members.length > 1)
      return { ...joined(members.map((r) => ({ region: r, args: argsOf(r) }))), guard: region.guard };
    const kernel = kernelFor(region);
    const args = argsOf(region);
    const scratch = kernel.params.slice(args.length).map((p) => {
      const name = `${func.name}.s${at}.${p.name}`;
      const bytes = p.length * bytesPerElement[p.type];
      const interval = { name, bytes, from: at, to: at };
      const dtype: DType = p.type;
      buffers.push({ name, dtype, layout: 'dense', shape: [p.length], bytes, role: 'transient', interval });
      return name;
    });
    return { kernel, args: [...args, ...scratch], source: sourceOf(region), guard: region.guard };
  });
  const copies = storage.copies.map(
    (c): PlannedStep => ({
      kernel: copyKernel(c.from),
      args: [bufferName(c.from), c.state],
      source: printSource(c.from.loc),
    }),
  );
  return { func, steps: [...steps, ...copies], buffers, bufferName };
}

function toFunction(
  plan: FunctionPlan,
  waves: number | undefined,
  makeStep: (planned: PlannedStep, index: number) => Step,
): ProgramFunction {
  const segments: { name: string; guard?: string; steps: Step[] }[] = [];
  for (const [index, planned] of plan.steps.entries()) {
    const { guard } = planned;
    const step = makeStep(planned, index);
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
    ...(waves !== undefined && { waves }),
    inputs: inputs.map((v) => ({ name: v.name, buffer: plan.bufferName(v) })),
    outputs: outputs.map((o) => ({ name: o.name, buffer: plan.bufferName(o.value) })),
    segments: segments as Segment[],
  };
}
