/**
 * `spngdc run`: loads and checks an artifact, loads data, trains, and writes the trained weights and model.
 */
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { type Manifest, TEMPLATE, WEIGHTS } from '../ir/artifact.js';
import { optionsConflict, optionWithoutUse } from '../ir/diagnostics/command-line.js';
import { writeSafetensors } from '../ir/safetensors.js';
import { product } from '../ir/types.js';
import { type Artifact, loadArtifact } from '../runtime/artifact.js';
import { bindDataset, dataInput, splitExamples } from '../runtime/data/dataset.js';
import { chooseNormalization } from '../runtime/data/normalize.js';
import { openData } from '../runtime/data/open.js';
import type { Device } from '../runtime/devices/device.js';
import { WasmDevice } from '../runtime/devices/wasm/device.js';
import { exportOnnx } from '../runtime/export-onnx.js';
import { type TrainingData, train } from '../runtime/training/loop.js';
import { resolveSettings } from '../runtime/training/settings.js';
import { initialise, readTrained } from '../runtime/training/state.js';
import { checkWritable, writeFiles } from '../runtime/write-files.js';
import { count, fraction, notNegative, positive, seed } from './arguments.js';
import { chooseReporter } from './reporters.js';
import type { Terminal } from './terminal.js';

export interface RunFlags {
  readonly data: string;
  readonly validation?: string;
  readonly split?: number;
  readonly labelColumn?: string;
  readonly normalize: string;
  readonly epochs?: number;
  readonly steps?: number;
  readonly lr?: number;
  readonly damping?: number;
  readonly momentum?: number;
  readonly klClip?: number;
  readonly weightDecay?: number;
  readonly seed?: number;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly out?: string;
}

const examples = `
Data (--data, --validation):
  mnist/                            a folder with train-images-idx3-ubyte[.gz] and its labels; t10k-* validates
  cifar-10-batches-bin/             a folder with data_batch_*.bin; test_batch.bin validates
  train-images-idx3-ubyte.gz        IDX images, their labels beside them; or IMAGES,LABELS
  batch_1.bin,batch_2.bin           CIFAR-10 binary files
  table.csv, table.csv.gz           numeric columns, the last one is the label (--label-column for another)
  x.npy,y.npy  or  data.npz         NumPy arrays, examples first (in .npz named x and y)
An example may have any shape with as many elements as the model's input.

Examples:
  $ spngdc run lenet.spngd --data mnist/ --epochs 2
  $ spngdc run digits.spngd --data digits.csv.gz --split 0.2 --normalize 0,16
  $ spngdc run net.spngd --data train.bin --validation test.bin --normalize standard --lr 0.05 --damping 0.01
  $ spngdc run net.spngd --data mnist/ --steps 100 --json > log.jsonl`;

export function addRun(program: Command, terminal: Terminal): void {
  program
    .command('run')
    .description('train an artifact on data')
    .argument('<artifact>', 'the folder that compile wrote')
    .requiredOption('--data <data>', 'training data: a file, a folder, or files joined by commas (forms below)')
    .option('--validation <data>', 'validation data, in the same forms')
    .option('--split <fraction>', 'hold this part of the data out for validation, drawn with the seed', fraction)
    .option('--label-column <column>', 'the label of a csv: last, first, a name, or a number from 1 (default: last)')
    .option(
      '--normalize <how>',
      'none; unit: bytes / 255, others as they are; standard: mean 0, variance 1 over the training set; or MEAN,STD (of bytes / 255)',
      'unit',
    )
    .addOption(new Option('--epochs <n>', 'passes over the data').argParser(positive))
    .addOption(new Option('--steps <n>', 'steps, instead of epochs').argParser(count))
    .option('--lr <x>', 'learning rate at the beginning', positive)
    .option('--momentum <x>', 'momentum at the beginning', notNegative)
    .option('--damping <x>', 'damping of the curvature (spngd)', positive)
    .option('--kl-clip <x>', 'bound of the step in KL divergence (spngd); 0: none', notNegative)
    .option('--weight-decay <x>', 'weight decay', notNegative)
    .option('--seed <n>', 'seed of shuffles, dropout and split (default: the one compiled in)', seed)
    .option('--out <dir>', 'where to write the results (default: out/MODEL)')
    .option('--json', 'report as one JSON object a line')
    .option('--quiet', 'report only the end')
    .addHelpText('after', examples)
    .action((dir: string, flags: RunFlags) => runCommand(dir, flags, terminal));
}

async function runCommand(dir: string, flags: RunFlags, terminal: Terminal): Promise<void> {
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
  const device = WasmDevice.load(artifact);
  await initialise(device, manifest, artifact.weights);
  const reporter = chooseReporter(terminal, flags);
  try {
    await train(device, manifest, data, settings, reporter);
  } finally {
    reporter.close?.();
  }
  const files = await results(artifact, device);
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
  const normalization = chooseNormalization(flags.normalize, training, dataInput(manifest).shape.slice(1));
  return {
    train: bindDataset(training, manifest, normalization),
    validation: validation && bindDataset(validation, manifest, normalization),
  };
}

/** Columns of a table that hold the target: one for classes, else as many as the loss compares. */
function targetColumns(target: NonNullable<Manifest['loss']['target']>): number {
  return target.classes === undefined ? product(target.shape.slice(1)) : 1;
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
