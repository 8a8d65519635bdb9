/**
 * Small steps share a dispatch on a GPU. Starting a kernel costs microseconds, and a graph of training is full of kernels that
 * compute a scalar or a short row: consecutive ones become one kernel of one workgroup, which does the work of each in order.
 * Which regions wait for others is kept; barriers follow from what they read and write, as in any kernel.
 */
import { i32, type Kernel, type KernelParam, letI, loop, type Stmt } from '../../ir/kernel.js';
import { when } from '../kernels/contraction-tile.js';
import { THREADS } from '../kernels/gpu/reduction.js';
import { joinParameters } from '../kernels/parameters.js';
import type { Region } from '../kernels/region.js';
import type { Precedence } from '../kernels/schedule.js';

/**
 * What one workgroup does in about the time that a dispatch takes to start, some microseconds at about 100 GB/s; and what all
 * members together may take before other workgroups should share it.
 */
const SMALL_BYTES = 288 * 1024;
const SMALL_FLOPS = 512 * 1024;
const MOST_BYTES = 2 ** 20;
const MOST_MEMBERS = 24;

/** Whether one workgroup can do all of the kernel's work: its threads share elements, or work as the kernel's own would. */
function isSmall(kernel: Kernel): boolean {
  if (kernel.bytes > SMALL_BYTES || kernel.flops > SMALL_FLOPS) return false;
  const [grid, ...others] = kernel.body.filter((s) => s.kind !== 'let' && s.kind !== 'alloc');
  if (grid?.kind !== 'for' || grid.bind !== 'grid' || others.length > 0) return false;
  return kernel.workgroup === THREADS || !cooperates(grid.body);
}

function cooperates(body: readonly Stmt[]): boolean {
  return body.some((s) => {
    if (s.kind === 'for') return s.bind === 'lane' || s.bind === 'group' || cooperates(s.body);
    return s.kind === 'if' && (cooperates(s.then) || cooperates(s.else));
  });
}

/**
 * Regions in an order in which they can run, small ones of one guard together.
 * @param regions in an order in which they can run
 * @param alone regions that share nothing
 */
export function groupSmall(
  regions: readonly Region[],
  before: Precedence,
  kernelOf: (region: Region) => Kernel,
  alone: (region: Region) => boolean = () => false,
): (readonly Region[])[] {
  const out: (readonly Region[])[] = [];
  // Groups that still take members; none of them waits for another.
  const open = new Map<string, { readonly regions: Region[]; readonly places: number[]; bytes: number }>();
  const close = (guard: string): void => {
    const group = open.get(guard);
    if (group) out.push(group.regions);
    open.delete(guard);
  };
  for (const [place, region] of regions.entries()) {
    const waits = new Set(before[place]);
    const guard = region.guard ?? '';
    const kernel = alone(region) ? undefined : kernelOf(region);
    const small = kernel !== undefined && isSmall(kernel);
    for (const [other, { places }] of [...open])
      if (!(small && other === guard) && places.some((p) => waits.has(p))) close(other);
    if (!small) {
      out.push([region]);
      continue;
    }
    // A kernel with scratch memory fills a group: what joins steps gives them none.
    const scratch = kernel.params.length > region.inputs.length + region.outputs.length;
    const bytes = scratch ? MOST_BYTES : kernel.bytes;
    const full = (open.get(guard)?.bytes ?? 0) + bytes > MOST_BYTES;
    if (full) close(guard);
    const group = open.get(guard) ?? { regions: [], places: [], bytes: 0 };
    group.regions.push(region);
    group.places.push(place);
    group.bytes += bytes;
    open.set(guard, group);
    if (group.regions.length === MOST_MEMBERS) close(guard);
  }
  for (const guard of [...open.keys()]) close(guard);
  return out;
}

export interface Member {
  readonly kernel: Kernel;
  /** The buffer of each parameter. */
  readonly args: readonly string[];
}

/** One kernel of one workgroup for all members, and its buffers: each once. */
export function joinKernels(members: readonly Member[], name: string): { kernel: Kernel; args: readonly string[] } {
  const params = new Map<string, KernelParam>();
  for (const { kernel, args } of members)
    kernel.params.forEach((p, i) => {
      const known = params.get(args[i]);
      const access = !known || known.access === p.access ? p.access : 'readwrite';
      const length = Math.max(p.length, known?.length ?? 0);
      params.set(args[i], { name: known?.name ?? `p${params.size}`, type: p.type, access, length });
    });
  const allocs = new Map<string, Stmt & { kind: 'alloc' }>();
  const body = members.map(({ kernel, args }): Stmt => {
    const joined = kernel.params.map((p, i) => ({
      ...params.get(args[i])!,
      parts: [{ param: p.name, offset: 0 }],
    }));
    const { body: own } = joinParameters(kernel, name, mergeEqual(joined));
    const statements: Stmt[] = [];
    for (const s of own) {
      if (s.kind === 'alloc') allocs.set(s.name, s);
      else if (s.kind === 'for' && s.bind === 'grid') statements.push(...inOneWorkgroup(s));
      else statements.push(s);
    }
    // A block of its own, so that members may use the same names.
    return when({ kind: 'const', type: 'bool', value: 1 }, statements);
  });
  const [first] = members;
  const sum = (of: (k: Kernel) => number): number => members.reduce((n, m) => n + of(m.kernel), 0);
  return {
    kernel: {
      name,
      params: [...params.values()],
      body: [loop('grid', 'workgroup_0', i32(1), [...allocs.values(), ...body])],
      workgroup: THREADS,
      flops: sum((k) => k.flops),
      bytes: sum((k) => k.bytes),
      loc: first.kernel.loc,
    },
    args: [...params.keys()],
  };
}

/** The kernel's grid as a loop of one workgroup. */
function inOneWorkgroup(grid: Stmt & { kind: 'for' }): Stmt[] {
  if (!cooperates(grid.body)) return [{ ...grid, bind: 'group' }];
  const once = grid.hi.kind === 'const' && grid.hi.value === 1;
  return once ? [letI(grid.var, i32(0)), ...grid.body] : [{ ...grid, bind: 'serial' }];
}

type Joined = Parameters<typeof joinParameters>[2][number];

/** Parameters of one kernel that are the same buffer are one. */
function mergeEqual(joined: readonly Joined[]): Joined[] {
  const byName = new Map<string, Joined>();
  for (const j of joined) {
    const known = byName.get(j.name);
    byName.set(j.name, known ? { ...known, parts: [...known.parts, ...j.parts] } : j);
  }
  return [...byName.values()];
}
