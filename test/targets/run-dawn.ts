/**
 * Runs a kernel as WGSL on Dawn with a software driver, and waits for it: a worker thread does what is asynchronous, so that
 * tests use it as they use the interpreter.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort, SHARE_ENV, Worker } from 'node:worker_threads';
import { type JoinedParam, joinParameters } from '../../compiler/kernels/parameters.js';
import { MOST_BINDINGS } from '../../compiler/program/bindings.js';
import { printWgsl, workgroupsOf } from '../../compiler/targets/webgpu/print.js';
import type { Kernel } from '../../ir/kernel.js';
import type { KernelData } from '../../ir/kernel-interpret.js';
import type { Buffers } from './run-wasm.js';

interface Connection {
  readonly port: MessagePort;
  readonly signal: Int32Array;
}

let connection: Connection | undefined;

function connect(): Connection {
  if (connection) return connection;
  const signal = new Int32Array(new SharedArrayBuffer(4));
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(new URL('./dawn-worker.mjs', import.meta.url), {
    workerData: { signal, port: port2 },
    // The Vulkan loader reads the process's own environment.
    env: SHARE_ENV,
    transferList: [port2],
  });
  worker.unref();
  port1.unref();
  connection = { port: port1, signal };
  return connection;
}

/** Longer than any test's kernel takes, so that a lost worker is an error and not a hang. */
const PATIENCE = 100_000;

/** WebGPU binds eight buffers: more are one for each type, as in the windows of a program. */
function joined(kernel: Kernel, buffers: Buffers): Buffers {
  const types = [...new Set(kernel.params.map((p) => p.type))];
  const windows: Record<string, KernelData> = {};
  const params = types.map((type, n): JoinedParam => {
    const own = kernel.params.filter((p) => p.type === type);
    let length = 0;
    const parts = own.map((p) => {
      const offset = length;
      // Parts begin where a binding could.
      length += Math.ceil(p.length / 64) * 64;
      return { param: p.name, offset };
    });
    const window = new (buffers[own[0].name].constructor as Float32ArrayConstructor)(length);
    for (const { param, offset } of parts) window.set(buffers[param] as Float32Array, offset);
    windows[`b${n}`] = window;
    return { name: `b${n}`, type, access: 'readwrite', length, parts };
  });
  const after = runDawn(joinParameters(kernel, kernel.name, params), windows);
  return Object.fromEntries(
    params.flatMap(({ name, parts }) =>
      parts.map(({ param, offset }) => [param, after[name].slice(offset, offset + buffers[param].length)]),
    ),
  );
}

/** Runs the kernel over copies of `buffers`, and returns the copies. */
export function runDawn(kernel: Kernel, buffers: Buffers): Buffers {
  if (kernel.params.length > MOST_BINDINGS) return joined(kernel, buffers);
  const { port, signal } = connect();
  const padded = (b: KernelData): Uint8Array => {
    const bytes = new Uint8Array(Math.ceil(b.byteLength / 4) * 4);
    bytes.set(new Uint8Array(b.buffer, b.byteOffset, b.byteLength));
    return bytes;
  };
  const before = Atomics.load(signal, 0);
  port.postMessage({
    code: printWgsl(kernel),
    access: kernel.params.map((p) => p.access),
    workgroups: workgroupsOf(kernel),
    data: kernel.params.map((p) => padded(buffers[p.name])),
  });
  if (Atomics.wait(signal, 0, before, PATIENCE) === 'timed-out')
    throw new Error(`${kernel.name}: Dawn does not answer`);
  const { data, error } = receiveMessageOnPort(port)!.message as { data: Uint8Array[]; error?: string };
  if (error !== undefined) throw new Error(`${kernel.name}: ${error}\n${printWgsl(kernel)}`);
  return Object.fromEntries(
    kernel.params.map((p, i) => {
      const make = buffers[p.name].constructor as Float32ArrayConstructor;
      return [p.name, new make(data[i].buffer as ArrayBuffer, 0, buffers[p.name].length)];
    }),
  );
}
