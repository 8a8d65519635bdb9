/**
 * The embedded default device: one WebAssembly module with all kernels over one linear memory. Everything that a call needs
 * (export, addresses, grid) is resolved once at load, so that a step is a plain loop of calls; or, on several threads, pieces of
 * that loop which they share out (`work.ts`, `crew.ts`).
 */
import { kernelArguments, kernelTrapped, noVariant, unknownKernel } from '../../../ir/diagnostics/artifact.js';
import type { Buffer, KernelInfo, Program, Requirement, Step } from '../../../ir/program.js';
import { type Artifact, programFor } from '../../artifact.js';
import { type ArrayData, type Device, everyGuard, type Guards } from '../device.js';
import { Crew, makeCounters } from './crew.js';
import { engineFeatures, isRelaxed, preferOptimisedCode } from './engine.js';
import {
  checkModule,
  compileBeside,
  compileNow,
  instantiate,
  type Kernel,
  MEMORY_LIMIT,
  makeMemory,
  type SharedMemory,
} from './module.js';
import { clock, makeRecords, type ProfiledRun, Recorder } from './records.js';
import { startThreads } from './threads.js';
import { planWork, type Work } from './work.js';

/** After a kernel's buffers: scratch, begin, end. */
const EXTRA_PARAMETERS = 3;
/** Modelled seconds of a function from which on several threads are worth waking. */
const WORTH_THREADS = 100e-6;

interface Call {
  readonly place: string;
  readonly run: Kernel;
  readonly args: readonly number[];
}
interface Segment {
  readonly guard?: string;
  readonly calls: readonly Call[];
}
interface LoadedFunction {
  readonly segments: readonly Segment[];
  /** Where several threads share its work: its number among those. */
  readonly shared?: number;
}

export interface WasmOptions {
  /** Threads in all, the caller's among them; results do not depend on it. Default: 1. */
  readonly threads?: number;
  /** The module compiled ahead (`compileBeside`). */
  readonly module?: Promise<WebAssembly.Module>;
  /** The threads' module, where it does not lie beside this one. */
  readonly threadModule?: URL;
  /** Told after each run of a function when each share of its steps ran. */
  readonly profile?: (run: ProfiledRun) => void;
}

export class WasmDevice implements Device {
  dispatches = 0;
  readonly submissions = 0;
  readonly description: string;

  private constructor(
    private readonly loaded: Loaded,
    private readonly works: readonly Work[] = [],
    private readonly crew?: Crew,
    readonly threads = 1,
    private readonly profile?: (run: Omit<ProfiledRun, 'shares'>, work: Work) => void,
  ) {
    const simd = isRelaxed(loaded.program) ? 'relaxed SIMD (not the same bits on every processor)' : 'SIMD';
    this.description = `WebAssembly ${simd}, ${threads === 1 ? '1 thread' : `${threads} threads`}`;
  }

  get program(): Program {
    return this.loaded.program;
  }

  /** On one thread, the caller's. Memory is zero; state is not initialised. UserError E410-E419. */
  static load(artifact: Artifact): WasmDevice {
    const program = programFor(artifact.manifest, 'wasm');
    return new WasmDevice(new Loaded(program, compileNow(artifact), makeMemory(program, 1)));
  }

  /** The same on as many threads as are asked for and can be had, with code for a long run. */
  static async open(artifact: Artifact, options: WasmOptions = {}): Promise<WasmDevice> {
    const { threads = 1, threadModule, profile } = options;
    const program = programFor(artifact.manifest, 'wasm');
    const module = await (options.module ?? compileForLong(artifact));
    const shared = makeMemory(program, threads);
    const loaded = new Loaded(program, module, shared);
    const works = threads > 1 || profile ? loaded.share(threads, profile ? 0 : WORTH_THREADS) : [];
    if (works.length === 0) return new WasmDevice(loaded);
    const counters = makeCounters(works);
    const { memory, scratch } = shared;
    const members = scratch.map((s) => ({
      ...{ counters, functions: works, scratch: s },
      ...(profile && { records: makeRecords(works) }),
    }));
    const [own, ...others] = members;
    const helpers = await startThreads(
      others.map((member) => ({ ...member, module, memory })),
      threadModule,
    );
    if (helpers === 0 && !profile) return new WasmDevice(loaded);
    const recorders = members.map(({ records }) => records && new Recorder(records));
    const report: WasmDevice['profile'] =
      profile &&
      ((run, work) => profile({ ...run, shares: recorders.flatMap((r, thread) => r?.take(thread, work) ?? []) }));
    const crew = new Crew({ ...own, kernels: loaded.kernels });
    return new WasmDevice(loaded, works, crew, 1 + helpers, report);
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
    const found = this.loaded.functions.get(name);
    if (!found) throw new Error(`the program has no function ${name}`);
    const { segments, shared } = found;
    const on = segments.map(({ guard }) => guard === undefined || guards(guard));
    segments.forEach((s, i) => {
      if (on[i]) this.dispatches += s.calls.length;
    });
    if (this.crew && shared !== undefined) {
      const begin = this.profile ? clock() : 0;
      const failed = this.crew.lead(shared, on);
      this.profile?.({ func: name, begin, end: clock() }, this.works[shared]);
      if (failed) throw kernelTrapped(this.works[shared].calls[failed.call].place, failed.why);
      return;
    }
    segments.forEach(({ calls }, i) => {
      if (!on[i]) return;
      for (const { place, run, args } of calls) {
        try {
          run(...args);
        } catch (cause) {
          throw kernelTrapped(place, (cause as Error).message);
        }
      }
    });
  }

