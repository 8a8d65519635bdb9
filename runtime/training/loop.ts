/**
 * The training loop: per step it writes one batch and the scheduled scalars, runs `train`, and reads back the metrics and
 * nothing else; after each epoch it runs `eval` over the validation set.
 */
import type { Manifest } from '../../ir/artifact.js';
import { lossNotFinite } from '../../ir/diagnostics/run.js';
import { isChange } from '../../ir/staleness.js';
import type { Augmentation } from '../data/augmentation.js';
import { batchArrays, fillBatch } from '../data/batch.js';
import { batches, inOrder } from '../data/batches.js';
import type { Dataset } from '../data/dataset.js';
import { Loader } from '../data/loader.js';
import type { Device } from '../devices/device.js';
import type { Progress } from './checkpoint-file.js';
import { Feed, type Scalars } from './feed.js';
import { Refreshes } from './refreshes.js';
import type { DoneReport, EpochReport, Evaluation, Reporter } from './report.js';
import { dampingAt, klBound, learningRate, momentumAt } from './schedules.js';
import { describeSettings, type Settings } from './settings.js';
import { batchesOf, TrainingStep } from './step.js';

export interface TrainingData {
  readonly train: Dataset;
  readonly validation?: Dataset;
  /** Random changes of training examples. */
  readonly augmentation?: Augmentation;
  /** Threads that prepare batches; decided by their size if undefined. */
  readonly workers?: number;
}

/** Keeps a run so that it can be continued after a crash. */
export interface Keeper {
  /** Sets the device and the loader to the run that is kept, if there is one, and says where it stands. */
  restore(loader: Loader): Progress | undefined;
  /** Called between two steps. */
  offer(progress: Progress, epochEnded: boolean, loader: Loader): Promise<void>;
}

/** Sums of an epoch that begins. */
const nothing: Progress['sum'] = { loss: 0, correct: 0, count: 0, failed: 0, notFinite: 0, seconds: 0 };

/** Largest finite f32: a bound that clips nothing and still is a number. */
const NO_BOUND = 3.4e38;

/**
 * Trains on an initialised device. Throws UserError E501 at the first loss that is not finite.
 */
export async function train(
  device: Device,
  manifest: Manifest,
  data: TrainingData,
  settings: Settings,
  reporter: Reporter = {},
  keeper?: Keeper,
): Promise<DoneReport> {
  const loader = new Loader(data.train, manifest, {
    ...data,
    seed: settings.seed,
    total: batchesOf(settings, settings.totalSteps).first,
  });
  try {
    return await trainOn(loader, device, manifest, data, settings, reporter, keeper);
  } finally {
    loader.close();
  }
}

