/**
 * Executes an assembled program in its memories, at the planned offsets, each kernel by the interpreter, as WebAssembly or on Dawn:
 * what tests of fusion, in-place updates and the memory plan need. For a GPU each step is held to what WebGPU lets a dispatch
 * bind, and iterations of a grid may run backwards: they promise to be independent.
 */

import { blocksOf, withBlocks } from '../../compiler/kernels/walk.js';
import type { Assembled } from '../../compiler/program/assemble.js';
import { MOST_BINDINGS } from '../../compiler/program/bindings.js';
import { printWasm } from '../../compiler/targets/wasm/print.js';
import { add, i32, type Kernel, letI, ref, type Stmt, sub } from '../../ir/kernel.js';
import { interpret, type KernelData } from '../../ir/kernel-interpret.js';
import type { Buffer, ProgramFunction } from '../../ir/program.js';
import { runDawn } from '../targets/run-dawn.js';

export type By = 'interpreter' | 'interpreter, backwards' | 'wasm' | 'Dawn';

/** The kernel with the iterations of its grid loops in the opposite order. */
export function backwards(kernel: Kernel): Kernel {
  const turn = (s: Stmt): Stmt => {
    const inner = withBlocks(
      s,
      blocksOf(s).map((b) => b.map(turn)),
    );
    if (inner.kind !== 'for' || inner.bind !== 'grid' || inner.step !== 1) return inner;
    const from = `${inner.var}.backwards`;
    const at = sub(sub(add(inner.lo, inner.hi), i32(1)), ref(from));
    return { ...inner, var: from, body: [letI(inner.var, at), ...inner.body] };
  };
  return { ...kernel, body: kernel.body.map(turn) };
}

export class ProgramRun {
  private readonly memories: ReadonlyMap<string, ArrayBuffer>;
  private readonly buffers: ReadonlyMap<string, Buffer>;
  private readonly kernels: ReadonlyMap<string, Kernel>;
  private readonly call: (kernel: Kernel, args: readonly string[]) => void;

  constructor(
    private readonly assembled: Assembled,
    by: By,
  ) {
    const { program, kernels } = assembled;
    this.buffers = new Map(program.buffers.map((b) => [b.name, b]));
    this.kernels = new Map(kernels.map((k) => [k.name, by === 'interpreter, backwards' ? backwards(k) : k]));
    if (by !== 'wasm') {
      this.memories = new Map(program.memories.map((m) => [m.name, new ArrayBuffer(Math.ceil(m.bytes / 4) * 4)]));
      this.call = (kernel, args) => {
        const bound = Object.fromEntries(kernel.params.map((p, i) => [p.name, this.view(args[i])]));
        if (by !== 'Dawn') interpret(kernel, bound);
        else for (const [name, data] of Object.entries(runDawn(kernel, bound))) bound[name].set(data as never);
      };
    } else {
      const [{ name, bytes }] = program.memories;
      const printed = printWasm(kernels);
      const info = new Map(printed.info.map((i) => [i.name, i]));
      const pages = Math.ceil((bytes + Math.max(0, ...printed.info.map((i) => i.scratch))) / 65536) + 1;
      const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
      const module = new WebAssembly.Module(printed.bytes as Uint8Array<ArrayBuffer>);
      const { exports } = new WebAssembly.Instance(module, { env: { memory } });
      this.memories = new Map([[name, memory.buffer]]);
      this.call = (kernel, args) => {
        const run = exports[kernel.name] as (...args: number[]) => void;
        const offsets = args.map((a) => this.buffer(a).offset);
        run(...offsets, Math.ceil(bytes / 256) * 256, 0, info.get(kernel.name)!.grid);
      };
    }
    // What nobody wrote must not look like a zero.
    for (const memory of this.memories.values()) new Float32Array(memory).fill(Number.NaN);
    if (program.target === 'webgpu') for (const f of program.functions) this.checkBindings(f);
  }

  private buffer(name: string): Buffer {
    const b = this.buffers.get(name);
    if (!b) throw new Error(`no buffer ${name}`);
    return b;
  }

  /** What WebGPU would refuse, or would leave undefined. */
  private checkBindings(f: ProgramFunction): void {
    for (const step of f.segments.flatMap((s) => s.steps)) {
      const { params } = this.kernels.get(step.variants[0])!;
      const bound = step.args.map((a, i) => ({ ...this.buffer(a), written: params[i].access !== 'read' }));
      const refuse = (why: string): never => {
        throw new Error(`${f.name}.${step.slot}: ${why}`);
      };
      if (bound.length !== params.length) refuse(`${bound.length} arguments for ${params.length} parameters`);
      if (bound.length > MOST_BINDINGS) refuse(`${bound.length} bindings`);
      bound.forEach((a, i) => {
        if (a.offset % 256 !== 0) refuse(`${a.name} begins at ${a.offset}`);
        for (const b of bound.slice(i + 1)) {
          if (a.memory !== b.memory) continue;
          if (a.written !== b.written) refuse(`${a.memory} is bound both to be read and to be written`);
          const apart = a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset;
          if (a.written && !apart) refuse(`${a.name} and ${b.name} overlap and are written`);
        }
      });
    }
  }

  view(name: string): KernelData {
    const b = this.buffer(name);
    const memory = this.memories.get(b.memory)!;
    if (b.dtype === 'bool' || b.dtype === 'u8') return new Uint8Array(memory, b.offset, b.bytes);
    const array = b.dtype === 'f32' ? Float32Array : Int32Array;
    return new array(memory, b.offset, b.bytes / 4);
  }

  run(
    name: string,
    inputs: Readonly<Record<string, ArrayLike<number>>>,
    on: (guard: string) => boolean = () => true,
  ): void {
    const func = this.assembled.program.functions.find((f) => f.name === name)!;
    for (const i of func.inputs) this.view(i.buffer).set(inputs[i.name]);
    const batches = new Map<string, boolean>();
    for (const { guard, of, buffer } of func.batches ?? []) {
      const due = of.map((g) => (on(g) ? 1 : 0));
      this.view(buffer).set(due);
      batches.set(guard, due.some(Boolean));
    }
    for (const segment of func.segments) {
      if (segment.guard !== undefined && !(batches.get(segment.guard) ?? on(segment.guard))) continue;
      for (let turn = 0; turn < (segment.repeat ?? 1); turn++)
        for (const step of segment.steps) this.call(this.kernels.get(step.variants[0])!, step.args);
    }
  }

  output(name: string, output: string): KernelData {
    return this.view(
      this.assembled.program.functions.find((f) => f.name === name)!.outputs.find((o) => o.name === output)!.buffer,
    );
  }
}
