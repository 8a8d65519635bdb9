/**
 * The module with a program's kernels, and the memory that all of them share: the program's own, behind it scratch memory for
 * each thread. A module is untrusted: it may import nothing but that memory, and must export every kernel.
 */
import { WASM_MODULE } from '../../../ir/artifact.js';
import { memoryRefused, memoryTooLarge, moduleInvalid } from '../../../ir/diagnostics/artifact.js';
import type { Program } from '../../../ir/program.js';
import { type Artifact, programFor } from '../../artifact.js';
import { allowFeatures } from './engine.js';

const PAGE = 65_536;
const MAX_PAGES = 65_536;
export const MEMORY_LIMIT = PAGE * MAX_PAGES;
/** Threads' scratch memories keep off each other's cache lines. */
const ALIGNMENT = 256;

/** Addresses of buffers, address of the thread's scratch memory, begin, end. */
export type Kernel = (...args: number[]) => void;

const invalid = (why: string): never => {
  throw moduleInvalid(WASM_MODULE, why);
};

function moduleBytes({ manifest, files }: Artifact): Uint8Array<ArrayBuffer> {
  allowFeatures(programFor(manifest, 'wasm'));
  const bytes = files.get(WASM_MODULE);
  return (bytes ?? invalid('the manifest does not list the file')) as Uint8Array<ArrayBuffer>;
}

/** Compiled on this thread. UserError E414, E419. */
export function compileNow(artifact: Artifact): WebAssembly.Module {
  const bytes = moduleBytes(artifact);
  try {
    return new WebAssembly.Module(bytes);
  } catch (e) {
    return invalid((e as Error).message);
  }
}

/** Compiled on the engine's own threads, while this one goes on. UserError E414, E419. */
export async function compileBeside(artifact: Artifact): Promise<WebAssembly.Module> {
  const bytes = moduleBytes(artifact);
  // Since version 24, Node ends where nothing but the engine's own threads is at work.
  const alive = setInterval(() => {}, 1 << 30);
  try {
    return await WebAssembly.compile(bytes);
  } catch (e) {
    return invalid((e as Error).message);
  } finally {
    clearInterval(alive);
  }
}

/** UserError E414. */
export function checkModule(module: WebAssembly.Module, program: Program): void {
  for (const i of WebAssembly.Module.imports(module))
    if (i.module !== 'env' || i.name !== 'memory' || i.kind !== 'memory')
      invalid(`it imports ${i.kind} ${i.module}.${i.name}`);
  const exported = new Map(WebAssembly.Module.exports(module).map((e) => [e.name, e.kind]));
  for (const k of program.kernels)
    if (exported.get(k.name) !== 'function') invalid(`it does not export the kernel '${k.name}'`);
}

/** Memory as a program's threads share it. */
export interface SharedMemory {
  readonly memory: WebAssembly.Memory;
  /** Where each thread's scratch memory begins; of fewer threads than were asked for where all of them do not fit. */
  readonly scratch: readonly number[];
}

/** Zeroed. UserError E414, E416, E423. */
export function makeMemory(program: Program, threads: number): SharedMemory {
  if (program.memories.length !== 1) invalid(`${program.memories.length} memories; this device has one`);
  const align = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
  const first = align(program.memories[0].bytes);
  const each = align(Math.max(0, ...program.kernels.map((k) => k.scratch)));
  const fit = Math.floor((MEMORY_LIMIT - first) / Math.max(1, each));
  const count = Math.max(1, Math.min(threads, fit));
  const total = first + count * each;
  const pages = Math.max(1, Math.ceil(total / PAGE));
  if (pages > MAX_PAGES) throw memoryTooLarge(total, MEMORY_LIMIT);
  const scratch = Array.from({ length: count }, (_, t) => first + t * each);
  try {
    return { memory: new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }), scratch };
  } catch {
    throw memoryRefused(total);
  }
}

/** The kernels by name, for the thread that calls. UserError E414. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): ReadonlyMap<string, Kernel> {
  try {
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    return new Map(Object.entries(exports) as [string, Kernel][]);
  } catch (e) {
    return invalid((e as Error).message);
  }
}
