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
  };
}

/** The settings in the user's own words, for reports and errors. */
export function describeSettings(s: Settings, optimizer: Manifest['optimizer']): string {
  const base = [`lr ${s.schedule.lr}`, `momentum ${s.momentum}`];
  if (optimizer === 'spngd') base.push(`damping ${s.damping}`, `kl-clip ${s.klClip === Infinity ? 0 : s.klClip}`);
  if (s.weightDecay !== 0) base.push(`weight-decay ${s.weightDecay}`);
  return base.join(', ');
}

/** Which option sets what; the schedule ends where the run does. */
const optionOf: Readonly<Record<string, string>> = {
  totalSteps: '--epochs or --steps',
  stepsPerEpoch: 'steps in an epoch',
  'schedule.lr': '--lr',
  klClip: '--kl-clip',
  momentum: '--momentum',
  damping: '--damping',
  weightDecay: '--weight-decay',
  seed: '--seed',
};

/** Every setting as text, by the option that sets it where there is one: two runs with equal ones take the same course. */
export function settingsRecord(s: Settings): Record<string, string> {
  const record: Record<string, string> = {};
  const add = (path: string, value: unknown): void => {
    if (typeof value === 'object' && value !== null)
      for (const [key, v] of Object.entries(value)) add(path === '' ? key : `${path}.${key}`, v);
    else if (path !== 'schedule.end') record[optionOf[path] ?? path] = String(value);
  };
  add('', s);
  return record;
}
