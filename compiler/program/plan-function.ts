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
import type { Unplaced } from './arenas.js';
import type { BatchPlan } from './inverse-batches.js';
import type { Interval } from './memory-plan.js';
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
  readonly buffers: readonly (Unplaced & { readonly interval: Interval })[];
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
  const reads = new Set<Value>(func.reads);
  const last = new ValueMap<number>();
  /** Values with bytes of their own, unless they are aliases or state, each with the first step in which they must last. */
  const made: { readonly value: Value; readonly from: number }[] = [];
  let count = 0;
  const spans = groups.map(({ batch }) => {
    const from = count;
    count += batch ? batch.rounds.reduce((n, r) => n + r.kernels.length, 0) : 1;
    return { from, to: count - 1 };
  });
  const end = count + storage.copies.length;
  for (const value of func.inputs) made.push({ value, from: -1 });
  groups.forEach(({ regions: members }, g) => {
    const { from, to } = spans[g];
    for (const region of members) {
      for (const v of region.inputs) last.set(root(v), to);
      for (const v of region.outputs) {
        made.push({ value: v, from });
        if (last.get(v) === undefined) last.set(v, to);
      }
    }
  });
  for (const o of func.outputs) last.set(root(o.value), end);
  for (const c of storage.copies) last.set(root(c.from), end);

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
  const inputs = new Set<Value>(func.inputs);
  const buffers: (Unplaced & { readonly interval: Interval })[] = [];
  for (const { value: v, from } of made) {
    if (aliasOf.get(v) || storage.inState.has(v)) continue;
    const name = bufferName(v);
    const bytes = storedBytes(v.type);
    const role: Buffer['role'] = inputs.has(v) ? 'input' : outputs.has(v) ? 'output' : 'transient';
    const { dtype, layout } = v.type;
    const interval = { name, bytes, from, to: last.get(v) ?? from };
    buffers.push({ name, dtype, layout, shape: concrete(v.type.shape), bytes, role, interval });
  }

  /** A buffer of the function's own. */
  const own = (
    name: string,
    dtype: DType,
    length: number,
    role: Buffer['role'],
    span: Omit<Interval, 'name' | 'bytes'>,
  ) => {
    const bytes = length * bytesPerElement[dtype];
    buffers.push({ name, dtype, layout: 'dense', shape: [length], bytes, role, interval: { name, bytes, ...span } });
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
  const steps = groups.flatMap(({ regions: members, batch }, g): PlannedStep[] => {
    if (batch) return batchSteps(members, batch, spans[g]);
    const [region] = members;
    const at = spans[g].from;
    const argsOf = (r: Region): string[] => [...r.inputs, ...r.outputs].map(bufferName);
    if (members.length > 1)
      return [{ ...joined(members.map((r) => ({ region: r, args: argsOf(r) }))), guard: region.guard }];
    const kernel = kernelFor(region);
    const args = argsOf(region);
    const scratch = kernel.params
      .slice(args.length)
      .map((p) => own(`${func.name}.s${at}.${p.name}`, p.type, p.length, 'transient', { from: at, to: at }));
    return [{ kernel, args: [...args, ...scratch], source: sourceOf(region), guard: region.guard }];
  });
  const copies = storage.copies.map(
    (c): PlannedStep => ({
      kernel: copyKernel(c.from),
      args: [bufferName(c.from), c.state],
      source: printSource(c.from.loc),
    }),
  );
  return { func, steps: [...steps, ...copies], batches, buffers, bufferName };
}
