/**
 * The artifact's weights file, made while the compiler makes kernels: its bytes lie in shared memory, where a second thread
 * (weights-worker.ts) draws the new weights, hashes the whole, and writes it. The same bytes come out with or without that thread.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { type Draw, DrawnTensor, drawNormals } from '../compiler/frontend/init.js';
import type { TensorData } from '../ir/graph.js';
import { layoutSafetensors, placeTensor } from '../ir/safetensors.js';
import { concrete, product } from '../ir/types.js';
import { makeFolder } from '../runtime/write-files.js';

export interface WeightsFile {
  readonly bytes: Uint8Array;
  readonly sha256: string;
  /** When the thread ends: whether it has written the file. It does not fail; who writes the file then will see why. */
  readonly written: Promise<boolean>;
}

/** A file that lacks the tensors that are drawn: `count` floats from byte `at` on, each. */
export interface Unfinished {
  readonly memory: SharedArrayBuffer;
  readonly draws: readonly { readonly at: number; readonly count: number; readonly draw: Draw }[];
}

/** What the thread is given: `descriptor` of the file to write, if it is to be written. */
export interface Work extends Unfinished {
  readonly descriptor: number | undefined;
}

/** Starting a thread costs about as much as drawing, hashing or writing so many bytes. */
const WORTH_A_THREAD = 1 << 23;
/**
 * While the file is on its way, Ctrl-C is heard only when the compiler pauses, which has a folder to remove then: a long compilation
 * of a small file ends at once.
 */
const WORTH_WRITING_BESIDE = 1 << 25;

/**
 * Begins to make the file that writeSafetensors(weights) makes.
 * @param pathOf says where a second thread writes it; not asked where there is none
 */
export async function makeWeightsFile(
  weights: ReadonlyMap<string, TensorData>,
  pathOf?: () => string,
): Promise<WeightsFile> {
  const { size, header, offsets } = layoutSafetensors(weights);
  const memory = new SharedArrayBuffer(size);
  const bytes = new Uint8Array(memory);
  bytes.set(header);
  const draws: Unfinished['draws'][number][] = [];
  for (const [name, at] of offsets) {
    const tensor = weights.get(name)!;
    if (tensor instanceof DrawnTensor)
      draws.push({ at, count: product(concrete(tensor.type.shape)), draw: tensor.draw });
    else placeTensor(bytes, at, name, tensor);
  }
  const unfinished = { memory, draws };
  const made =
    size < WORTH_A_THREAD
      ? { sha256: finishFile(unfinished), written: Promise.resolve(false) }
      : await inThread(unfinished, size < WORTH_WRITING_BESIDE ? undefined : pathOf?.());
  return { bytes, ...made };
}

/** Draws what is missing; returns the file's SHA-256. */
export function finishFile({ memory, draws }: Unfinished): string {
  for (const { at, count, draw } of draws) drawNormals(new Float32Array(memory, at, count), draw);
  return createHash('sha256').update(new Uint8Array(memory)).digest('hex');
}

/** Returns when the hash is known, while the thread goes on to write. */
async function inThread(unfinished: Unfinished, path: string | undefined): Promise<Omit<WeightsFile, 'bytes'>> {
  // Opened here, so that nothing appears any more in a folder that is discarded meanwhile.
  const descriptor = path === undefined ? undefined : create(path);
  const workerData: Work = { ...unfinished, descriptor };
  try {
    const worker = new Worker(new URL('./weights-worker.js', import.meta.url), { workerData });
    const ended = new Promise<number>((resolve) => worker.once('exit', resolve));
    const hashed = once(worker, 'message');
    // If it can no longer hash, `hashed` fails; if it can no longer write, its exit code says so.
    worker.on('error', () => {});
    const written = ended.then((code) => {
      if (descriptor !== undefined) closeSync(descriptor);
      return descriptor !== undefined && code === 0;
    });
    const [sha256] = await hashed;
    return { sha256, written };
  } catch {
    // Where no thread can be had, the work is done here.
    return { sha256: finishFile(unfinished), written: Promise.resolve(false) };
  }
}

function create(path: string): number | undefined {
  try {
    makeFolder(dirname(path));
    return openSync(path, 'wx');
  } catch {
    return undefined;
  }
}
