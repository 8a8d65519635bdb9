/**
 * A GPU by WebGPU. Everything that a step needs is made at load; a call of a function is one compute pass in one submission,
 * which also copies the function's small outputs to where the host can map them.
 */
import { deviceFault, deviceLost } from '../../../ir/diagnostics/devices.js';
import type { Buffer, Program } from '../../../ir/program.js';
import { type Artifact, programFor } from '../../artifact.js';
import { type ArrayData, type Device, everyGuard, type Guards } from '../device.js';
import type { OpenedAdapter } from './adapter.js';
import { type Loaded, loadProgram, requestDevice } from './load.js';

/** Outputs up to this many bytes come back with the call; larger ones are copied when they are read. */
const SMALL = 1 << 16;

const roundUp4 = (bytes: number): number => Math.ceil(bytes / 4) * 4;

/** A host-visible copy of a function's small outputs. */
interface Staging {
  readonly buffer: GPUBuffer;
  /** By buffer name: where its copy begins. */
  readonly places: ReadonlyMap<string, number>;
}

export class WebgpuDevice implements Device {
  readonly description: string;
  dispatches = 0;
  submissions = 0;
  private readonly buffers: ReadonlyMap<string, Buffer>;
  private readonly staging = new Map<string, Staging>();
  /** The staging buffer that holds the present value of an output. */
  private readonly fresh = new Map<string, Staging>();
  private failure: Error | undefined;

  private constructor(
    readonly program: Program,
    private readonly opened: OpenedAdapter,
    private readonly device: GPUDevice,
    private readonly loaded: Loaded,
  ) {
    this.description = `${opened.name}, WebGPU`;
    this.buffers = new Map(program.buffers.map((b) => [b.name, b]));
    device.lost.then(({ reason, message }) => {
      if (reason !== 'destroyed') this.failure ??= deviceLost(opened.name, message);
    });
    device.onuncapturederror = ({ error }) => {
      this.failure ??= deviceFault(opened.name, error.message.split('\n')[0]);
    };
    for (const f of program.functions) this.makeStaging(f.name);
  }

  /** Compiles the kernels of a checked artifact. Memory is zero; state is not initialised. UserError E419, E430-E439. */
  static async load(artifact: Artifact, opened: OpenedAdapter): Promise<WebgpuDevice> {
    const program = programFor(artifact.manifest, 'webgpu');
    const device = await requestDevice(opened, program);
    try {
      return new WebgpuDevice(program, opened, device, await loadProgram(device, opened.name, program, artifact.files));
    } catch (e) {
      device.destroy();
      throw e;
    }
  }

  write(name: string, data: ArrayData): void {
    this.check();
    const b = this.buffer(name);
    const kind = viewOf(b, new ArrayBuffer(0)).constructor;
    if (data.constructor !== kind || data.byteLength !== b.bytes)
      throw new Error(`buffer ${name} holds ${b.bytes} bytes of ${kind.name}, given ${data.byteLength}`);
    let bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    if (bytes.length % 4 !== 0) {
      const padded = new Uint8Array(roundUp4(bytes.length));
      padded.set(bytes);
      bytes = padded;
    }
    this.device.queue.writeBuffer(this.loaded.memories.get(b.memory)!, b.offset, bytes);
    this.fresh.delete(name);
  }

