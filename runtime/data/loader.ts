/**
 * The batches of a training run, one after the other: which examples are in batch t, and what random changes they get, is a pure
 * function of (seed, t), so that a run can be continued anywhere, on any number of threads. Only mixup depends on the batch
 * before: it is done here, in order, after what threads can do ahead.
 */
import { availableParallelism } from 'node:os';
import type { Manifest } from '../../ir/artifact.js';
import type { Augmentation } from './augmentation.js';
import { type Batch, batchArrays } from './batch.js';
import { permutation } from './batches.js';
import { type Dataset, dataInput } from './dataset.js';
import { eraseImages, moveImages } from './image-changes.js';
import { LoaderThreads } from './loader-threads.js';
import { RunningMixup } from './running-mixup.js';

export interface LoaderOptions {
  readonly seed: number;
  /** Batches of the run. */
  readonly total: number;
  readonly augmentation?: Augmentation;
  /** Threads that prepare batches ahead; default: none for batches that take no time, else as the machine allows, at most 4. */
  readonly workers?: number;
  /** The module of those threads, where it does not lie beside this one. */
  readonly workerModule?: URL;
}

/** Elements of a batch that are worth a thread: gathering them takes about a millisecond. */
const WORTH_A_THREAD = 1 << 18;
const MOST_THREADS = 4;

export class Loader {
  private readonly arrays: Omit<Batch, 'count'>;
  private readonly size: number;
  private readonly perEpoch: number;
  private readonly mixup: RunningMixup | undefined;
  private readonly threads: LoaderThreads | undefined;
  /** Orders of the last two epochs asked for: threads may be in the next one already. */
  private readonly orders = new Map<number, Int32Array>();

  constructor(
    private readonly data: Dataset,
    manifest: Manifest,
    private readonly options: LoaderOptions,
  ) {
    this.arrays = batchArrays(manifest, 'train');
    this.size = manifest.batch.train;
    this.perEpoch = Math.ceil(data.count / this.size);
    const { seed, augmentation = {}, total, workerModule } = options;
    if (augmentation.mixup !== undefined)
      this.mixup = new RunningMixup(augmentation.mixup, seed, this.size, this.arrays);
    const large = this.arrays.examples.length >= WORTH_A_THREAD;
    const workers = options.workers ?? (large ? Math.min(MOST_THREADS, availableParallelism() - 1) : 0);
    if (workers > 0 && data.share)
      this.threads = new LoaderThreads({
        threads: workers,
        setting: {
          preparation: { stored: data.share(), shape: data.shape, seed, augmentation },
          dtype: dataInput(manifest).dtype,
        },
        bytes: this.arrays.examples.byteLength,
        rowsOf: (t) => (t < total ? this.rowsOf(t) : undefined),
        module: workerModule,
      });
  }

  /** Batch `t` of the run, from 0, one after the other; its arrays are used again for the next one. */
  async batch(t: number): Promise<Batch> {
    const { seed, augmentation = {} } = this.options;
    const rows = this.rowsOf(t);
    const { examples, targets } = this.arrays;
    const prepared = await this.threads?.take(t);
    const images = { examples, rows, shape: this.data.shape, t };
    if (prepared) {
      examples.set(new (examples.constructor as Float32ArrayConstructor)(prepared));
      this.threads!.giveBack(prepared);
    } else {
      examples.fill(0);
      this.data.gather(rows, examples);
      moveImages(images, seed, augmentation);
    }
    targets.fill(0);
    this.data.gatherTargets(rows, targets);
    const batch = { examples, targets, count: rows.length };
    this.mixup?.mix(t, rows, batch);
    if (augmentation.erase !== undefined) eraseImages(images, seed, augmentation.erase);
    return batch;
  }

  /** What earlier batches left behind for later ones, by name: part of a checkpoint, which reads and sets these arrays. */
  carried(): ReadonlyMap<string, Float32Array> {
    return this.mixup?.carried() ?? new Map();
  }

  close(): void {
    this.threads?.close();
  }

  /** The examples in batch `t`: each epoch has all of them once, in an order of its own; its last batch may be short. */
  private rowsOf(t: number): Int32Array {
    const epoch = Math.floor(t / this.perEpoch);
    let order = this.orders.get(epoch);
    if (!order) {
      order = permutation(this.data.count, this.options.seed, epoch);
      this.orders.set(epoch, order);
      if (this.orders.size > 2) this.orders.delete(Math.min(...this.orders.keys()));
    }
    const at = (t % this.perEpoch) * this.size;
    return order.subarray(at, at + this.size);
  }
}
