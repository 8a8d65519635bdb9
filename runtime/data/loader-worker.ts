/**
 * A thread that prepares batches: for each order it fills the buffer that came with it, and sends it back.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { prepare } from './gather.js';
import type { Order, WorkerSetting } from './loader-threads.js';

const { preparation, dtype } = workerData as WorkerSetting;
const Elements = { f32: Float32Array, i32: Int32Array, u8: Uint8Array }[dtype];

parentPort?.on('message', ({ t, rows, buffer }: Order) => {
  prepare(preparation, t, rows, new Elements(buffer));
  parentPort!.postMessage({ t, buffer }, [buffer]);
});
