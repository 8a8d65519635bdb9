/**
 * The settings of one run: the artifact's resolved defaults, replaced where the user says so.
 */
import type { Defaults, Manifest } from '../../ir/artifact.js';
import type { Schedule } from './schedules.js';

export interface Overrides {
  readonly epochs?: number;
  readonly steps?: number;
  readonly lr?: number;
  readonly momentum?: number;
  readonly damping?: number;
  readonly klClip?: number;
  readonly weightDecay?: number;
  readonly seed?: number;
  readonly alpha?: number;
  readonly bounded?: boolean;
  readonly lag?: number;
  readonly reinvert?: boolean;
  readonly interval?: number;
}

export interface StalenessSettings {
  readonly kind: 'fixed' | 'adaptive';
  /** Steps from one refresh to the next; fixed only. */
  readonly interval: number;
  /** Two values are similar where their relative change is below it; adaptive only. */
  readonly alpha: number;
  /** No interval jumps past the one that failed last; adaptive only. */
  readonly bounded: boolean;
  /** A decision for step t uses what is known of steps up to t-1-lag; adaptive only. */
  readonly lag: number;
  /**
   * Where one factor of a pair is refreshed alone: `keep` pi, and the other one's inverse with it, or `reinvert` both with a new pi.
   */
  readonly pairs: 'keep' | 'reinvert';
}

export interface Settings {
  readonly totalSteps: number;
  readonly stepsPerEpoch: number;
  readonly schedule: Schedule;
  readonly momentum: number;
  readonly momentumRule: Defaults['momentum_rule'];
  readonly damping: number;
  /** kappa; Infinity where there is no clip. */
  readonly klClip: number;
  readonly klDecay: boolean;
  readonly weightDecay: number;
  readonly seed: number;
  /** Absent where the curvature is refreshed in every step. */
  readonly staleness?: StalenessSettings;
}

/** `examples`: size of the training set. The schedule ends where the run ends. */
export function resolveSettings(manifest: Manifest, overrides: Overrides, examples: number): Settings {
  const { defaults, batch } = manifest;
  const stepsPerEpoch = Math.ceil(examples / batch.train);
  const totalSteps = overrides.steps ?? Math.max(1, Math.round((overrides.epochs ?? defaults.epochs) * stepsPerEpoch));
  const klClip = overrides.klClip ?? defaults.kl_clip ?? 0;
  return {
    totalSteps,
    stepsPerEpoch,
    schedule: {
      kind: defaults.lr_schedule,
      lr: overrides.lr ?? defaults.lr,
      power: defaults.lr_power,
      start: 0,
      end: totalSteps / stepsPerEpoch,
    },
    momentum: overrides.momentum ?? defaults.momentum,
    momentumRule: defaults.momentum_rule,
    damping: overrides.damping ?? defaults.damping ?? 0,
    klClip: klClip === 0 ? Infinity : klClip,
    klDecay: defaults.kl_decay ?? false,
    weightDecay: overrides.weightDecay ?? defaults.weight_decay,
    seed: overrides.seed ?? manifest.seed,
    staleness: resolveStaleness(defaults, overrides),
  };
}

/** An interval makes the refreshes of an adaptive artifact fixed. */
function resolveStaleness(defaults: Defaults, overrides: Overrides): StalenessSettings | undefined {
  const { staleness = 'off' } = defaults;
  if (staleness === 'off') return undefined;
  return {
    kind: overrides.interval === undefined ? staleness : 'fixed',
    interval: overrides.interval ?? defaults.staleness_interval ?? 1,
    alpha: overrides.alpha ?? defaults.staleness_alpha ?? 0,
    bounded: overrides.bounded ?? false,
    lag: overrides.lag ?? 0,
    pairs: overrides.reinvert ? 'reinvert' : 'keep',
  };
}

/** The settings in the user's own words, for reports and errors. */
export function describeSettings(s: Settings, optimizer: Manifest['optimizer']): string {
  const base = [`lr ${s.schedule.lr}`, `momentum ${s.momentum}`];
  if (optimizer === 'spngd') base.push(`damping ${s.damping}`, `kl-clip ${s.klClip === Infinity ? 0 : s.klClip}`);
  if (s.weightDecay !== 0) base.push(`weight-decay ${s.weightDecay}`);
  if (s.staleness)
    base.push(
      s.staleness.kind === 'fixed'
        ? `refreshed every ${s.staleness.interval} steps`
        : `staleness alpha ${s.staleness.alpha}`,
    );
  return base.join(', ');
}