  async read(name: string): Promise<ArrayData> {
    this.check();
    const b = this.buffer(name);
    const staged = this.fresh.get(name);
    if (staged) return this.mapped(staged.buffer, staged.places.get(name)!, b);
    const buffer = this.device.createBuffer({
      size: Math.max(4, roundUp4(b.bytes)),
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(this.loaded.memories.get(b.memory)!, b.offset, buffer, 0, roundUp4(b.bytes));
    this.submit(encoder);
    const data = await this.mapped(buffer, 0, b);
    buffer.destroy();
    return data;
  }

  async run(name: string, guards: Guards = everyGuard): Promise<void> {
    this.check();
    const segments = this.loaded.functions.get(name);
    if (!segments) throw new Error(`the program has no function ${name}`);
    const on = this.tellBatches(name, guards);
    const encoder = this.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    let last: GPUComputePipeline | undefined;
    for (const { guard, repeat, calls } of segments) {
      if (guard !== undefined && !on(guard)) continue;
      for (let turn = 0; turn < repeat; turn++)
        for (const { pipeline, bindings, workgroups } of calls) {
          if (pipeline !== last) pass.setPipeline(pipeline);
          last = pipeline;
          pass.setBindGroup(0, bindings);
          pass.dispatchWorkgroups(...workgroups);
        }
      this.dispatches += repeat * calls.length;
    }
    pass.end();
    // What another function's outputs held may have been overwritten: functions share their transients.
    this.fresh.clear();
    const staging = this.staging.get(name);
    if (staging)
      for (const [output, place] of staging.places) {
        const b = this.buffer(output);
        const from = this.loaded.memories.get(b.memory)!;
        encoder.copyBufferToBuffer(from, b.offset, staging.buffer, place, roundUp4(b.bytes));
        this.fresh.set(output, staging);
      }
    this.submit(encoder);
  }

  /** Writes which guards of each batch are on. Returns the guards, those of the batches among them. */
  private tellBatches(name: string, guards: Guards): Guards {
    const batches = new Map<string, boolean>();
    for (const { guard, of, buffer } of this.program.functions.find((f) => f.name === name)!.batches ?? []) {
      const due = Int32Array.from(of, (g) => (guards(g) ? 1 : 0));
      batches.set(guard, due.includes(1));
      if (due.includes(1)) this.write(buffer, due);
    }
    return (guard) => batches.get(guard) ?? guards(guard);
  }

  close(): void {
    for (const m of this.loaded.memories.values()) m.destroy();
    for (const s of this.staging.values()) s.buffer.destroy();
    this.device.destroy();
    // Read, so that Dawn's own object is not collected before its device.
    void this.opened.gpu;
  }

  private submit(encoder: GPUCommandEncoder): void {
    this.device.queue.submit([encoder.finish()]);
    this.submissions++;
  }

  private async mapped(buffer: GPUBuffer, offset: number, b: Buffer): Promise<ArrayData> {
    const size = Math.max(4, roundUp4(b.bytes));
    try {
      await buffer.mapAsync(GPUMapMode.READ, offset, size);
    } catch (e) {
      // A lost device is told to all that wait for it, in no certain order.
      await Promise.resolve();
      throw this.failure ?? deviceFault(this.opened.name, (e as Error).message);
    }
    const copy = buffer.getMappedRange(offset, size).slice(0, b.bytes);
    buffer.unmap();
    this.check();
    return viewOf(b, copy);
  }

  private makeStaging(name: string): void {
    const places = new Map<string, number>();
    let bytes = 0;
    for (const { buffer } of this.program.functions.find((f) => f.name === name)!.outputs) {
      const b = this.buffer(buffer);
      if (b.bytes > SMALL || places.has(buffer)) continue;
      places.set(buffer, bytes);
      // mapAsync wants offsets that are multiples of 8.
      bytes += Math.ceil(Math.max(4, b.bytes) / 8) * 8;
    }
    if (bytes === 0) return;
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    this.staging.set(name, { buffer: this.device.createBuffer({ size: bytes, usage }), places });
  }

  private buffer(name: string): Buffer {
    const b = this.buffers.get(name);
    if (!b) throw new Error(`the program has no buffer ${name}`);
    return b;
  }

  private check(): void {
    if (this.failure) throw this.failure;
  }
}

function viewOf({ dtype }: Buffer, bytes: ArrayBuffer): ArrayData {
  switch (dtype) {
    case 'f32':
      return new Float32Array(bytes);
    case 'f16':
      return new Uint16Array(bytes);
    case 'i32':
      return new Int32Array(bytes);
    case 'i64':
      return new BigInt64Array(bytes);
    case 'u8':
    case 'bool':
      return new Uint8Array(bytes);
  }
}
