/**
 * The compiler from end to end: a model's bytes in, the files of an artifact out. The passes in their order are the table
 * of contents of the compiler. Touches no device and writes nothing.
 */
import { type Defaults, encodeManifest, MANIFEST, PROGRAM_TEXT, TEMPLATE, WEIGHTS } from '../ir/artifact.js';
import { planTooLarge, planTooLargeAnywhere } from '../ir/diagnostics/compile.js';
import type { UserError } from '../ir/diagnostics/error.js';
import type { Fisher } from '../ir/fisher.js';
import type { Module, TensorData } from '../ir/graph.js';
import { type Optimizer, type PresetName, resolvePreset, type WeightRescaling } from '../ir/presets.js';
import { writeSafetensors } from '../ir/safetensors.js';
import { type Staleness, stalenessDefaults } from '../ir/staleness.js';
import { bytesOf } from '../ir/text/lines.js';
import { printModule, printModuleTo } from '../ir/text/print-graph.js';
import { printKernel } from '../ir/text/print-kernel.js';
import { printProgram, printProgramTo } from '../ir/text/print-program.js';
import { verifyModule } from '../ir/verify.js';
import { differentiate } from './autodiff/differentiate.js';
import { insertCurvature } from './curvature/insert-curvature.js';
import type { OpenExternal } from './frontend/onnx/external-data.js';
import { type ImportedModel, importOnnx } from './frontend/onnx/import.js';
import { fuse } from './kernels/fuse.js';
import { buildManifest, sha256 } from './manifest.js';
import { insertUpdate } from './optimizer/insert-update.js';
import { placeOnOneDevice } from './partition/one-device.js';
import { addInit } from './passes/add-init.js';
import { attachLoss, type LossDescription, type LossKind } from './passes/attach-loss.js';
import { bindBatch } from './passes/bind-batch.js';
import { mergeCommonSubexpressions } from './passes/common-subexpressions.js';
import { removeDeadCode } from './passes/dead-code.js';
import { expandComposites } from './passes/expand-composites.js';
import { patchesToRows } from './passes/patches-to-rows.js';
import { splitMicroBatches } from './passes/split-micro-batches.js';
import { summary } from './report.js';
import { allTargets, lowerModule, type Target, type TargetCode } from './targets/targets.js';

/** A level whose text can be asked for. */
export type EmitLevel = 'model' | 'train' | 'placed' | 'kernels' | 'program';

export interface CompileOptions {
  /** Examples that go through the model at once in training: a step, unless it accumulates. Default 64. */
  readonly batch?: number;
  /**
   * Micro-batches of `batch` examples in a step, from 1: gradients and statistics are accumulated on the device, and the update
   * follows once. A run may take another number. Default: no accumulation, a step is one batch.
   */
  readonly accumulate?: number;
  /** Examples in a call of eval and predict; default: the training batch. */
  readonly evalBatch?: number;
  readonly optimizer?: Optimizer;
  /** Hyper-parameters that the artifact begins with; default 'default'. */
  readonly preset?: PresetName;
  /** Whether natural steps are held in a trust region, whose bound is an input; default: as the preset. */
  readonly klClip?: boolean;
  /** Default: as the preset. */
  readonly weightRescaling?: WeightRescaling;
  /** Whether weights decay, by a factor that is an input; default: as the preset. */
  readonly weightDecay?: boolean;
  /** When statistics of the curvature are refreshed; spngd only. Default: as the preset. */
  readonly staleness?: Staleness;
  /** Which labels the curvature is by: those of training, or one drawn from the model; spngd only. Default 'empirical'. */
  readonly fisher?: Fisher;
  readonly loss?: LossKind;
  /** Default: soft where the preset mixes examples, else index. */
  readonly labels?: 'index' | 'soft';
  /** Name of the output that the loss reads. */
  readonly output?: string;
  /** `NAME` or `NAME:Nx3x64x64`, for data inputs. */
  readonly inputs?: readonly string[];
  /** Opens the files beside the model that hold its weights. */
  readonly external?: OpenExternal;
  /** Replaces weights by name. */
  readonly weights?: ReadonlyMap<string, TensorData>;
  readonly init?: 'he-normal';
  readonly seed?: number;
  readonly freeze?: readonly string[];
  readonly train?: readonly string[];
  readonly dropout?: boolean;
  readonly bnVariance?: 'population' | 'unbiased';
  /** What to compile for; default: every target. */
  readonly targets?: readonly Target[];
  /** Lets the WebAssembly kernels use relaxed SIMD: faster, and not the same bits on every processor. */
  readonly relaxedSimd?: boolean;
  /** Adds the text of a level to what is returned. */
  readonly emit?: EmitLevel;
  /**
   * Whether what leaves every pass is verified; what runs, programs and kernels, always is.
   * Default true: a broken graph is then a fault of the pass that broke it.
   */
  readonly verifyEach?: boolean;
  /** Told what the weights file will hold, before the kernels are made: writing it can begin beside them. */
  readonly onWeights?: (weights: ReadonlyMap<string, TensorData>) => void;
}

