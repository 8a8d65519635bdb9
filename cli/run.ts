/**
 * `spngdc run`: its options. What it does is loaded when it is asked for, so that other commands start without it.
 */
import { type Command, Option } from 'commander';
import { learningRateKinds, momentumRules, presetNames } from '../ir/presets.js';
import type { Overrides } from '../runtime/training/settings.js';
import { count, fraction, notNegative, onOff, part, positive, seed, threads, whole, workers } from './arguments.js';
import type { Terminal } from './terminal.js';

export interface RunFlags extends Overrides {
  readonly data: string;
  readonly validation?: string;
  readonly split?: number;
  readonly labelColumn?: string;
  readonly normalize: string;
  readonly augment?: string;
  readonly workers?: number;
  readonly threads?: number;
  readonly profile?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly out?: string;
  readonly device?: string;
  readonly unchecked?: boolean;
  readonly resume?: boolean;
  readonly checkpointEvery?: number | 'epoch';
  readonly keep?: number;
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

Changes of training examples (--augment), in this order, each drawn anew for every example and batch:
  flip          mirrored left to right, with probability 1/2
  crop:N        moved by up to N pixels each way; what comes in is 0, after normalisation
  mixup:ALPHA   mixed with the batch before (running mixup), by Beta(ALPHA, ALPHA); compile with --labels soft
  erase:P       with probability P a rectangle of 2% to 25% of the image is set to 0

Examples:
  $ spngdc run lenet.spngd --data mnist/ --epochs 2
  $ spngdc run digits.spngd --data digits.csv.gz --split 0.2 --normalize 0,16
  $ spngdc run net.spngd --data train.bin --validation test.bin --normalize standard --lr 0.05 --damping 0.01
  $ spngdc run net.spngd --data mnist/ --steps 100 --json > log.jsonl
  $ spngdc run net.spngd --data mnist/ --epochs 20 --resume    start, and after a crash go on, with a checkpoint each epoch
  $ spngdc run net.spngd --data train.bin --preset sp-ngd-4k --epochs 5        the paper's numbers, but for the epochs
  $ spngdc run net.spngd --data train.bin --warmup 1 --warmup-from 0.1 --lr-power 2

Results in DIR: weights.safetensors, MODEL.onnx, curves.svg, and metrics.jsonl, which is written step by step (as --json).`;

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
    .option(
      '--augment <changes>',
      'random changes of training images: flip,crop:4,mixup:0.4,erase:0.5 or some of them; or none (default: mixup as the preset)',
    )
    .option(
      '--workers <n>',
      'threads that prepare batches ahead (default: by their size); results do not depend on it',
      workers,
    )
    .addOption(new Option('--epochs <n>', 'passes over the data').argParser(positive))
    .addOption(new Option('--steps <n>', 'steps, instead of epochs').argParser(count))
    .option(
      '--accumulate <n>',
      'batches in a step, where the artifact accumulates (default: as compiled); the numbers of the preset stay, unless --preset is given',
      count,
    )
    .addOption(
      new Option('--preset <name>', 'hyper-parameters, in place of those compiled in (inspect prints them)').choices(
        presetNames,
      ),
    )
    .option('--lr <x>', 'learning rate eta0 at the beginning', positive)
    .addOption(new Option('--lr-schedule <kind>', 'how it falls').choices(learningRateKinds))
    .option('--lr-power <p>', 'exponent of the polynomial', notNegative)
    .option('--lr-start <epoch>', 'where it begins to fall, in epochs', notNegative)
    .option(
      '--lr-end <epoch>',
      'where it reaches 0 (default: the end of the run, or later if the preset says so)',
      positive,
    )
    .option('--warmup <epochs>', 'epochs in which it first rises', notNegative)
    .option('--warmup-from <fraction>', 'part of it that the warm-up begins with', part)
    .option('--momentum <x>', 'momentum m0 at the beginning', notNegative)
    .addOption(
      new Option(
        '--momentum-rule <rule>',
        'tied: m0 lr / lr0 (the paper); corrected: m0 lr / lr of the step before (its code); constant',
      ).choices(momentumRules),
    )
    .option('--damping <x>', 'damping of the curvature (spngd)', positive)
    .option('--damping-from <x>', 'damping at the beginning, where it has a warm-up (spngd)', positive)
    .option(
      '--damping-warmup <epochs>',
      'epochs in which the damping comes to its value (spngd); 0: constant',
      notNegative,
    )
    .option('--kl-clip <x>', 'bound of the step in KL divergence (spngd); 0: none', notNegative)
    .option('--kl-decay <on|off>', 'whether the bound falls with the square of the learning rate (spngd)', onOff)
    .option('--trust-coefficient <x>', 'step of a layer relative to its norm (lars)', positive)
    .option('--weight-decay <x>', 'weight decay, where it was compiled in', notNegative)
    .option(
      '--interval <n>',
      'refresh the curvature every n steps (compiled with --staleness fixed or adaptive)',
      count,
    )
    .option(
      '--alpha <x>',
      'relative change below which a statistic counts as similar (adaptive); 0: refresh always',
      notNegative,
    )
    .option('--bounded', 'do not jump past the interval that just failed (adaptive)')
    .option('--lag <n>', 'decide without the results of the last n steps (adaptive; default: 0)', whole)
    .option('--reinvert', 'invert both factors of a layer where one is refreshed, with a new pi (adaptive)')
    .option('--seed <n>', 'seed of shuffles, dropout and split (default: the one compiled in)', seed)
    .option(
      '--device <name>',
      "auto: a real GPU if there is one, else the processor; cpu; gpu; or part of an adapter's name",
      'auto',
    )
    .option(
      '--threads <n>',
      'threads that compute, on the processor (default: as many as it runs at once); results do not depend on it',
      threads,
    )
    .option('--unchecked', 'no validation and bounds checks on the GPU: faster, for artifacts that you compiled')
    .option('--out <dir>', 'where to write the results (default: out/MODEL)')
    .option(
      '--checkpoint-every <n>',
      'write a checkpoint to DIR/checkpoints after so many steps, or each epoch',
      (text) => (text === 'epoch' ? text : count(text)),
    )
    .option('--keep <n>', 'checkpoints to keep, the newest (default: 3)', count)
    .option(
      '--resume',
      'continue from the newest checkpoint, bit for bit, from the beginning if there is none (the other options as they were)',
    )
    .option(
      '--profile',
      'time every kernel, on the processor: the slowest against what the machine reaches, and all in DIR/trace.json for ui.perfetto.dev',
    )
    .option('--json', 'report as one JSON object a line')
    .option('--quiet', 'report only the end')
    .addHelpText('after', examples)
    .action(async (dir: string, flags: RunFlags) => {
      const { runCommand } = await import('./train.js');
      await runCommand(dir, flags, terminal);
    });
}
