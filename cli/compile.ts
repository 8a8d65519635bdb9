/**
 * `spngdc compile`: reads the model, compiles it, writes the artifact, prints what came out.
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import type { CompileOptions, EmitLevel } from '../compiler/compile.js';
import { PROGRAM_TEXT, WEIGHTS } from '../ir/artifact.js';
import { modelNotFound, optionWithoutUse, weightsNotFound } from '../ir/diagnostics/command-line.js';
import { fishers } from '../ir/fisher.js';
import type { TensorData } from '../ir/graph.js';
import { optimizers, presetNames, weightRescalings } from '../ir/presets.js';
import { readSafetensors } from '../ir/safetensors.js';
import { stalenessKinds } from '../ir/staleness.js';
import { count, onOff, seed, several } from './arguments.js';
import { ArtifactFolder, checkPlace } from './artifact-folder.js';
import { externalFilesOf } from './external-data.js';
import { expectShortProcess } from './short-process.js';
import type { Terminal } from './terminal.js';

/** What commander gives: CompileOptions but for what must be read first, and for where to write. */
type Flags = Omit<CompileOptions, 'weights' | 'inputs' | 'dropout' | 'external'> & {
  readonly outDir?: string;
  readonly weights?: string;
  readonly input?: readonly string[];
  readonly dropout: 'on' | 'off';
  readonly target: keyof typeof targets;
};

const targets = { both: ['wasm', 'webgpu'], wasm: ['wasm'], webgpu: ['webgpu'] } as const;

const emitLevels = Object.keys({
  model: true,
  train: true,
  placed: true,
  kernels: true,
  program: true,
} satisfies Record<EmitLevel, true>);

const examples = `
Examples:
  $ spngdc compile resnet20.onnx --batch 128
  $ spngdc compile lenet.onnx --init he-normal --seed 1       a model without weights, or to begin anew
  $ spngdc compile resnet50.onnx --input x:Nx3x64x64          another image size than the one exported
  $ spngdc compile net.onnx --freeze 'layer1.*' --freeze stem.weight
  $ spngdc compile net.onnx --optimizer sgd -o net-sgd.spngd   a baseline; lars is another
  $ spngdc compile resnet50.onnx --preset sp-ngd-4k --batch 32 --accumulate 128     a step of 4,096 examples
  $ spngdc compile net.onnx --batch 1024 --staleness adaptive
  $ spngdc compile net.onnx --emit train                      print the training graph; writes only with -o`;

export function addCompile(program: Command, terminal: Terminal): void {
  program
    .command('compile')
    .description('compile an ONNX model into a training artifact (a folder)')
    .argument('<model>', 'the forward model, an .onnx file')
    .option('-o, --out-dir <dir>', "the artifact folder (default: the model's name with .spngd, here)")
    .option('--batch <n>', 'examples that go through the model at once in training (default: 64)', count)
    .option(
      '--accumulate <n>',
      'batches in a step: gradients and statistics are summed on the device, and the update follows once (default: a step is one batch)',
      count,
    )
    .option('--eval-batch <n>', 'examples in an evaluation (default: as --batch)', count)
    .addOption(
      new Option('--optimizer <name>', 'how to train: natural gradient, or a baseline')
        .choices(optimizers)
        .default('spngd'),
    )
    .addOption(
      new Option('--preset <name>', 'hyper-parameters to begin with; sp-ngd-*: of the paper, for that batch (spngd)')
        .choices(presetNames)
        .default('default'),
    )
    .addOption(
      new Option(
        '--fisher <kind>',
        'labels that the curvature is by (spngd): empirical: those of training; 1mc: one an example, drawn from the model, by a second backward pass (default: empirical)',
      ).choices(fishers),
    )
    .option('--kl-clip <on|off>', 'hold steps in a trust region (spngd; default: as the preset)', onOff)
    .addOption(
      new Option(
        '--weight-rescaling <when>',
        'bring the norms of weights to sqrt(2 outputs) after the update: always, or where they are larger (spngd; default: as the preset)',
      ).choices(weightRescalings),
    )
    .option('--weight-decay <on|off>', 'let weights decay (default: as the preset)', onOff)
    .addOption(
      new Option(
        '--staleness <kind>',
        'when curvature is refreshed (spngd): off: in every step; fixed: every so many steps; adaptive: each statistic when it has changed (default: as the preset)',
      ).choices(stalenessKinds),
    )
    .addOption(
      new Option('--loss <kind>', "the loss (default: from the model's head)").choices([
        'softmax-cross-entropy',
        'mean-squared-error',
        'output',
      ]),
    )
    .addOption(
      new Option(
        '--labels <form>',
        'class numbers, or a distribution for each example (default: soft where the preset mixes examples)',
      ).choices(['index', 'soft']),
    )
    .option('--output <name>', 'the output that the loss reads, where the model has several')
    .option('--input <name[:shape]>', 'a data input, with its shape: x:Nx3x64x64 (may be repeated)', several)
    .addOption(new Option('--init <scheme>', 'draw new weights').choices(['he-normal']))
    .option('--seed <n>', 'seed of all random numbers (default: 0)', seed)
    .option('--weights <file>', 'weights by name, a .safetensors file')
    .option(
      '--freeze <pattern>',
      'do not train parameters with such names; * matches anything (may be repeated)',
      several,
    )
    .option(
      '--train <pattern>',
      'train parameters with such names, against the rules or --freeze (may be repeated)',
      several,
    )
    .addOption(new Option('--dropout <how>', 'dropout while training').choices(['on', 'off']).default('on'))
    .addOption(
      new Option('--bn-variance <kind>', 'running variance: as ONNX defines it, or as PyTorch computes it').choices([
        'population',
        'unbiased',
      ]),
    )
    .addOption(new Option('--emit <level>', 'print the program at a level').choices(emitLevels))
    .addOption(
      new Option('--target <name>', 'what to compile for: the processor, a GPU, or both')
        .choices(Object.keys(targets))
        .default('both'),
    )
    .option(
      '--relaxed-simd',
      'on the processor, round products and sums as it likes: about a fifth faster; results then differ between processors',
    )
    .addHelpText('after', examples)
    .action((model: string, flags: Flags) => compileCommand(model, flags, terminal));
}