export interface Compiled {
  /** The artifact's files by relative path, manifest.json among them. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** A few lines for a terminal. */
  readonly report: string;
  /** Text of the level that `emit` asked for. */
  readonly text?: string;
  readonly notices: readonly string[];
}

/** The module after each stage that a reader may want to see, and all that the artifact is made of. */
export interface Stages {
  readonly imported: ImportedModel;
  readonly model: Module;
  /** With gradients, curvature and update; composites still whole. */
  readonly train: Module;
  /** The same in primitive ops, on its device: what the kernels are made from. */
  readonly placed: Module;
  /** What each target runs, in the order in which they were asked for. */
  readonly code: readonly TargetCode[];
  readonly notices: readonly string[];
  readonly loss: LossDescription;
  readonly defaults: Defaults;
  /** For each function with an output `metrics`, the names of its elements. */
  readonly metrics: Readonly<Record<string, readonly string[]>>;
  readonly batch: { readonly train: number; readonly eval: number };
  readonly seed: number;
  readonly optimizer: Optimizer;
}

/** What a memory can hold: 65,536 pages of 64 KiB; the largest binding of WebGPU, whose offsets are 31 bits. */
const memoryLimits: Record<Target, number> = { wasm: 65536 * 65536, webgpu: 2 ** 31 - 4 };

/**
 * Runs all passes.
 * @param bytes an ONNX model
 * @param fileName its name, for messages and for the artifact's name
 * @throws UserError E1xx where the model cannot be imported, E2xx where it cannot be trained as asked
 */
export function runPasses(bytes: Uint8Array, fileName: string, options: CompileOptions = {}): Stages {
  const batch = { train: options.batch ?? 64, eval: options.evalBatch ?? options.batch ?? 64 };
  const seed = options.seed ?? 0;
  const optimizer = options.optimizer ?? 'spngd';
  const defaults = defaultsFor(optimizer, batch.train * (options.accumulate ?? 1), options);

  const checked = (module: Module): Module => (options.verifyEach === false ? module : verified(module));
  const cleaned = (module: Module): Module => checked(removeDeadCode(checked(mergeCommonSubexpressions(module))));
  const imported = importOnnx(bytes, { ...options, fileName, seed });
  const model = checked(imported.module);
  const withLoss = attachLoss(model, {
    ...options,
    // Mixed examples have mixed labels.
    labels: options.labels ?? (defaults.mixup ? 'soft' : 'index'),
    fisher: optimizer === 'spngd' ? options.fisher : 'empirical',
  });
  const bound = cleaned(checked(bindBatch(checked(withLoss.module), batch)));
  const gradients = cleaned(checked(differentiate(bound)));
  const curved =
    optimizer === 'spngd' ? checked(insertCurvature(gradients, { staleness: defaults.staleness })) : gradients;
  const updated = insertUpdate(curved, {
    optimizer,
    weightRescaling: defaults.weight_rescaling,
    klClip: defaults.kl_clip !== 0,
    weightDecay: defaults.weight_decay !== 0,
  });
  const whole = cleaned(checked(splitMicroBatches(checked(updated.module), options.accumulate !== undefined)));
  const expanded = cleaned(checked(expandComposites(checked(patchesToRows(whole)))));
  // Last, so that equal fills stay apart: each is written straight into its own state.
  const placed = checked(placeOnOneDevice(addInit(expanded)));
  options.onWeights?.(initialWeights(placed));
  const regions = new Map(placed.functions.map((f) => [f, fuse(f)]));
  const targets = options.targets ?? allTargets;
  const refusals: UserError[] = [];
  const code = targets
    .map((target) => lowerModule(placed, (f) => regions.get(f)!, target, options))
    .filter(({ program }) => {
      const { peak, liveBound } = program.plan;
      const limit = memoryLimits[program.target];
      const largest = Math.max(...program.memories.map((m) => m.bytes));
      if (largest <= limit) return true;
      const refusal = planTooLarge(program.target, peak, liveBound, largest, limit, batch.train);
      refusals.push(refusal);
      return false;
    });
  if (code.length === 0) throw planTooLargeAnywhere(refusals, batch.train);
  const notices = [...imported.notices, ...refusals.map((r) => `not compiled for every target: ${r.what}`)];
  const { metrics } = updated;
  return {
    imported,
    model,
    train: checked(addInit(whole)),
    placed,
    code,
    notices,
    loss: withLoss.loss,
    defaults,
    metrics,
    batch,
    seed,
    optimizer,
  };
}

