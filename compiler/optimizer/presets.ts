/**
 * Default hyper-parameters, resolved for a batch size. Numbers of `default`: our own study of small nets at batch 64 to
 * 16,384 (damping, learning rate, clip); of `sgd`: linear scaling from 0.1 at batch 256, capped where it stops to train.
 */
import type { Staleness } from '../../ir/staleness.js';
import type { WeightRescaling } from './rescaling.js';

/** What the manifest's `defaults` holds; the host computes each step's scalars from it. */
export interface Defaults {
  readonly preset: 'default' | 'sgd';
  /** First learning rate. */
  readonly lr: number;
  /** polynomial: lr (1 - progress)^lr_power, progress from 0 to 1 over the whole run (SP-NGD eq 21). */
  readonly lr_schedule: 'polynomial' | 'constant';
  readonly lr_power: number;
  readonly momentum: number;
  /** tied: momentum * lr(t) / lr(0) (SP-NGD eq 22). */
  readonly momentum_rule: 'tied' | 'constant';
  /** lambda; spngd only. */
  readonly damping?: number;
  /** Bound on a step's KL divergence; 0 where steps are not clipped; spngd only. */
  readonly kl_clip?: number;
  /** Whether the bound falls with (lr(t) / lr(0))^2: a constant one would cancel the learning rate's decay. */
  readonly kl_decay?: boolean;
  readonly weight_rescaling: WeightRescaling;
  /** sgd only; on weights. */
  readonly weight_decay: number;
  readonly epochs: number;
  /** When statistics of the curvature are refreshed; spngd only. */
  readonly staleness?: Staleness;
  /** Bound on the relative change of a statistic that counts as similar; adaptive only. */
  readonly staleness_alpha?: number;
  /** Steps from one refresh to the next; fixed only. */
  readonly staleness_interval?: number;
}

/** alpha of all of the paper's experiments; the interval of the K-FAC that the paper starts from (SP-NGD 4.3). */
const stalenessDefaults: Record<Staleness, Partial<Defaults>> = {
  off: {},
  fixed: { staleness_interval: 20 },
  adaptive: { staleness_alpha: 0.1 },
};

/** Learning rate of natural gradient up to a batch size. */
const spngdRates: readonly (readonly [number, number])[] = [
  [64, 0.02],
  [256, 0.05],
  [4096, 0.1],
  [Number.POSITIVE_INFINITY, 0.25],
];

const EPOCHS = 10;

/** @param staleness spngd only */
export function resolvePreset(optimizer: 'spngd' | 'sgd', batch: number, staleness: Staleness = 'off'): Defaults {
  const schedule = { lr_schedule: 'polynomial', lr_power: 1, momentum: 0.9 } as const;
  if (optimizer === 'sgd') {
    const lr = Math.min((0.1 * batch) / 256, 0.8);
    return {
      preset: 'sgd',
      lr,
      ...schedule,
      momentum_rule: 'constant',
      weight_rescaling: 'off',
      weight_decay: 1e-4,
      epochs: EPOCHS,
    };
  }
  return {
    preset: 'default',
    lr: spngdRates.find(([upTo]) => batch <= upTo)![1],
    ...schedule,
    momentum_rule: 'tied',
    damping: 1e-2,
    kl_clip: batch <= 256 ? 1e-3 : 1e-2,
    kl_decay: true,
    // Never changes weights that came trained; 'shrink' did as well in the study.
    weight_rescaling: 'off',
    weight_decay: 0,
    epochs: EPOCHS,
    staleness,
    ...stalenessDefaults[staleness],
  };
}
