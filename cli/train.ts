/**
 * What `spngdc run` does: loads and checks an artifact, loads data, trains, and writes the trained weights and model.
 */
import { join } from 'node:path';
import { type Manifest, TEMPLATE, WEIGHTS } from '../ir/artifact.js';
import { optionsConflict, optionWithoutUse } from '../ir/diagnostics/command-line.js';
import { writeSafetensors } from '../ir/safetensors.js';
import { product } from '../ir/types.js';
import { type Artifact, loadArtifact } from '../runtime/artifact.js';
import { bindDataset, dataInput, splitExamples } from '../runtime/data/dataset.js';
import { chooseNormalization } from '../runtime/data/normalize.js';
import { openData } from '../runtime/data/open.js';
import type { Device } from '../runtime/devices/device.js';
import { openDevice } from '../runtime/devices/open.js';
import { exportOnnx } from '../runtime/export-onnx.js';
import { type TrainingData, train } from '../runtime/training/loop.js';
import { resolveSettings } from '../runtime/training/settings.js';
import { initialise, readTrained } from '../runtime/training/state.js';
import { checkWritable, writeFiles } from '../runtime/write-files.js';
import { chooseReporter } from './reporters.js';
import type { RunFlags } from './run.js';
import type { Terminal } from './terminal.js';

/** The command itself, once its options are read. */
export async function runCommand(dir: string, flags: RunFlags, terminal: Terminal): Promise<void> {
  if (flags.epochs !== undefined && flags.steps !== undefined) throw optionsConflict('--epochs', '--steps');
  if (flags.validation !== undefined && flags.split !== undefined) throw optionsConflict('--validation', '--split');
  const artifact = loadArtifact(dir);
  const { manifest } = artifact;
  if (manifest.optimizer === 'sgd') {
    const why = 'the artifact was compiled with --optimizer sgd';
    if (flags.damping !== undefined) throw optionWithoutUse('--damping', why);
    if (flags.klClip !== undefined) throw optionWithoutUse('--kl-clip', why);
  }
  const out = flags.out ?? join('out', manifest.model.name);
  checkWritable(out);
  const data = loadTrainingData(manifest, flags);
  const settings = resolveSettings(manifest, flags, data.train.count);
  const device = await openDevice(artifact, flags.device, {
    unchecked: flags.unchecked,
    notice: (text) => terminal.stderr.write(`note: ${text}\n`),
  });
  await initialise(device, manifest, artifact.weights);
  const reporter = chooseReporter(terminal, flags);
  try {
    await train(device, manifest, data, settings, reporter);
  } finally {
    reporter.close?.();
  }
  const files = await results(artifact, device);
  device.close();
  writeFiles(out, files);
  reporter.written?.([...files.keys()].map((f) => join(out, f)));
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
