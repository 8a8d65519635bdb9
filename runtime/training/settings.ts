/**
 * The settings of one run: the artifact's defaults, or a preset in their place, replaced where the user says so. What is part of
 * the graph (clip, rescaling, weight decay) stays as it was compiled.
 */
import type { Defaults, Manifest } from '../../ir/artifact.js';
import { type MomentumRule, type PresetName, resolvePreset } from '../../ir/presets.js';
import { canMix } from '../data/augmentation.js';
import type { Damping, Schedule } from './schedules.js';

export interface Overrides {
  readonly preset?: PresetName;
  readonly epochs?: number;
  readonly accumulate?: number;
  readonly steps?: number;
  readonly lr?: number;
  readonly lrSchedule?: Schedule['kind'];
  readonly lrPower?: number;
  readonly lrStart?: number;
  readonly lrEnd?: number;
  readonly warmup?: number;
  readonly warmupFrom?: number;
  readonly momentum?: number;
  readonly momentumRule?: MomentumRule;
  readonly damping?: number;
  readonly dampingFrom?: number;
  readonly dampingWarmup?: number;
  readonly klClip?: number;
  readonly klDecay?: boolean;
  readonly weightDecay?: number;
  readonly trustCoefficient?: number;
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
  readonly preset: string;
  readonly totalSteps: number;
  readonly stepsPerEpoch: number;
  /** Batches in a step, where the epoch has as many left; 1: the program does not accumulate, or need not. */
  readonly accumulate: number;
  readonly batchesPerEpoch: number;
  readonly schedule: Schedule;
  readonly momentum: number;
  readonly momentumRule: MomentumRule;
  readonly damping: Damping;
  /** kappa; Infinity where there is no clip. */
  readonly klClip: number;
  readonly klDecay: boolean;
  /** As compiled. */
  readonly weightRescaling: NonNullable<Defaults['weight_rescaling']>;
  readonly weightDecay: number;
  readonly trustCoefficient: number;
  readonly seed: number;
  /** Absent where the curvature is refreshed in every step. */
  readonly staleness?: StalenessSettings;
}

/** The hyper-parameters that a run begins with. UserError E605 where a preset is for another optimizer. */
export function hyperParameters(
  manifest: Manifest,
  { preset, accumulate }: Pick<Overrides, 'preset' | 'accumulate'>,
): Defaults {
  if (preset === undefined) return manifest.defaults;
  return resolvePreset(preset, manifest.optimizer, manifest.batch.train * accumulation(manifest, accumulate));
}

/** Batches in a step; a program without `accumulate` takes one. */
const accumulation = ({ defaults }: Manifest, asked: number | undefined): number =>
  defaults.accumulate === undefined ? 1 : (asked ?? defaults.accumulate);

/**
 * @param examples size of the training set
 *
 * The schedule ends where the run ends, or at e_end where that is later (as in the authors' code); a given `lrEnd` is taken as it is.
 */
