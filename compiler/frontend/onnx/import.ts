/**
 * ONNX -> a module of level `model`: the graph is made whole (functions, conditionals), decoded, sorted and classified once, then walked twice with the same handlers:
 * as `train` (batch statistics, dropout, updates of running statistics) and as `predict`. Every value keeps its ONNX node as location.
 */
import { unsupportedOpset } from '../../../ir/diagnostics/onnx.js';
import type { Func, Module, TensorData } from '../../../ir/graph.js';
import { type Decide, foldConditionals } from './conditionals.js';
import { decodeProto, type OnnxModel, type OnnxNode, opsetOf, parse } from './decode.js';
import type { OpenExternal } from './external-data.js';
import { functionFields } from './function-fields.js';
import { FunctionImport } from './function-import.js';
import { inlineFunctions } from './inline-functions.js';
import { EARLIEST, LATEST, type Mode } from './node-import.js';
import { initialValues, overrideValues, type PlannedTensor, planState } from './state-plan.js';
import { exportTemplate } from './template.js';
import { liveNodes, sortNodes } from './topology.js';
import { type Classification, classify } from './weights.js';

export interface ImportOptions {
  readonly fileName: string;
  /** `NAME` or `NAME:Nx3x64x64`: graph inputs that are data, with shapes that override the model's. */
  readonly inputs?: readonly string[];
  /** Opens files of external data; without it a model that has any is refused. */
  readonly external?: OpenExternal;
  /** Values that replace the model's, by ONNX name. */
  readonly weights?: ReadonlyMap<string, TensorData>;
  readonly init?: 'he-normal';
  readonly seed: number;
  /** Name patterns (`*` matches anything) of parameters that stay as they are, and of tensors that are trained whatever the rules say. */
  readonly freeze?: readonly string[];
  readonly train?: readonly string[];
  /** Default true. */
  readonly dropout?: boolean;
  /** Which variance runs: ONNX's (default), or PyTorch's with n - 1. */
  readonly bnVariance?: 'population' | 'unbiased';
}

export interface ImportedModel {
  readonly module: Module;
  /** The model in inference form without its weights, as ONNX: what a trained model is written into. */
  readonly template: Uint8Array;
  readonly notices: readonly string[];
}

/** @throws UserError E101-E137 */
export function importOnnx(bytes: Uint8Array, options: ImportOptions): ImportedModel {
  const model = wholeModel(bytes, options);
  const nodes = liveNodes(sortNodes(model), model.outputs);
  const found = classify(model, nodes, options.inputs ?? []);
  const notices = noticesOf(model, nodes, found);
  const tensors = new Map(found.tensors);
  if (options.weights) overrideValues(tensors, options.weights, notices);
  const plan = planState(tensors, nodes, options);
  const constants = new Map<string, PlannedTensor>();
  const build = (mode: Mode): Func => new FunctionImport(mode, model, nodes, found, plan, constants, options).func();
  const functions = [build('train'), build('predict')];

  const read = new Set(functions.flatMap((f) => [...f.reads.map((r) => r.name), ...f.updates.map((u) => u.state)]));
  const used = [...plan.values(), ...constants.values()].filter((p) => read.has(p.entry.name));
  const module: Module = {
    name: moduleName(options.fileName),
    level: 'model',
    state: used.map((p) => p.entry),
    functions,
    weights: initialValues(used, functions, options),
    parameters: used.flatMap((p) => (p.report ? [p.report] : [])),
  };
  return { module, template: exportTemplate(model, nodes, found, used, options.weights), notices };
}

/** The model as one graph: functions inlined, conditionals decided. */
function wholeModel(bytes: Uint8Array, options: ImportOptions): OnnxModel {
  const { fileName, external } = options;
  const parsed = parse(bytes, fileName);
  const inlined = parsed.functions?.length
    ? inlineFunctions(parsed, functionFields(bytes, fileName), fileName)
    : parsed;
  const opset = opsetOf(inlined, fileName);
  if (opset < EARLIEST || opset > LATEST) throw unsupportedOpset(opset, [EARLIEST, LATEST], fileName);
  const decide: Decide = (proto, conditions) => {
    const model = decodeProto(proto, fileName, external);
    const sorted = sortNodes(model);
    const found = classify(model, sorted, options.inputs ?? []);
    const nodes = liveNodes(sorted, conditions);
    const plan = planState(found.tensors, nodes, { seed: options.seed });
    const known = new FunctionImport('predict', model, nodes, found, plan, new Map(), options).known(conditions);
    return new Map(
      [...known].flatMap(([name, k]): [string, boolean][] =>
        k.data.length === 1 && typeof k.data[0] === 'number' ? [[name, k.data[0] !== 0]] : [],
      ),
    );
  };
  return decodeProto(foldConditionals(inlined, decide, opset), fileName, external);
}

function moduleName(file: string): string {
  const stem = file.replace(/^.*[/\\]/, '').replace(/\.onnx$/i, '');
  return stem === '' ? 'model' : stem;
}

function noticesOf(model: OnnxModel, nodes: readonly OnnxNode[], found: Classification): string[] {
  const notices: string[] = [];
  const wide = new Set([...model.initializers.values(), ...model.inputs].map((t) => t.stored));
  for (const type of ['float16', 'bfloat16', 'double'])
    if (wide.has(type)) notices.push(`the model has tensors of type ${type}: they are trained and exported as float`);
  if (found.fixedBatch !== undefined)
    notices.push(`the model was exported with a batch of ${found.fixedBatch}: it is read as a batch of any size`);
  if (isFolded(nodes))
    notices.push(
      'no BatchNormalization is trained: it seems to be folded into the convolutions (export in training mode keeps it)',
    );
  return notices;
}

/**
 * Every convolution has a bias, nothing normalises, and either the weights have the numbers that PyTorch gives to what it folds,
 * or convolutions end in sums, as in nets with shortcuts, which are not trained without normalisation.
 */
function isFolded(nodes: readonly OnnxNode[]): boolean {
  const convolutions = nodes.filter((n) => n.op === 'Conv');
  if (convolutions.length < 2 || !convolutions.every((n) => n.inputs.length > 2)) return false;
  if (nodes.some((n) => /Normalization$/.test(n.op) || n.op === 'Sqrt')) return false;
  if (convolutions.every((n) => /^onnx::Conv_\d+$/.test(n.inputs[1]))) return true;
  const outputs = new Set(convolutions.flatMap((n) => n.outputs));
  return nodes.some((n) => (n.op === 'Add' || n.op === 'Sum') && n.inputs.some((i) => outputs.has(i)));
}
