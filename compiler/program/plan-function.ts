/**
 * The steps of a function, and the buffers that they take: a region or a group of small ones is a step, a batch of inverses a row
 * of them, and a copy at the end moves what could not be written into its state at once. Each buffer has the interval of steps in
 * which its bytes must last.
 */
import type { Func, Value } from '../../ir/graph.js';
import type { Kernel } from '../../ir/kernel.js';
import { type Loc, printLoc, userLoc } from '../../ir/loc.js';
import type { Batch, Buffer } from '../../ir/program.js';
import { bytesPerElement, concrete, type DType, storedBytes } from '../../ir/types.js';
import { ValueMap } from '../../ir/value-map.js';
import { DUE } from '../kernels/gpu/inverse-batch.js';
import type { Round } from '../kernels/gpu/inverse-wide.js';
import type { Aliases } from '../kernels/grow.js';
import type { Region } from '../kernels/region.js';
import type { PlannedBuffer } from './arenas.js';
import type { BatchPlan } from './inverse-batches.js';
import { placeState, rootOf } from './storage.js';

export interface Fused {
  readonly regions: readonly Region[];
  /** Values that share the bytes of another: reshapes, and refreshed state. */
  readonly aliasOf: Aliases;
}

export interface PlannedStep {
  readonly kernel: Kernel;
  readonly args: readonly string[];
  readonly source: string;
  readonly guard?: string;
  /** Steps of one round are repeated together. */
  readonly round?: Round;
}

/** Regions that become steps together. */
export interface Group {
  readonly regions: readonly Region[];
  /** Inverses that share their steps, whatever their guards. */
  readonly batch?: BatchPlan;
}

export interface FunctionPlan {
  readonly func: Func;
  readonly bufferName: (v: Value) => string;
  readonly steps: readonly PlannedStep[];
  readonly batches: readonly Batch[];
  readonly buffers: readonly PlannedBuffer[];
}

export function printSource(loc: Loc): string {
  const from = userLoc(loc);
  return from ? printLoc(from) : '';
}

export const sourceOf = ({ anchor, nodes }: Region): string => printSource((anchor ?? nodes[nodes.length - 1]).loc);

/** What a function's plan asks for. */
export interface Kernels {
  readonly kernelFor: (region: Region) => Kernel;
  readonly copyKernel: (value: Value) => Kernel;
  /** Regions in an order in which they can run. */
  readonly group: (fused: Fused) => readonly Group[];
  readonly joined: (members: readonly { readonly region: Region; readonly args: readonly string[] }[]) => PlannedStep;
}

