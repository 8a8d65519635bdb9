/**
 * What a step binds on a GPU. WebGPU lets no range be bound twice where it is written, and lets no buffer be read by one binding
 * and written by another of the same dispatch; and every device binds at least eight. So arguments of the same bytes become one
 * parameter, all parameters of a memory that the step writes are read-write, and where there are too many, those of one
 * memory become windows: one parameter over the whole range, each argument at a fixed offset in it.
 */
import type { Kernel } from '../../ir/kernel.js';
import type { Buffer } from '../../ir/program.js';
import { bytesPerElement } from '../../ir/types.js';
import { type JoinedParam, joinParameters } from '../kernels/parameters.js';

/** maxStorageBuffersPerShaderStage that every WebGPU device has. */
export const MOST_BINDINGS = 8;

/** A range of one memory, and the kernel's parameters in it. */
interface Binding {
  readonly memory: string;
  readonly dtype: Buffer['dtype'];
  readonly begin: number;
  readonly end: number;
  readonly members: readonly number[];
}

export interface BoundStep {
  readonly kernel: Kernel;
  /** Names of buffers, in the order of the kernel's parameters. */
  readonly args: readonly string[];
}

/** Makes the kernels and windows of all steps; equal ones once. */
export class Binder {
  /** Further buffers of the program: ranges that windows cover. */
  readonly windows: Buffer[] = [];
  readonly kernels: Kernel[] = [];
  private readonly windowNames = new Map<string, string>();
  private readonly bound = new Map<string, Kernel>();
  private readonly versions = new Map<string, number>();

  constructor(private readonly buffers: ReadonlyMap<string, Buffer>) {}

  /** @param args the buffer of each of the kernel's parameters */
  bind(kernel: Kernel, args: readonly string[]): BoundStep {
    const bindings = this.joinMemories(this.joinSame(args));
    const written = new Set<string>();
    kernel.params.forEach((p, i) => {
      if (p.access !== 'read') written.add(this.buffers.get(args[i])!.memory);
    });
    const pattern = bindings.map(({ memory, begin, dtype, members }) => ({
      parts: members.map((m) => [m, (this.buffers.get(args[m])!.offset - begin) / bytesPerElement[dtype]]),
      access: written.has(memory) ? 'readwrite' : 'read',
    }));
    const key = `${kernel.name} ${JSON.stringify(pattern)}`;
    let made = this.bound.get(key);
    if (!made) {
      const version = (this.versions.get(kernel.name) ?? 0) + 1;
      this.versions.set(kernel.name, version);
      const joined = bindings.map((b, n): JoinedParam => {
        const [first] = b.members;
        const { name, type, length } = kernel.params[first];
        const alone = b.members.length === 1;
        return {
          name: alone ? name : `b${n}`,
          type,
          access: pattern[n].access as JoinedParam['access'],
          length: alone ? length : (b.end - b.begin) / bytesPerElement[b.dtype],
          parts: pattern[n].parts.map(([m, offset]) => ({ param: kernel.params[m].name, offset })),
        };
      });
      made = joinParameters(kernel, version === 1 ? kernel.name : `${kernel.name}_${version}`, joined);
      this.bound.set(key, made);
      this.kernels.push(made);
    }
    return { kernel: made, args: bindings.map((b) => this.argument(b, args)) };
  }

  private joinSame(args: readonly string[]): Binding[] {
    const byRange = new Map<string, Binding>();
    args.forEach((name, i) => {
      const b = this.buffers.get(name)!;
      const key = `${b.memory} ${b.offset}`;
      const known = byRange.get(key);
      const end = Math.max(b.offset + b.bytes, known?.end ?? 0);
      const members = [...(known?.members ?? []), i];
      byRange.set(key, { memory: b.memory, dtype: b.dtype, begin: b.offset, end, members });
    });
    return [...byRange.values()];
  }

  /** Windows, over the memories with the most bindings first, until there are few enough. */
  private joinMemories(bindings: readonly Binding[]): readonly Binding[] {
    let out = bindings;
    while (out.length > MOST_BINDINGS) {
      const counts = new Map<string, number>();
      for (const b of out) counts.set(b.memory, (counts.get(b.memory) ?? 0) + 1);
      const [memory, most] = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a));
      if (most === 1) throw new Error(`a step reads and writes ${out.length} memories`);
      const own = out.filter((b) => b.memory === memory);
      const window: Binding = {
        memory,
        dtype: own[0].dtype,
        begin: Math.min(...own.map((b) => b.begin)),
        end: Math.max(...own.map((b) => b.end)),
        members: own.flatMap((b) => b.members),
      };
      out = [...out.filter((b) => b.memory !== memory), window];
    }
    return out;
  }

  private argument({ memory, dtype, begin, end, members }: Binding, args: readonly string[]): string {
    const first = this.buffers.get(args[members[0]])!;
    if (first.offset === begin && first.bytes === end - begin) return first.name;
    const key = `${memory} ${begin} ${end}`;
    let name = this.windowNames.get(key);
    if (name === undefined) {
      name = `window.${this.windows.length}`;
      while (this.buffers.has(name)) name += "'";
      this.windowNames.set(key, name);
      const bytes = end - begin;
      const shape = [bytes / bytesPerElement[dtype]];
      this.windows.push({ name, memory, offset: begin, dtype, layout: 'dense', shape, bytes, role: 'window' });
    }
    return name;
  }
}
