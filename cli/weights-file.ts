/**
 * The artifact's weights file, made while the compiler makes kernels: its bytes lie in shared memory, where a second thread
 * (weights-worker.ts) draws the new weights and then hashes the whole. The same bytes come out with or without that thread.
 */
import { createHash } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { type Draw, DrawnTensor, drawNormals } from '../compiler/frontend/init.js';
import type { TensorData } from '../ir/graph.js';
import { layoutSafetensors, placeTensor } from '../ir/safetensors.js';
import { concrete, product } from '../ir/types.js';

export interface WeightsFile {
  readonly bytes: Uint8Array;
  readonly sha256: string;
}

/** A file that lacks the tensors that are drawn: `count` floats from byte `at` on, each. */
export interface Unfinished {
  readonly memory: SharedArrayBuffer;
  readonly draws: readonly { readonly at: number; readonly count: number; readonly draw: Draw }[];
}

/** Starting a thread costs about as much as drawing so many. */
const WORTH_A_THREAD = 1 << 21;

/** Begins to make the file that writeSafetensors(weights) makes. */
export async function makeWeightsFile(weights: ReadonlyMap<string, TensorData>): Promise<WeightsFile> {
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
  const drawn = draws.reduce((n, d) => n + d.count, 0);
  return { bytes, sha256: drawn < WORTH_A_THREAD ? finishFile(unfinished) : await inThread(unfinished) };
}

/** Draws what is missing; returns the file's SHA-256. */
export function finishFile({ memory, draws }: Unfinished): string {
  for (const { at, count, draw } of draws) drawNormals(new Float32Array(memory, at, count), draw);
  return createHash('sha256').update(new Uint8Array(memory)).digest('hex');
}

function inThread(unfinished: Unfinished): Promise<string> {
  return new Promise((resolve, reject) => {
    // Where no thread can be had, the work is done here.
    const here = (): void => {
      try {
        resolve(finishFile(unfinished));
      } catch (e) {
        reject(e);
      }
    };
    try {
      const worker = new Worker(new URL('./weights-worker.js', import.meta.url), { workerData: unfinished });
      worker.once('message', resolve).once('error', here);
    } catch {
      here();
    }
  });
}
