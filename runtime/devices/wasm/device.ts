/**
 * The embedded default device: one WebAssembly module with all kernels over one linear memory. Everything that a call needs
 * (export, addresses, grid) is resolved once at load, so that a step is a plain loop of calls. Kernels take a range of
 * their grid, which is how threads will share one.
 */
import { WASM_MODULE } from '../../../ir/artifact.js';
import {
  kernelArguments,
  kernelTrapped,
  memoryRefused,
  memoryTooLarge,
  moduleInvalid,
  noVariant,
  unknownKernel,
} from '../../../ir/diagnostics/artifact.js';
import type { Buffer, Program, Requirement, Step } from '../../../ir/program.js';
import { type Artifact, programFor } from '../../artifact.js';
import { type ArrayData, type Device, everyGuard, type Guards } from '../device.js';

const PAGE = 65_536;
const MAX_PAGES = 65_536;
/** After a kernel's buffers: scratch, begin, end. */
const EXTRA_PARAMETERS = 3;

type Kernel = (...args: number[]) => void;

interface Call {
  readonly place: string;
  readonly kernel: Kernel;
  readonly args: readonly number[];
}
interface Segment {
  readonly guard?: string;
  readonly calls: readonly Call[];
}

/** `v128.const 0; drop`: valid exactly where the engine knows SIMD. */
const simdProbe = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 23, 1, 21, 0, 253, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  0, 0, 0, 0, 0, 0, 26, 11,
]);

export class WasmDevice implements Device {
  readonly description = 'WebAssembly SIMD, 1 thread';
  dispatches = 0;
  readonly submissions = 0;

  private constructor(
    readonly program: Program,
    private readonly memory: WebAssembly.Memory,
    private readonly buffers: ReadonlyMap<string, Buffer>,
    private readonly functions: ReadonlyMap<string, readonly Segment[]>,
  ) {}

  /** Compiles and instantiates the kernels of a checked artifact. Memory is zero; state is not initialised. UserError E410-E419. */
  static load({ manifest, files }: Artifact): WasmDevice {
    const program = programFor(manifest, 'wasm');
    const bytes = files.get(WASM_MODULE);
    if (!bytes) throw moduleInvalid(WASM_MODULE, 'the manifest does not list the file');

    const features = new Set(WebAssembly.validate(simdProbe) ? ['simd128'] : []);
    const chosen = chooseVariants(program, features);
    const exports = instantiate(program, bytes);

    const buffers = new Map(program.buffers.map((b) => [b.name, b]));
    const infos = new Map(program.kernels.map((k) => [k.name, k]));
    const scratch = scratchAddress(program);
    const call = (place: string, step: Step): Call => {
      const info = infos.get(chosen.get(step)!)!;
      const kernel = exports.kernels.get(info.name);
      if (!kernel) throw unknownKernel(place, info.name);
      const takes = kernel.length - EXTRA_PARAMETERS;
      if (takes !== step.args.length) throw kernelArguments(place, info.name, step.args.length, takes);
      const addresses = step.args.map((a) => buffers.get(a)!.offset);
      return { place: `${place} (${info.name})`, kernel, args: [...addresses, scratch, 0, info.grid] };
    };
    const functions = new Map(
      program.functions.map((f) => [
        f.name,
        f.segments.map((s) => ({ guard: s.guard, calls: s.steps.map((step) => call(`${f.name}.${step.slot}`, step)) })),
      ]),
    );
    return new WasmDevice(program, exports.memory, buffers, functions);
  }

  write(name: string, data: ArrayData): void {
    const view = this.view(name);
    if (view.constructor !== data.constructor || view.length !== data.length)
      throw new Error(`buffer ${name} holds ${view.length} elements of ${view.constructor.name}, given ${data.length}`);
    (view as Uint8Array).set(data as Uint8Array);
  }

  read(name: string): ArrayData {
    return this.view(name).slice();
  }

