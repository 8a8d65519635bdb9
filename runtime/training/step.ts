/**
 * One step of training on a device: a batch goes through `train`; or several micro-batches go through `accumulate`, one after the
 * other, and `train` updates once. Where a step of an epoch finds fewer micro-batches than it may have, it takes those.
 */
import { ACCUMULATE, CARRY, type Manifest } from '../../ir/artifact.js';
import type { Loader } from '../data/loader.js';
import type { Device, Guards } from '../devices/device.js';
import { Feed, type Scalars } from './feed.js';
import type { Settings } from './settings.js';

/** The batches of a step, by their numbers in the run. */
interface Batches {
  readonly first: number;
  readonly count: number;
}

/** @param step from 0; that behind the last one gives the number of batches in the run as `first` */
export function batchesOf({ accumulate, stepsPerEpoch, batchesPerEpoch }: Settings, step: number): Batches {
  const epoch = Math.floor(step / stepsPerEpoch);
  const before = (step % stepsPerEpoch) * accumulate;
  return { first: epoch * batchesPerEpoch + before, count: Math.min(accumulate, batchesPerEpoch - before) };
}

export class TrainingStep {
  private readonly update: Feed;
  /** Where a step has several batches. */
  private readonly accumulate: Feed | undefined;

  constructor(
    device: Device,
    private readonly manifest: Manifest,
    private readonly loader: Loader,
    private readonly settings: Settings,
  ) {
    this.update = new Feed(device, manifest, 'train');
    if (manifest.defaults.accumulate !== undefined) this.accumulate = new Feed(device, manifest, ACCUMULATE);
  }

  /** Runs step `step`, from 0, and returns its metrics. */
  async run(step: number, scalars: Scalars, guards: Guards | undefined): Promise<Record<string, number>> {
    const { first, count } = batchesOf(this.settings, step);
    const examples = this.accumulate ?? this.update;
    for (let i = 0; i < count; i++) {
      const batch = await this.loader.batch(first + i);
      // Random numbers are drawn by the rows' places in the whole step: its division into batches changes none.
      examples.batch(batch, Int32Array.of(this.settings.seed, step, i * this.manifest.batch.train));
      if (!this.accumulate) break;
      this.accumulate.scalars({ [CARRY]: i === 0 ? 0 : 1 });
      await this.accumulate.run(guards);
    }
    this.update.scalars(scalars);
    await this.update.run(guards);
    return this.update.metrics();
  }
}
