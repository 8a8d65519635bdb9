/**
 * The batches of a training run, one after the other: which examples are in batch t, and what random changes they get, is a pure
 * function of (seed, t), so that a run can be continued anywhere.
 */
import type { Manifest } from '../../ir/artifact.js';
import { type Batch, batchArrays, fillBatch } from './batch.js';
import { permutation } from './batches.js';
import type { Dataset } from './dataset.js';

export class Loader {
  private readonly arrays: Omit<Batch, 'count'>;
  private readonly size: number;
  private readonly perEpoch: number;
  private order: { readonly epoch: number; readonly rows: Int32Array } | undefined;

  constructor(
    private readonly data: Dataset,
    manifest: Manifest,
    private readonly seed: number,
  ) {
    this.arrays = batchArrays(manifest, 'train');
    this.size = manifest.batch.train;
    this.perEpoch = Math.ceil(data.count / this.size);
  }

  /** Batch `t` of the run, from 0; its arrays are used again for the next one. */
  async batch(t: number): Promise<Batch> {
    return fillBatch(this.arrays, this.data, this.rowsOf(t));
  }

  /** What earlier batches left behind for later ones, by name: part of a checkpoint. */
  carried(): ReadonlyMap<string, Float32Array> {
    return new Map();
  }

  /** The examples in batch `t`: each epoch has all of them once, in an order of its own; its last batch may be short. */
  private rowsOf(t: number): Int32Array {
    const epoch = Math.floor(t / this.perEpoch);
    if (this.order?.epoch !== epoch) this.order = { epoch, rows: permutation(this.data.count, this.seed, epoch) };
    const at = (t % this.perEpoch) * this.size;
    return this.order.rows.subarray(at, at + this.size);
  }
}