export function resolveSettings(manifest: Manifest, overrides: Overrides, examples: number): Settings {
  const { batch } = manifest;
  const defaults = hyperParameters(manifest, overrides);
  const accumulate = accumulation(manifest, overrides.accumulate);
  const batchesPerEpoch = Math.ceil(examples / batch.train);
  const stepsPerEpoch = Math.ceil(batchesPerEpoch / accumulate);
  const totalSteps = overrides.steps ?? Math.max(1, Math.round((overrides.epochs ?? defaults.epochs) * stepsPerEpoch));
  const compiled = graphOf(manifest);
  const klClip = compiled.clips ? (overrides.klClip ?? defaults.kl_clip ?? 0) : 0;
  return {
    preset: defaults.preset,
    totalSteps,
    stepsPerEpoch,
    accumulate,
    batchesPerEpoch,
    schedule: {
      kind: overrides.lrSchedule ?? defaults.lr_schedule,
      lr: overrides.lr ?? defaults.lr,
      power: overrides.lrPower ?? defaults.lr_power,
      start: overrides.lrStart ?? defaults.lr_start ?? 0,
      end: overrides.lrEnd ?? Math.max(defaults.lr_end ?? 0, totalSteps / stepsPerEpoch),
      warmup: overrides.warmup ?? defaults.warmup_epochs ?? 0,
      warmupFrom: overrides.warmupFrom ?? defaults.warmup_from ?? 1,
    },
    momentum: overrides.momentum ?? defaults.momentum,
    momentumRule: overrides.momentumRule ?? defaults.momentum_rule,
    damping: {
      value: overrides.damping ?? defaults.damping ?? 0,
      from: overrides.dampingFrom ?? defaults.damping_from ?? 0,
      warmup: overrides.dampingWarmup ?? defaults.damping_warmup ?? 0,
    },
    klClip: klClip === 0 ? Infinity : klClip,
    klDecay: overrides.klDecay ?? defaults.kl_decay ?? false,
    weightRescaling: compiled.rescaling,
    weightDecay: compiled.decays ? (overrides.weightDecay ?? defaults.weight_decay) : 0,
    trustCoefficient: overrides.trustCoefficient ?? defaults.trust_coefficient ?? 0,
    seed: overrides.seed ?? manifest.seed,
    staleness: resolveStaleness(manifest.defaults, overrides),
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

/** What was compiled in: a number cannot switch it on. */
export function graphOf({ defaults }: Manifest) {
  return {
    clips: (defaults.kl_clip ?? 0) !== 0,
    decays: defaults.weight_decay !== 0,
    rescaling: defaults.weight_rescaling ?? 'off',
  };
}

/** What a preset of the run asks of the graph that the artifact does not have, each with the option of `compile` that gives it. */
export function presetMisfits(manifest: Manifest, preset: PresetName): string[] {
  const wanted = hyperParameters(manifest, { preset });
  const compiled = graphOf(manifest);
  const rescaling = wanted.weight_rescaling ?? 'off';
  const misfits: string[] = [];
  if ((wanted.kl_clip ?? 0) !== 0 && !compiled.clips) misfits.push('a KL clip (compile --kl-clip on)');
  const staleness = wanted.staleness ?? 'off';
  if (staleness !== (manifest.defaults.staleness ?? 'off') && staleness !== 'off')
    misfits.push(`${staleness} staleness (compile --staleness ${staleness})`);
  if ((wanted.mixup ?? 0) > 0 && !canMix(manifest)) misfits.push('examples that mix (compile --labels soft)');
  if (wanted.weight_decay !== 0 && !compiled.decays) misfits.push('weight decay (compile --weight-decay on)');
  if (rescaling !== compiled.rescaling)
    misfits.push(`weight rescaling ${rescaling}, not ${compiled.rescaling} (compile --weight-rescaling ${rescaling})`);
  return misfits;
}

/** The settings in the user's own words, for errors. */
export function describeSettings(s: Settings, optimizer: Manifest['optimizer']): string {
  const base = [`lr ${s.schedule.lr}`, `momentum ${s.momentum}`];
  if (optimizer === 'spngd') base.push(`damping ${s.damping.value}`, `kl-clip ${s.klClip === Infinity ? 0 : s.klClip}`);
  if (s.weightDecay !== 0) base.push(`weight-decay ${s.weightDecay}`);
  if (s.staleness) base.push(describeStaleness(s.staleness));
  return base.join(', ');
}

function describeStaleness({ kind, interval, alpha }: StalenessSettings): string {
  return kind === 'fixed' ? `refreshed every ${interval} steps` : `staleness alpha ${alpha}`;
}

/** All settings, a line for each group, with the names of the options that replace them. */
export function settingsInFull(s: Settings, optimizer: Manifest['optimizer']): string[] {
  const { schedule: r, damping: d } = s;
  const epochs = (e: number): string => String(Number(e.toFixed(3)));
  const decay =
    r.kind === 'constant'
      ? ['constant']
      : [`polynomial, power ${r.power}, from epoch ${epochs(r.start)} to ${epochs(r.end)}`];
  const warmup = r.warmup === 0 ? ['no warm-up'] : [`warm-up ${epochs(r.warmup)} epochs from ${r.warmupFrom} of it`];
  const lines = [
    `lr ${r.lr}: ${[...decay, ...warmup].join(', ')}`,
    `momentum ${s.momentum} (${s.momentumRule}), weight decay ${s.weightDecay || 'off'}`,
  ];
  if (optimizer === 'spngd') {
    const damped = d.warmup === 0 ? 'constant' : `from ${d.from} in ${epochs(d.warmup)} epochs`;
    const clip =
      s.klClip === Infinity ? 'off' : `${s.klClip}${s.klDecay ? ', decaying with the square of lr' : ', constant'}`;
    lines.push(`damping ${d.value} (${damped}), KL clip ${clip}, weight rescaling ${s.weightRescaling}`);
  }
  if (s.staleness) lines.push(describeStaleness(s.staleness));
  if (optimizer === 'lars') lines.push(`trust coefficient ${s.trustCoefficient}`);
  return lines;
}

/** Which option sets what. */
const optionOf: Readonly<Record<string, string>> = {
  preset: '--preset',
  totalSteps: '--epochs or --steps',
  stepsPerEpoch: 'steps in an epoch',
  accumulate: '--accumulate',
  batchesPerEpoch: 'batches in an epoch',
  'schedule.kind': '--lr-schedule',
  'schedule.lr': '--lr',
  'schedule.power': '--lr-power',
  'schedule.start': '--lr-start',
  'schedule.end': '--lr-end',
  'schedule.warmup': '--warmup',
  'schedule.warmupFrom': '--warmup-from',
  momentum: '--momentum',
  momentumRule: '--momentum-rule',
  'damping.value': '--damping',
  'damping.from': '--damping-from',
  'damping.warmup': '--damping-warmup',
  klClip: '--kl-clip',
  klDecay: '--kl-decay',
  weightRescaling: 'weight rescaling',
  weightDecay: '--weight-decay',
  trustCoefficient: '--trust-coefficient',
  seed: '--seed',
  'staleness.kind': 'refreshes',
  'staleness.interval': '--interval',
  'staleness.alpha': '--alpha',
  'staleness.bounded': '--bounded',
  'staleness.lag': '--lag',
  'staleness.pairs': '--reinvert',
};

/** Every setting as text, by the option that sets it where there is one: two runs with equal ones take the same course. */
export function settingsRecord(s: Settings): Record<string, string> {
  const record: Record<string, string> = {};
  const add = (path: string, value: unknown): void => {
    if (typeof value === 'object' && value !== null)
      for (const [key, v] of Object.entries(value)) add(path === '' ? key : `${path}.${key}`, v);
    else if (value !== undefined) record[optionOf[path] ?? path] = String(value);
  };
  add('', s);
  // Otherwise a run of another length would differ in two options, of which only one was given.
  if (s.schedule.end === s.totalSteps / s.stepsPerEpoch) record['--lr-end'] = 'the end of the run';
  return record;
}
