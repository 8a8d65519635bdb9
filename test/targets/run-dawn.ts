/**
 * Runs a kernel as WGSL on Dawn with a software driver, and waits for it: a worker thread does what is asynchronous, so that
 * tests use it as they use the interpreter.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort, SHARE_ENV, Worker } from 'node:worker_threads';
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

/** Runs the kernel over copies of `buffers`, and returns the copies. */
export function runDawn(kernel: Kernel, buffers: Buffers): Buffers {
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