  /** UserError E424 where a kernel traps. */
  run(name: string, guards: Guards = everyGuard): void {
    const segments = this.functions.get(name);
    if (!segments) throw new Error(`the program has no function ${name}`);
    for (const { guard, calls } of segments) {
      if (guard !== undefined && !guards(guard)) continue;
      for (const { place, kernel, args } of calls) {
        try {
          kernel(...args);
        } catch (cause) {
          throw kernelTrapped(place, (cause as Error).message);
        }
      }
      this.dispatches += calls.length;
    }
  }

  close(): void {}

  private view(name: string): ArrayData {
    const b = this.buffers.get(name);
    if (!b) throw new Error(`the program has no buffer ${name}`);
    const at = this.memory.buffer;
    switch (b.dtype) {
      case 'f32':
        return new Float32Array(at, b.offset, b.bytes / 4);
      case 'f16':
        return new Uint16Array(at, b.offset, b.bytes / 2);
      case 'i32':
        return new Int32Array(at, b.offset, b.bytes / 4);
      case 'i64':
        return new BigInt64Array(at, b.offset, b.bytes / 8);
      case 'u8':
      case 'bool':
        return new Uint8Array(at, b.offset, b.bytes);
    }
  }
}

/** For each step the first variant that this device can run. */
function chooseVariants(program: Program, features: ReadonlySet<string>): Map<Step, string> {
  const limits: Record<string, number> = { memoryBytes: PAGE * MAX_PAGES };
  const fits = (r: Requirement): boolean =>
    r.features.every((f) => features.has(f)) && Object.entries(r.limits).every(([k, v]) => (limits[k] ?? 0) >= v);
  const chosen = new Map<Step, string>();
  for (const f of program.functions) {
    for (const step of f.segments.flatMap((s) => s.steps)) {
      const variant = step.variants.find((v) => fits(v.requires));
      if (!variant) throw noVariant(`${f.name}.${step.slot}`, step.variants[0].requires.features.join(', '));
      chosen.set(step, variant.kernel);
    }
  }
  return chosen;
}

/** Scratch lies behind the planned memory. */
function scratchAddress(program: Program): number {
  return Math.ceil(program.memories[0].bytes / 256) * 256;
}

function instantiate(
  program: Program,
  bytes: Uint8Array,
): { memory: WebAssembly.Memory; kernels: Map<string, Kernel> } {
  const invalid = (why: string): never => {
    throw moduleInvalid(WASM_MODULE, why);
  };
  if (program.memories.length !== 1) invalid(`${program.memories.length} memories; this device has one`);
  let module: WebAssembly.Module;
  try {
    module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  } catch (e) {
    return invalid((e as Error).message);
  }
  // A kernel can reach nothing but this memory: any other import is refused.
  for (const i of WebAssembly.Module.imports(module))
    if (i.module !== 'env' || i.name !== 'memory' || i.kind !== 'memory')
      invalid(`it imports ${i.kind} ${i.module}.${i.name}`);
  const exported = new Map(WebAssembly.Module.exports(module).map((e) => [e.name, e.kind]));
  for (const k of program.kernels)
    if (exported.get(k.name) !== 'function') invalid(`it does not export the kernel '${k.name}'`);

  const scratch = Math.max(0, ...program.kernels.map((k) => k.scratch));
  const total = scratchAddress(program) + scratch;
  const pages = Math.max(1, Math.ceil(total / PAGE));
  if (pages > MAX_PAGES) throw memoryTooLarge(total, MAX_PAGES * PAGE);
  let memory: WebAssembly.Memory;
  try {
    // With a maximum, so that a module that declares one links as well.
    memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  } catch {
    throw memoryRefused(total);
  }
  try {
    const instance = new WebAssembly.Instance(module, { env: { memory } });
    const kernels = new Map<string, Kernel>();
    for (const k of program.kernels) kernels.set(k.name, instance.exports[k.name] as Kernel);
    return { memory, kernels };
  } catch (e) {
    return invalid((e as Error).message);
  }
}
