/**
 * Executes an assembled program on one ArrayBuffer, at the planned offsets, each kernel by the interpreter: what tests of
 * fusion, in-place updates and the memory plan need, without any target.
 */
import type { Assembled } from '../../compiler/program/assemble.js';
import { interpret, type KernelData } from '../../ir/kernel-interpret.js';
import type { Buffer } from '../../ir/program.js';

export class ProgramRun {
  private readonly memory: ArrayBuffer;
  private readonly buffers: Map<string, Buffer>;

  constructor(private readonly assembled: Assembled) {
    this.memory = new ArrayBuffer(assembled.program.memories[0].bytes);
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
        interpret(kernel, Object.fromEntries(kernel.params.map((p, i) => [p.name, this.view(step.args[i])])));
      }
    }
  }

  output(name: string, output: string): KernelData {
    return this.view(
      this.assembled.program.functions.find((f) => f.name === name)!.outputs.find((o) => o.name === output)!.buffer,
    );
  }
}
