/**
 * Starts the threads of a device. Where one cannot be had, the device does with fewer: results do not depend on their number.
 */
import { Worker } from 'node:worker_threads';
import type { Member } from './crew.js';

/** What a thread is given. */
export interface ThreadSetting extends Omit<Member, 'kernels'> {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
}

/**
 * @param file the threads' module; default: the one beside this file
 * @returns how many have started, when all have started or failed
 */
export async function startThreads(settings: readonly ThreadSetting[], file?: URL): Promise<number> {
  const url = file ?? new URL('./compute-worker.js', import.meta.url);
  const started = await Promise.all(settings.map((s) => start(url, s)));
  return started.filter(Boolean).length;
}

function start(url: URL, setting: ThreadSetting): Promise<boolean> {
  return new Promise((resolve) => {
    try {
      const worker = new Worker(url, { workerData: setting });
      worker.once('message', () => {
        // From now on it keeps nobody alive who has forgotten to close the device.
        worker.unref();
        resolve(true);
      });
      worker.once('error', () => resolve(false));
      worker.once('exit', () => resolve(false));
    } catch {
      resolve(false);
    }
  });
}
