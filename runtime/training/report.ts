/**
 * What a run tells whoever watches it. Losses are means over examples; accuracies are fractions, absent for regression.
 */
import type { Manifest } from '../../ir/artifact.js';
import type { Augmentation } from '../data/augmentation.js';
import type { RefreshShares, Statistic, StepRefreshes } from './refreshes.js';
import type { Settings } from './settings.js';

export interface StartReport {
  readonly model: string;
  readonly optimizer: Manifest['optimizer'];
  readonly device: string;
  readonly settings: Settings;
  readonly batch: number;
  /** Random changes of training examples. */
  readonly augmentation?: Augmentation;
  readonly trainExamples: number;
  readonly validationExamples: number;
  /** Steps that were done before, by the run that is continued; 0 for a new run. */
  readonly continuedAfter: number;
  /** What may go stale, in the order in which steps tell of it. */
  readonly statistics?: readonly Statistic[];
}

export interface StepReport extends Partial<StepRefreshes> {
  /** From 1. */
  readonly step: number;
  /** From 1. */
  readonly epoch: number;
  readonly loss: number;
  readonly accuracy?: number;
  readonly learningRate: number;
  readonly momentum: number;
  /** All that the device reported, by name. */
  readonly metrics: Readonly<Record<string, number>>;
}

export interface Evaluation {
  readonly loss: number;
  readonly accuracy?: number;
  /** Whether the class is among the five likeliest; of evaluations, where there are more than five. */
  readonly top5?: number;
  readonly count: number;
}

export interface EpochReport {
  readonly epoch: number;
  /** Steps since the beginning. */
  readonly step: number;
  /** Over the epoch's batches, each measured before its update. */
  readonly train: Evaluation;
  readonly validation?: Evaluation;
  /** Factors that could not be inverted in this epoch: their previous inverses were kept. */
  readonly failedInversions: number;
  /** Directions that were not finite in this epoch: their parameters were left as they were. */
  readonly notFinite: number;
  /** Seconds of training, without validation. */
  readonly seconds: number;
}

export interface DoneReport {
  readonly steps: number;
  readonly epochs: readonly EpochReport[];
  /** Seconds altogether. */
  readonly seconds: number;
  /** Dispatches altogether, evaluations included. */
  readonly dispatches: number;
  /** What one training step took of the device; submissions are 0 on one without a queue. */
  readonly perStep: { readonly dispatches: number; readonly submissions: number };
  /** Shares of the statistics' elements that were refreshed. */
  readonly refreshedShares?: RefreshShares;
}

export interface Reporter {
  start?(report: StartReport): void;
  step?(report: StepReport): void;
  epoch?(report: EpochReport): void;
  done?(report: DoneReport): void;
}
