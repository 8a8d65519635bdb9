/**
 * Executes an assembled program in one memory, at the planned offsets, each kernel by the interpreter or as WebAssembly:
 * what tests of fusion, in-place updates and the memory plan need.
 */
import type { Assembled } from '../../compiler/program/assemble.js';
import { printWasm } from '../../compiler/targets/wasm/print.js';
import type { Kernel } from '../../ir/kernel.js';
import { interpret, type KernelData } from '../../ir/kernel-interpret.js';
import type { Buffer } from '../../ir/program.js';

export class ProgramRun {
  private readonly memory: ArrayBuffer;
  private readonly buffers: Map<string, Buffer>;
  private readonly call: (kernel: Kernel, args: readonly string[]) => void;

  constructor(
    private readonly assembled: Assembled,
    by: 'interpreter' | 'wasm',
  ) {
    const { bytes } = assembled.program.memories[0];
    if (by === 'interpreter') {
      this.memory = new ArrayBuffer(bytes);
      this.call = (kernel, args) =>
        interpret(kernel, Object.fromEntries(kernel.params.map((p, i) => [p.name, this.view(args[i])])));
    } else {
      const printed = printWasm(assembled.kernels);
      const info = new Map(printed.info.map((i) => [i.name, i]));
      const pages = Math.ceil((bytes + Math.max(0, ...printed.info.map((i) => i.scratch))) / 65536) + 1;
      const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
      const module = new WebAssembly.Module(printed.bytes as Uint8Array<ArrayBuffer>);
      const { exports } = new WebAssembly.Instance(module, { env: { memory } });
      this.memory = memory.buffer;
      this.call = (kernel, args) => {
        const run = exports[kernel.name] as (...args: number[]) => void;
        const offsets = args.map((a) => this.buffers.get(a)!.offset);
        run(...offsets, Math.ceil(bytes / 256) * 256, 0, info.get(kernel.name)!.grid);
      };
    }
    // What nobody wrote must not look like a zero.
    new Float32Array(this.memory).fill(Number.NaN);
    this.buffers = new Map(assembled.program.buffers.map((b) => [b.name, b]));
  }

  view(name: string): KernelData {
    const b = this.buffers.get(name);
    if (!b) throw new Error(`no buffer ${name}`);
    if (b.dtype === 'bool' || b.dtype === 'u8') return new Uint8Array(this.memory, b.offset, b.bytes);
    const array = b.dtype === 'f32' ? Float32Array : Int32Array;
    return new array(this.memory, b.offset, b.bytes / 4);
  }

  run(
    name: string,
    inputs: Readonly<Record<string, ArrayLike<number>>>,
    on: (guard: string) => boolean = () => true,
  ): void {
    const { program, kernels } = this.assembled;
    const func = program.functions.find((f) => f.name === name)!;
    for (const i of func.inputs) this.view(i.buffer).set(inputs[i.name]);
    for (const segment of func.segments) {
      if (segment.guard !== undefined && !on(segment.guard)) continue;
      for (const step of segment.steps) {
        const kernel = kernels.find((k) => k.name === step.variants[0].kernel)!;
        this.call(kernel, step.args);
      }
    }
  }

  output(name: string, output: string): KernelData {
    return this.view(
      this.assembled.program.functions.find((f) => f.name === name)!.outputs.find((o) => o.name === output)!.buffer,
    );
  }
}
