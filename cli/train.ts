/**
 * What `spngdc run` does: loads and checks an artifact, loads data, trains, and writes the trained weights and model.
 */
import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type Manifest, TEMPLATE, WEIGHTS } from '../ir/artifact.js';
import { optionsConflict, optionWithoutUse } from '../ir/diagnostics/command-line.js';
import { writeSafetensors } from '../ir/safetensors.js';
import { product } from '../ir/types.js';
import { type Artifact, loadArtifact } from '../runtime/artifact.js';
import { parseAugmentation, presetAugmentation } from '../runtime/data/augmentation.js';
import { bindDataset, dataInput, splitExamples } from '../runtime/data/dataset.js';
import { chooseNormalization } from '../runtime/data/normalize.js';
import { openData } from '../runtime/data/open.js';
import type { Device } from '../runtime/devices/device.js';
import { beginCompiling, openDevice } from '../runtime/devices/open.js';
import { exportOnnx } from '../runtime/export-onnx.js';
import { Checkpoints } from '../runtime/training/checkpoints.js';
import { type TrainingData, train } from '../runtime/training/loop.js';
import { METRICS, MetricsLog } from '../runtime/training/metrics-log.js';
import {
  graphOf,
  hyperParameters,
  presetMisfits,
  resolveSettings,
  type Settings,
  settingsRecord,
} from '../runtime/training/settings.js';
import { initialise, readTrained } from '../runtime/training/state.js';
import { checkWritable, writeFiles } from '../runtime/write-files.js';
import { chooseReporter, together } from './reporters.js';
import type { RunFlags } from './run.js';
import { runCurves } from './run-curves.js';
import { RunProfile } from './run-profile.js';
import type { Terminal } from './terminal.js';

/** The command itself, once its options are read. */
export async function runCommand(dir: string, flags: RunFlags, terminal: Terminal): Promise<void> {
  if (flags.epochs !== undefined && flags.steps !== undefined) throw optionsConflict('--epochs', '--steps');
  if (flags.validation !== undefined && flags.split !== undefined) throw optionsConflict('--validation', '--split');
  const artifact = loadArtifact(dir);
  const { manifest } = artifact;
  refuseWithoutUse(manifest, flags);
  checkStaleness(manifest, flags);
  const out = flags.out ?? join('out', manifest.model.name);
  const keeps = flags.resume || flags.checkpointEvery !== undefined;
  if (!keeps && flags.keep !== undefined)
    throw optionWithoutUse('--keep', 'there are no checkpoints without --checkpoint-every or --resume');
  if (flags.threads !== undefined && flags.device !== 'cpu' && flags.device !== 'auto')
    throw optionWithoutUse('--threads', `they are the processor's, and --device is ${flags.device}`);
  const module = beginCompiling(artifact, flags.device);
  for (const folder of keeps ? [out, join(out, CHECKPOINTS)] : [out]) checkWritable(folder);
  const data = loadTrainingData(manifest, flags);
  const settings = resolveSettings(manifest, flags, data.train.count);
  const notice = (text: string): void => {
    terminal.stderr.write(`note: ${text}\n`);
  };
  const misfits = flags.preset === undefined ? [] : presetMisfits(manifest, flags.preset);
  if (misfits.length > 0) notice(`the preset ${flags.preset} wants what this artifact lacks: ${misfits.join('; ')}`);
  let profiling: RunProfile | undefined;
  const device = await openDevice(artifact, flags.device, {
    unchecked: flags.unchecked,
    notice,
    threads: flags.threads ?? Math.min(MOST_THREADS, availableParallelism()),
    module,
    ...(flags.profile && { profile: (run) => profiling?.add(run) }),
  });
  if (flags.profile) profiling = await RunProfile.begin(device, notice);
  await initialise(device, manifest, artifact.weights);
  const log = new MetricsLog(join(out, METRICS));
  const keeper = keeps
    ? new Checkpoints(device, manifest, {
        folder: join(out, CHECKPOINTS),
        every: flags.checkpointEvery ?? 'epoch',
        keep: flags.keep ?? 3,
        resume: flags.resume ?? false,
        settings: courseOf(settings, data),
        log,
        notice,
      })
    : undefined;
  const reporter = chooseReporter(terminal, flags);
  try {
    await train(device, manifest, data, settings, together(reporter, log.reporter), keeper);
  } finally {
    reporter.close?.();
    log.close();
  }
  const files = await results(artifact, device);
  device.close();
  const curves = runCurves(log.file);
  if (curves) files.set('curves.svg', curves);
  if (profiling) {
    reporter.profile?.(profiling.report());
    files.set(TRACE, profiling.trace());
  }
  writeFiles(out, files);
  reporter.written?.([...files.keys(), METRICS].map((f) => join(out, f)));
}

const CHECKPOINTS = 'checkpoints';
const TRACE = 'trace.json';
/** Without --threads: a training step of more threads has more waiting than work. */
const MOST_THREADS = 16;