  close(): void {
    this.crew?.close();
  }

  private view(name: string): ArrayData {
    const b = this.loaded.buffers.get(name);
    if (!b) throw new Error(`the program has no buffer ${name}`);
    const at = this.loaded.memory.buffer;
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

/** The module of an artifact for a long run, compiled on the engine's own threads: begin it before what takes time. */
export function compileForLong(artifact: Artifact): Promise<WebAssembly.Module> {
  preferOptimisedCode();
  return compileBeside(artifact);
}

/** A program with all that a call needs. */
class Loaded {
  readonly memory: WebAssembly.Memory;
  readonly kernels: ReadonlyMap<string, Kernel>;
  readonly buffers: ReadonlyMap<string, Buffer>;
  readonly functions = new Map<string, LoadedFunction>();
  private readonly chosen: ReadonlyMap<Step, KernelInfo>;

  constructor(
    readonly program: Program,
    module: WebAssembly.Module,
    { memory, scratch: [scratch] }: SharedMemory,
  ) {
    checkModule(module, program);
    this.chosen = chooseVariants(program, engineFeatures());
    this.memory = memory;
    this.kernels = instantiate(module, memory);
    this.buffers = new Map(program.buffers.map((b) => [b.name, b]));
    for (const f of program.functions) {
      const segments = f.segments.map((s) => ({
        guard: s.guard,
        calls: s.steps.map((step) => this.call(`${f.name}.${step.slot}`, step, scratch)),
      }));
      this.functions.set(f.name, { segments });
    }
  }

  /** Plans how threads share the functions that are worth it: of at least so many modelled seconds. */
  share(threads: number, least: number): Work[] {
    const works: Work[] = [];
    for (const f of this.program.functions) {
      const work = planWork(f, this.buffers, (step) => this.chosen.get(step)!, threads);
      if (work.seconds < least) continue;
      this.functions.set(f.name, { ...this.functions.get(f.name)!, shared: works.length });
      works.push(work);
    }
    return works;
  }

  private call(at: string, step: Step, scratch: number): Call {
    const { name, grid } = this.chosen.get(step)!;
    const run = this.kernels.get(name);
    if (!run) throw unknownKernel(at, name);
    const takes = run.length - EXTRA_PARAMETERS;
    if (takes !== step.args.length) throw kernelArguments(at, name, step.args.length, takes);
    const addresses = step.args.map((a) => this.buffers.get(a)!.offset);
    return { place: `${at} (${name})`, run, args: [...addresses, scratch, 0, grid] };
  }
}

/** For each step the first variant that this device can run. */
function chooseVariants(program: Program, features: ReadonlySet<string>): Map<Step, KernelInfo> {
  const limits: Record<string, number> = { memoryBytes: MEMORY_LIMIT };
  const fits = (r: Requirement): boolean =>
    r.features.every((f) => features.has(f)) && Object.entries(r.limits).every(([k, v]) => (limits[k] ?? 0) >= v);
  const infos = new Map(program.kernels.map((k) => [k.name, k]));
  const chosen = new Map<Step, KernelInfo>();
  for (const f of program.functions) {
    for (const step of f.segments.flatMap((s) => s.steps)) {
      const kernels = step.variants.map((name) => infos.get(name)!);
      const fitting = kernels.find((k) => fits(k.requires));
      if (!fitting) throw noVariant(`${f.name}.${step.slot}`, kernels[0].requires.features.join(', '));
      chosen.set(step, fitting);
    }
  }
  return chosen;
}