/** The preset's hyper-parameters, but for what the options switch in the graph: a clip or a decay of 0 means that it has none. */
function defaultsFor(optimizer: Optimizer, batch: number, options: CompileOptions): Defaults {
  const { preset = 'default', accumulate, klClip, weightRescaling, weightDecay, fisher, staleness } = options;
  const defaults = resolvePreset(preset, optimizer, batch);
  const stale = staleness ?? defaults.staleness ?? 'off';
  /** What is switched on without a number from the preset. */
  const usual = { kl_clip: resolvePreset('default', 'spngd', batch).kl_clip, weight_decay: 1e-4 };
  const switched = <T extends number | undefined>(on: boolean | undefined, value: T, or: T): T | 0 =>
    on === false ? 0 : on ? value || or : value;
  return {
    ...defaults,
    ...(optimizer === 'spngd' && {
      kl_clip: switched(klClip, defaults.kl_clip, usual.kl_clip),
      weight_rescaling: weightRescaling ?? defaults.weight_rescaling,
    }),
    weight_decay: switched(weightDecay, defaults.weight_decay, usual.weight_decay),
    ...(accumulate !== undefined && { accumulate }),
    ...(optimizer === 'spngd' && { fisher: fisher ?? 'empirical' }),
    ...(optimizer === 'spngd' && { staleness: stale, ...stalenessDefaults[stale] }),
  };
}

/** Runs all passes and makes the artifact; the same input gives the same bytes. Errors as for runPasses. */
export function compile(bytes: Uint8Array, fileName: string, options: CompileOptions = {}): Compiled {
  const stages = runPasses(bytes, fileName, options);
  const weights = writeSafetensors(initialWeights(stages.placed));
  const text = printStages(stages);
  return makeArtifact(stages, text, { bytes: weights, sha256: sha256(weights) }, bytes, fileName, options);
}

/** program.spn: the training graph, then each target's program. */
export function printStages({ train, code }: Stages): Uint8Array {
  return bytesOf((to) => {
    printModuleTo(train, to);
    for (const { program } of code) {
      to('');
      printProgramTo(program, to);
    }
  });
}

/** The artifact from what the passes left, as it is and as text, and its weights file; `compile` for who makes that file elsewhere. */
export function makeArtifact(
  stages: Stages,
  text: Uint8Array,
  weights: { readonly bytes: Uint8Array; readonly sha256: string },
  bytes: Uint8Array,
  fileName: string,
  options: CompileOptions = {},
): Compiled {
  const programs = stages.code.map((c) => c.program);
  const files = new Map<string, Uint8Array>([
    [PROGRAM_TEXT, text],
    ...stages.code.flatMap((c) => [...c.files]),
    [WEIGHTS, weights.bytes],
    [TEMPLATE, stages.imported.template],
  ]);
  const manifest = buildManifest({ ...stages, programs }, files, new Map([[WEIGHTS, weights.sha256]]), bytes, fileName);
  const all = new Map([[MANIFEST, encodeManifest(manifest)], ...files]);
  return {
    files: all,
    report: summary(manifest, all),
    text: options.emit && emitted(options.emit, stages),
    notices: stages.notices,
  };
}

/** The module; throws where a pass broke it. */
function verified(module: Module): Module {
  verifyModule(module);
  return module;
}

/** Values of all state that starts from the weights file. */
function initialWeights(module: Module): Map<string, TensorData> {
  const out = new Map<string, TensorData>();
  for (const entry of module.state) {
    if (entry.init.kind !== 'weights') continue;
    const data = module.weights.get(entry.name);
    if (!data) throw new Error(`state ${entry.name} starts from weights that the importer did not give`);
    out.set(entry.name, data);
  }
  return out;
}

function emitted(level: EmitLevel, stages: Stages): string {
  switch (level) {
    case 'model':
      return printModule(stages.model);
    case 'train':
      return printModule(stages.train);
    case 'placed':
      return printModule(stages.placed);
    case 'kernels':
      return stages.code.flatMap((c) => c.kernels.map(printKernel)).join('\n');
    case 'program':
      return stages.code.map((c) => printProgram(c.program)).join('\n');
  }
}