/** All that decides the course of a run beside the artifact, by the option that sets it. */
function courseOf(settings: Settings, data: TrainingData): Record<string, string> {
  const short = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 12);
  return {
    ...settingsRecord(settings),
    '--augment': JSON.stringify(data.augmentation ?? 'none'),
    '--data (with --split and --normalize)': short(data.train.fingerprint?.() ?? ''),
    'the validation data': data.validation ? short(data.validation.fingerprint?.() ?? '') : 'none',
  };
}

function checkStaleness({ defaults }: Manifest, flags: RunFlags): void {
  const { staleness = 'off' } = defaults;
  const adaptive = ['alpha', 'bounded', 'lag', 'reinvert'] as const;
  const given = adaptive.find((name) => flags[name] !== undefined);
  if (flags.interval !== undefined && given) throw optionsConflict('--interval', `--${given}`);
  if (flags.interval !== undefined && staleness === 'off')
    throw optionWithoutUse('--interval', 'the artifact was compiled without --staleness fixed or adaptive');
  if (given && staleness !== 'adaptive')
    throw optionWithoutUse(`--${given}`, 'the artifact was compiled without --staleness adaptive');
}

/** Numbers for what the artifact does not have. UserError E603. */
function refuseWithoutUse(manifest: Manifest, flags: RunFlags): void {
  const { optimizer } = manifest;
  const { clips, decays } = graphOf(manifest);
  const compiled = `the artifact was compiled with --optimizer ${optimizer}`;
  const refuse = (why: string, options: Record<string, unknown>): void => {
    for (const [name, value] of Object.entries(options)) if (value !== undefined) throw optionWithoutUse(name, why);
  };
  const { damping, dampingFrom, dampingWarmup, klClip, klDecay, trustCoefficient, weightDecay } = flags;
  if (optimizer !== 'spngd')
    refuse(compiled, {
      '--damping': damping,
      '--damping-from': dampingFrom,
      '--damping-warmup': dampingWarmup,
      '--kl-clip': klClip,
      '--kl-decay': klDecay,
    });
  if (optimizer !== 'lars') refuse(compiled, { '--trust-coefficient': trustCoefficient });
  if (!clips) refuse('the artifact was compiled without a KL clip', { '--kl-clip': klClip, '--kl-decay': klDecay });
  if (manifest.defaults.accumulate === undefined)
    refuse('the artifact was compiled without --accumulate', { '--accumulate': flags.accumulate });
  if (!decays) refuse('the artifact was compiled without weight decay', { '--weight-decay': weightDecay });
}

/** Training and validation data, bound to the model. */
export function loadTrainingData(manifest: Manifest, flags: RunFlags): TrainingData {
  const targetWidth = manifest.loss.target ? targetColumns(manifest.loss.target) : 1;
  const csv = { labelColumn: flags.labelColumn, targetWidth };
  const opened = openData(flags.data, csv);
  let training = opened.train;
  let validation = opened.test;
  if (flags.validation !== undefined) {
    const other = openData(flags.validation, csv);
    // A folder that validates means its test set.
    validation = other.test ?? other.train;
  } else if (flags.split !== undefined) {
    const parts = splitExamples(training, flags.split, flags.seed ?? manifest.seed);
    training = parts.train;
    validation = parts.validation;
  }
  const input = dataInput(manifest);
  // Numbers of tokens are names, not quantities; a model that takes bytes scales them itself.
  const how = input.dtype === 'f32' ? flags.normalize : 'none';
  const normalization = chooseNormalization(how, training, input.shape.slice(1));
  return {
    train: bindDataset(training, manifest, normalization),
    validation: validation && bindDataset(validation, manifest, normalization),
    augmentation:
      flags.augment === undefined
        ? presetAugmentation(hyperParameters(manifest, flags).mixup ?? 0, manifest)
        : parseAugmentation(flags.augment, manifest),
    workers: flags.workers,
  };
}

/** Columns of a table that hold the target: as many as the loss compares, but for classes as a distribution, which are one number. */
function targetColumns(target: NonNullable<Manifest['loss']['target']>): number {
  return target.classes === undefined || target.dtype === 'i32' ? product(target.shape.slice(1)) : 1;
}

/** The files of a finished run: weights with running statistics, and the trained model. */
export async function results(artifact: Artifact, device: Device): Promise<Map<string, Uint8Array>> {
  const { manifest, files, weights } = artifact;
  const trained = await readTrained(device, manifest);
  const out = new Map([[WEIGHTS, writeSafetensors(trained)]]);
  const template = files.get(TEMPLATE);
  if (template) {
    const constant = new Set(manifest.state.filter((s) => s.role === 'constant').map((s) => s.name));
    const constants = new Map([...weights].filter(([name]) => constant.has(name)));
    out.set(`${manifest.model.name}.onnx`, exportOnnx(template, trained, constants));
  }
  return out;
}