export function planFunction(
  func: Func,
  fused: Fused,
  states: ReadonlySet<string>,
  { kernelFor, copyKernel, joined, group }: Kernels,
): FunctionPlan {
  const { aliasOf } = fused;
  const groups = group(fused);
  const regions = groups.flatMap((g) => g.regions);
  const root = rootOf(aliasOf);
  const storage = placeState(func, regions, aliasOf);
  const last = new ValueMap<number>();
  /** What has bytes of its own, unless it is an alias or state; and the first step in which each must last. */
  const made: Value[] = [...func.inputs];
  const since: number[] = made.map(() => -1);
  /** By group: its first step; behind them, the first copy. */
  const begins = new Int32Array(groups.length + 1);
  for (let g = 0; g < groups.length; g++) {
    const { regions: members, batch } = groups[g];
    begins[g + 1] = begins[g] + (batch ? batch.rounds.reduce((n, r) => n + r.kernels.length, 0) : 1);
    const to = begins[g + 1] - 1;
    for (let m = 0; m < members.length; m++) {
      const { inputs, outputs } = members[m];
      for (let i = 0; i < inputs.length; i++) last.set(root(inputs[i]), to);
      for (let i = 0; i < outputs.length; i++) {
        made.push(outputs[i]);
        since.push(begins[g]);
        if (last.get(outputs[i]) === undefined) last.set(outputs[i], to);
      }
    }
  }
  const end = begins[groups.length] + storage.copies.length;
  for (const o of func.outputs) last.set(root(o.value), end);
  for (const c of storage.copies) last.set(root(c.from), end);

  const reads = new ValueMap<true>();
  for (let i = 0; i < func.reads.length; i++) reads.set(func.reads[i], true);
  const nameOf = (r: Value): string => {
    if (reads.has(r)) return r.name;
    const state = storage.inState.get(r);
    if (state !== undefined) return state;
    let name = `${func.name}.${r.name}`;
    // A weight may be called `train.x`.
    while (states.has(name)) name += "'";
    return name;
  };
  const names = new ValueMap<string>();
  const bufferName = (v: Value): string => {
    let name = names.get(v);
    if (name === undefined) {
      name = nameOf(root(v));
      names.set(v, name);
    }
    return name;
  };
  const outputs = new Set(func.outputs.map((o) => root(o.value)));
  const buffers: PlannedBuffer[] = [];
  for (let i = 0; i < made.length; i++) {
    const v = made[i];
    if (aliasOf.get(v) || storage.inState.has(v)) continue;
    const from = since[i];
    const role: Buffer['role'] = from < 0 ? 'input' : outputs.has(v) ? 'output' : 'transient';
    const { dtype, layout } = v.type;
    const [shape, bytes] = [concrete(v.type.shape), storedBytes(v.type)];
    buffers.push({ name: bufferName(v), dtype, layout, shape, bytes, role, from, to: last.get(v) ?? from });
  }

  /** A buffer of the function's own. */
  const own = (
    name: string,
    dtype: DType,
    length: number,
    role: Buffer['role'],
    { from, to }: { readonly from: number; readonly to: number },
  ) => {
    const bytes = length * bytesPerElement[dtype];
    buffers.push({ name, dtype, layout: 'dense', shape: [length], bytes, role, from, to });
    return name;
  };
  const batches: Batch[] = [];
  const batchSteps = (
    regions: readonly Region[],
    plan: BatchPlan,
    span: { from: number; to: number },
  ): PlannedStep[] => {
    const guard = `due(inverses.${batches.length})`;
    const buffer = own(`${func.name}.due.${batches.length}`, 'i32', regions.length, 'input', { from: -1, to: span.to });
    batches.push({ guard, of: regions.map((r) => r.guard!), buffer });
    const scratch = new Map(
      plan.scratch.map((p) => [
        p.name,
        own(`${func.name}.s${span.from}.${p.name}`, p.type, p.length, 'transient', span),
      ]),
    );
    const argument = (param: string): string => {
      const value = plan.batch.valueOf(param);
      return value ? bufferName(value) : param === DUE ? buffer : scratch.get(param)!;
    };
    return plan.rounds.flatMap((round) =>
      round.kernels.map((kernel) => ({
        kernel,
        args: kernel.params.map((p) => argument(p.name)),
        source: sourceOf(regions[0]),
        guard,
        round,
      })),
    );
  };
  const argsOf = ({ inputs, outputs }: Region): string[] => {
    const args: string[] = [];
    for (let i = 0; i < inputs.length; i++) args.push(bufferName(inputs[i]));
    for (let i = 0; i < outputs.length; i++) args.push(bufferName(outputs[i]));
    return args;
  };
  const steps: PlannedStep[] = [];
  for (let g = 0; g < groups.length; g++) {
    const { regions: members, batch } = groups[g];
    const [region] = members;
    const from = begins[g];
    if (batch) steps.push(...batchSteps(members, batch, { from, to: begins[g + 1] - 1 }));
    else if (members.length > 1)
      steps.push({ ...joined(members.map((r) => ({ region: r, args: argsOf(r) }))), guard: region.guard });
    else {
      const kernel = kernelFor(region);
      const args = argsOf(region);
      for (let i = args.length; i < kernel.params.length; i++) {
        const { name, type, length } = kernel.params[i];
        args.push(own(`${func.name}.s${from}.${name}`, type, length, 'transient', { from, to: from }));
      }
      steps.push({ kernel, args, source: sourceOf(region), guard: region.guard });
    }
  }
  for (const { from, state } of storage.copies)
    steps.push({ kernel: copyKernel(from), args: [bufferName(from), state], source: printSource(from.loc) });
  return { func, steps, batches, buffers, bufferName };
}
