/**
 * Runs a kernel on the host's WebAssembly, and the same kernel in the interpreter.
 */
import { printWasm } from '../../compiler/targets/wasm/print.js';
import type { Expr, Kernel, KernelParam, KernelType, Stmt } from '../../ir/kernel.js';
import { interpret, type KernelData } from '../../ir/kernel-interpret.js';
import { verifyKernel } from '../../ir/verify-kernel.js';

export type Buffers = Record<string, KernelData>;

export const bufferOf = (type: KernelType, length: number): KernelData =>
  type === 'f32' || type === 'f16'
    ? new Float32Array(length)
    : type === 'i32'
      ? new Int32Array(length)
      : new Uint8Array(length);

/** Bytes that follow each buffer and must stay as they are. */
const GUARD = 64;

/** Runs the kernel over copies of `buffers` in `parts` ranges of its grid, and returns the copies. */
export function runWasm(kernel: Kernel, buffers: Buffers, parts = 1): Buffers {
  const { bytes, info } = printWasm([kernel]);
  const { grid, scratch } = info[0];
  const places: number[] = [];
  let top = GUARD;
  for (const p of kernel.params) {
    places.push(top);
    top += Math.ceil((buffers[p.name].byteLength + GUARD) / 16) * 16;
  }
  const scratchAt = top;
  top += scratch;
  const memory = new WebAssembly.Memory({ initial: Math.ceil(top / 65536) });
  const all = new Uint8Array(memory.buffer).fill(0xa5);
  kernel.params.forEach((p, n) => {
    const b = buffers[p.name];
    all.set(new Uint8Array(b.buffer, b.byteOffset, b.byteLength), places[n]);
  });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes as BufferSource), { env: { memory } });
  const run = instance.exports[kernel.name] as (...args: number[]) => void;
  for (let part = 0; part < parts; part++) {
    const [begin, end] = [part, part + 1].map((n) => Math.floor((n * grid) / parts));
    run(...places, scratchAt, begin, end);
  }
  const out: Buffers = {};
  kernel.params.forEach((p, n) => {
    const b = buffers[p.name];
    const copy = all.slice(places[n], places[n] + b.byteLength);
    out[p.name] = new (b.constructor as Float32ArrayConstructor)(copy.buffer);
    const after = all.subarray(places[n] + b.byteLength, places[n + 1] ?? scratchAt);
    if (after.some((byte) => byte !== 0xa5)) throw new Error(`${kernel.name} wrote beside ${p.name}`);
  });
  return out;
}

/** The same in the interpreter. */
export function runInterpreted(kernel: Kernel, buffers: Buffers): Buffers {
  const out: Buffers = Object.fromEntries(Object.entries(buffers).map(([name, b]) => [name, b.slice()]));
  interpret(kernel, out);
  return out;
}

export const param = (
  name: string,
  length: number,
  type: KernelType = 'f32',
  access: KernelParam['access'] = 'read',
): KernelParam => ({ name, type, access, length });

/** A verified kernel. */
export function kernelOf(name: string, params: readonly KernelParam[], body: readonly Stmt[]): Kernel {
  const kernel: Kernel = {
    name,
    params,
    body,
    workgroup: 64,
    flops: 0,
    bytes: 0,
    loc: { kind: 'pass', pass: 'test' },
  };
  verifyKernel(kernel);
  return kernel;
}

/** `if` as a statement. */
export const when = (cond: Expr, body: readonly Stmt[], otherwise: readonly Stmt[] = []): Stmt => ({
  kind: 'if',
  cond,
  // biome-ignore lint/suspicious/noThenProperty: the statement's own field
  then: body,
  else: otherwise,
});

/** Deterministic numbers in [0, 1): mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
