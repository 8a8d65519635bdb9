/**
 * Places buffers in the memories of a GPU. WebGPU orders dispatches by whole buffers: one that reads or writes what another
 * writes waits for it. So transients are spread over several arenas such that steps that need not wait do not, and steps
 * between two waits form a wave. State has memories of its own, and element types do not share one. There are at most as many
 * memories as every device can bind at once.
 */
import type { Buffer, Memory } from '../../ir/program.js';
import { align, type Interval, planArena } from './memory-plan.js';

/** With the four memories of state, and of integers and bytes: eight. */
const ARENAS = 4;
/** Memory that is worth a wait between two steps. */
const WORTH_A_WAIT = 16 * 2 ** 20;

export type Unplaced = Omit<Buffer, 'memory' | 'offset'>;
export type PlannedBuffer = Unplaced & Interval;

/** A step's buffers, and which of them it writes. */
export interface Access {
  readonly args: readonly string[];
  readonly writes: readonly boolean[];
  /** How many times it runs; default 1. */
  readonly times?: number;
}

export interface PlannedFunction {
  readonly steps: readonly Access[];
  readonly buffers: readonly PlannedBuffer[];
}

export interface Placement {
  readonly memories: readonly Memory[];
  readonly buffers: readonly Buffer[];
  /** For each function, the steps between two waits. */
  readonly waves: readonly number[];
}

/** The memory of what is not a transient f32. */
function ownMemory(b: Unplaced, curvature: boolean): string | undefined {
  if (b.dtype === 'u8' || b.dtype === 'bool') return 'bytes';
  if (b.dtype === 'i32' || b.dtype === 'i64') return 'integers';
  if (b.dtype === 'f16') return 'halves';
  if (b.role !== 'state' && b.role !== 'constant') return undefined;
  return curvature ? 'curvature' : 'weights';
}

/** @param state with, for each entry, whether it belongs to the curvature (factors and their inverses), or is like it in that the forward pass does not read it */
export function placeInArenas(
  state: readonly { readonly buffer: Unplaced; readonly curvature: boolean }[],
  functions: readonly PlannedFunction[],
): Placement {
  const sizes = new Map<string, number>();
  const placed: Buffer[] = [];
  const memoryOf = new Map<string, string>();
  for (const { buffer, curvature } of state) {
    const memory = ownMemory(buffer, curvature)!;
    const offset = sizes.get(memory) ?? 0;
    sizes.set(memory, offset + align(buffer.bytes));
    memoryOf.set(buffer.name, memory);
    placed.push(withPlace(buffer, memory, offset));
  }
  // Functions never run at once: their transients share the memories, behind the state.
  const base = new Map(sizes);
  const waves: number[] = [];
  for (const f of functions) {
    const chosen = chooseArenas(f, memoryOf);
    waves.push(chosen.waves);
    const byMemory = new Map<string, PlannedBuffer[]>();
    for (const b of f.buffers) {
      const memory = chosen.memoryOf.get(b.name)!;
      const list = byMemory.get(memory);
      if (list) list.push(b);
      else byMemory.set(memory, [b]);
    }
    for (const [memory, own] of byMemory) {
      const { offsets, peak } = planArena(own);
      const from = base.get(memory) ?? 0;
      sizes.set(memory, Math.max(sizes.get(memory) ?? 0, from + peak));
      for (const [i, b] of own.entries()) placed.push(withPlace(b, memory, from + offsets[i]));
    }
  }
  return { memories: [...sizes].map(([name, bytes]) => ({ name, bytes })), buffers: placed, waves };
}

export const withPlace = (
  { name, dtype, layout, shape, bytes, role }: Unplaced,
  memory: string,
  offset: number,
): Buffer => ({
  name,
  memory,
  offset,
  dtype,
  layout,
  shape,
  bytes,
  role,
});

/** An arena while steps are looked at in order. */
class Arena {
  live = 0;
  peak = 0;
  constructor(readonly name: string) {}

  growth(bytes: number): number {
    return Math.max(0, this.live + bytes - this.peak);
  }

  add(bytes: number): void {
    this.live += bytes;
    this.peak = Math.max(this.peak, this.live);
  }
}

/** Chooses an arena for each transient as the step that writes it comes by, and counts the waves. */
function chooseArenas(
  { steps, buffers }: PlannedFunction,
  stateMemory: ReadonlyMap<string, string>,
): { memoryOf: ReadonlyMap<string, string>; waves: number } {
  const arenas = Array.from({ length: ARENAS }, (_, i) => new Arena(`arena${i}`));
  const memoryOf = new Map(stateMemory);
  const arenaOf = new Map<string, Arena>();
  const byName = new Map(buffers.map((b) => [b.name, b]));
  const unplaced = new Set(byName.keys());
  const ending = new Map<number, string[]>();
  for (const b of buffers) {
    const list = ending.get(b.to);
    if (list) list.push(b.name);
    else ending.set(b.to, [b.name]);
  }
  const place = (name: string, avoid: ReadonlySet<string>, rather: ReadonlySet<string>): void => {
    const b = byName.get(name)!;
    unplaced.delete(name);
    const own = ownMemory(b, false);
    if (own !== undefined) {
      memoryOf.set(name, own);
      return;
    }
    const bytes = align(b.bytes);
    const cost = (a: Arena): number =>
      a.growth(bytes) / WORTH_A_WAIT + (avoid.has(a.name) ? 1 : 0) + (rather.has(a.name) ? 0.5 : 0);
    const best = arenas.reduce((x, y) => (cost(y) < cost(x) || (cost(y) === cost(x) && y.live < x.live) ? y : x));
    best.add(bytes);
    arenaOf.set(name, best);
    memoryOf.set(name, best.name);
  };
  const none = new Set<string>();
  // Inputs, which the host writes before the first step.
  for (const b of buffers) if (b.from < 0) place(b.name, none, none);

  let waves = 0;
  let read = new Set<string>();
  let written = new Set<string>();
  steps.forEach(({ args, writes, times = 1 }, at) => {
    const own = new Set<string>();
    let waits = waves === 0;
    args.forEach((name, i) => {
      const memory = memoryOf.get(name);
      if (memory === undefined) return;
      own.add(memory);
      if (written.has(memory) || (writes[i] && read.has(memory))) waits = true;
    });
    const busy = waits ? none : new Set([...read, ...written]);
    for (const name of args) if (unplaced.has(name)) place(name, busy, own);
    if (!waits) waits = args.some((name, i) => writes[i] && busy.has(memoryOf.get(name)!));
    if (waits) {
      waves += times;
      read = new Set();
      written = new Set();
    }
    args.forEach((name, i) => {
      (writes[i] ? written : read).add(memoryOf.get(name)!);
    });
    for (const name of ending.get(at) ?? []) {
      const arena = arenaOf.get(name);
      if (arena) arena.live -= align(byName.get(name)!.bytes);
    }
  });
  for (const name of [...unplaced]) place(name, none, none);
  return { memoryOf, waves };
}