async function trainOn(
  loader: Loader,
  device: Device,
  manifest: Manifest,
  data: TrainingData,
  settings: Settings,
  reporter: Reporter,
  keeper?: Keeper,
): Promise<DoneReport> {
  const training = new TrainingStep(device, manifest, loader, settings);
  const kept = keeper?.restore(loader);
  const refreshes = settings.staleness && new Refreshes(manifest, settings.staleness, kept?.refreshes);
  const started = performance.now();
  const dispatchesBefore = device.dispatches;
  let perStep = { dispatches: 0, submissions: 0 };
  reporter.start?.({
    model: manifest.model.name,
    optimizer: manifest.optimizer,
    device: device.description,
    settings,
    batch: manifest.batch.train,
    augmentation: data.augmentation,
    trainExamples: data.train.count,
    validationExamples: data.validation?.count ?? 0,
    continuedAfter: kept?.step ?? 0,
    ...(refreshes && { statistics: refreshes.statistics }),
  });

  const epochs: EpochReport[] = [...(kept?.epochs ?? [])];
  let step = kept?.step ?? 0;
  let sum = { ...(kept?.sum ?? nothing) };
  const standing = (sums: Progress['sum']): Progress => ({
    ...{ step, sum: sums, epochs },
    ...(refreshes && { refreshes: refreshes.save() }),
  });
  const classified = manifest.functions.train.metrics!.includes('correct');
  while (step < settings.totalSteps) {
    const epoch = Math.floor(step / settings.stepsPerEpoch);
    const epochStarted = performance.now() - 1000 * sum.seconds;
    const seconds = (): number => (performance.now() - epochStarted) / 1000;
    for (let inEpoch = true; inEpoch; ) {
      const scalars = scalarsAt(settings, step);
      const { dispatches, submissions } = device;
      const metrics = await training.run(step, scalars, refreshes?.begin(step + 1));
      perStep = { dispatches: device.dispatches - dispatches, submissions: device.submissions - submissions };
      step++;
      const refreshedNow = refreshes?.end(step, metrics);
      const { loss, count, correct } = metrics;
      if (!Number.isFinite(loss))
        throw lossNotFinite(loss, step, epoch + 1, describeSettings(settings, manifest.optimizer));
      sum.loss += loss * count;
      sum.count += count;
      sum.correct += correct ?? 0;
      sum.failed += metrics.failed_inversions ?? 0;
      sum.notFinite += metrics.nonfinite ?? 0;
      reporter.step?.({
        step,
        epoch: epoch + 1,
        loss,
        accuracy: correct === undefined ? undefined : correct / count,
        learningRate: scalars.lr,
        momentum: scalars.momentum,
        metrics: refreshes ? withoutChanges(metrics) : metrics,
        ...refreshedNow,
      });
      inEpoch = step < settings.totalSteps && step % settings.stepsPerEpoch !== 0;
      if (inEpoch) await keeper?.offer(standing({ ...sum, seconds: seconds() }), false, loader);
    }
    const trained = seconds();
    const report: EpochReport = {
      epoch: epoch + 1,
      step,
      train: {
        loss: sum.loss / sum.count,
        accuracy: classified ? sum.correct / sum.count : undefined,
        count: sum.count,
      },
      validation: data.validation && (await evaluate(device, manifest, data.validation)),
      failedInversions: sum.failed,
      notFinite: sum.notFinite,
      seconds: trained,
    };
    epochs.push(report);
    reporter.epoch?.(report);
    sum = { ...nothing };
    await keeper?.offer(standing(sum), true, loader);
  }
  const done: DoneReport = {
    steps: step,
    epochs,
    seconds: (performance.now() - started) / 1000,
    dispatches: device.dispatches - dispatchesBefore,
    perStep,
    ...(refreshes && { refreshedShares: refreshes.shares() }),
  };
  reporter.done?.(done);
  return done;
}

/** Loss and accuracy over a whole set, with running statistics and without dropout. */
export async function evaluate(device: Device, manifest: Manifest, data: Dataset): Promise<Evaluation> {
  const feed = new Feed(device, manifest, 'eval');
  const sum = { loss: 0, correct: 0, top5: 0, count: 0 };
  const arrays = batchArrays(manifest, 'eval');
  let [classified, ranked] = [false, false];
  for (const rows of batches(inOrder(data.count), manifest.batch.eval)) {
    feed.batch(fillBatch(arrays, data, rows), Int32Array.of(0, 0, 0));
    await feed.run();
    const metrics = await feed.metrics();
    sum.loss += metrics.loss_sum;
    sum.correct += metrics.correct ?? 0;
    sum.top5 += metrics.top5 ?? 0;
    sum.count += metrics.count;
    classified = metrics.correct !== undefined;
    ranked = metrics.top5 !== undefined;
  }
  return {
    loss: sum.loss / sum.count,
    accuracy: classified ? sum.correct / sum.count : undefined,
    top5: ranked ? sum.top5 / sum.count : undefined,
    count: sum.count,
  };
}

/** A change is of its step only where its statistic was due; `refreshed` tells those. */
const withoutChanges = (metrics: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(metrics).filter(([name]) => !isChange(name)));

/** The scalar inputs of step `step` (from 0). */
function scalarsAt(s: Settings, step: number): Scalars {
  const epoch = step / s.stepsPerEpoch;
  return {
    lr: learningRate(s.schedule, epoch),
    momentum: momentumAt(s.momentumRule, s.momentum, s.schedule, epoch, (step - 1) / s.stepsPerEpoch),
    damping: dampingAt(s.damping, epoch, s.stepsPerEpoch),
    kl_bound: Math.min(NO_BOUND, klBound(s.klClip, s.klDecay, s.schedule, epoch)),
    weight_decay: s.weightDecay,
    trust_coefficient: s.trustCoefficient,
  };
}