async function compileCommand(path: string, flags: Flags, { stdout, stderr }: Terminal): Promise<void> {
  const { outDir, weights, input, dropout, target, ...same } = flags;
  if (flags.optimizer !== 'spngd') {
    const why = `it is for natural gradient, and --optimizer is ${flags.optimizer}`;
    if (flags.klClip !== undefined) throw optionWithoutUse('--kl-clip', why);
    if (flags.weightRescaling !== undefined) throw optionWithoutUse('--weight-rescaling', why);
    if (flags.fisher !== undefined) throw optionWithoutUse('--fisher', why);
    if (flags.staleness !== undefined) throw optionWithoutUse('--staleness', why);
  }
  if (flags.relaxedSimd && target === 'webgpu')
    throw optionWithoutUse('--relaxed-simd', 'it is for the processor, and --target is webgpu');
  const options: CompileOptions = {
    ...same,
    targets: targets[target],
    verifyEach: Boolean(process.env.SPNGDC_DEBUG),
    inputs: input,
    dropout: dropout === 'on',
    external: externalFilesOf(path),
    weights: weights === undefined ? undefined : readWeights(weights),
  };
  const dir = outDir ?? `${basename(path).replace(/\.onnx$/i, '')}.spngd`;
  const writes = outDir !== undefined || flags.emit === undefined;
  if (writes) checkPlace(dir);
  expectShortProcess();
  // Loaded here, so that `run` and `inspect` start without the compiler.
  const { makeArtifact, printStages, runPasses } = await import('../compiler/compile.js');
  const { makeWeightsFile } = await import('./weights-file.js');
  const [model, name] = [readModel(path), basename(path)];
  let folder: ArtifactFolder | undefined;
  const begun = (): ArtifactFolder => {
    folder ??= new ArtifactFolder(dir);
    return folder;
  };
  let weightsFile: ReturnType<typeof makeWeightsFile> | undefined;
  const onWeights: CompileOptions['onWeights'] = (values) => {
    weightsFile = makeWeightsFile(values, writes ? () => begun().pathOf(WEIGHTS) : undefined);
    // Nobody waits for it where a pass fails.
    weightsFile.catch(() => {});
  };
  try {
    const stages = runPasses(model, name, { ...options, onWeights });
    const programs = printStages(stages);
    const ahead = writes && begun().begin(PROGRAM_TEXT, programs);
    const { written, ...file } = await weightsFile!;
    const { text, report, notices, files } = makeArtifact(stages, programs, file, model, name, options);
    for (const notice of notices) stderr.write(`note: ${notice}\n`);
    if (text !== undefined) stdout.write(text.endsWith('\n') ? text : `${text}\n`);
    if (!writes) return;
    const there = [...((await written) ? [WEIGHTS] : []), ...((await ahead) ? [PROGRAM_TEXT] : [])];
    // A turn of the event loop, in which a signal is heard that came while the compiler was at work.
    if (folder) await setImmediate();
    begun().finish(files, new Set(there));
    (text === undefined ? stdout : stderr).write(`${report}\nwritten to ${dir}\n`);
  } finally {
    folder?.discard();
  }
}

function readModel(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch {
    throw modelNotFound(path);
  }
}

function readWeights(path: string): ReadonlyMap<string, TensorData> {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch {
    throw weightsNotFound(path);
  }
  return readSafetensors(bytes, path);
}
