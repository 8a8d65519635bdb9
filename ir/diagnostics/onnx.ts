/**
 * What can be wrong with an ONNX model, or with the options that say how to read it: E1xx.
 */
import type { Loc } from '../loc.js';
import { UserError } from './error.js';

/** At most five of many names. */
const some = (names: readonly string[]): string =>
  names.length <= 5 ? names.join(', ') : `${names.slice(0, 5).join(', ')} and ${names.length - 5} more`;

// ---- The file ----

export const notOnnx = (file: string, why: string): UserError =>
  new UserError(
    101,
    `this is not a readable ONNX model: ${why}`,
    'export the model again, or copy the file again',
    file,
  );

export const brokenGraph = (why: string, where: Loc | string): UserError =>
  new UserError(102, why, 'the file breaks the rules of ONNX: export the model again', where);

export const cyclicGraph = (nodes: readonly string[], loc: Loc): UserError =>
  new UserError(
    103,
    `the graph has a cycle: ${nodes.length === 1 ? nodes[0] : some([...nodes, nodes[0]]).replaceAll(', ', ' -> ')}`,
    'an ONNX graph must not have cycles: export the model again',
    loc,
  );

export const undefinedValue = (value: string, where: Loc | string): UserError =>
  new UserError(
    104,
    `the value "${value}" is read, but nothing defines it`,
    'the file breaks the rules of ONNX: export the model again',
    where,
  );

export const definedTwice = (value: string, where: Loc | string): UserError =>
  new UserError(
    105,
    `the value "${value}" is defined twice`,
    'names must be unique in an ONNX graph: export the model again',
    where,
  );

export const externalData = (tensor: string, location: string, why: string, where: Loc | string): UserError =>
  new UserError(
    106,
    `${tensor} keeps its data in the file "${location}", which cannot be read: ${why}`,
    "put all files of the export into the model's folder, with the names that they had",
    where,
  );

// ---- Nodes ----

export const unsupportedOp = (op: string, domain: string, opset: number, loc: Loc): UserError =>
  new UserError(
    110,
    `op ${domain === '' ? op : `${domain}.${op}`} (opset ${opset}) is not supported`,
    domain === ''
      ? 'express it by other ops before export, or cut it off the model'
      : 'only standard ONNX ops (domain ai.onnx) are known: export without contributed or custom ops, and inline functions',
    loc,
  );

export const unsupportedVersion = (op: string, opset: number, known: readonly [number, number], loc: Loc): UserError =>
  new UserError(
    111,
    `op ${op} is known in opsets ${known[0]} to ${known[1]}, but the model uses opset ${opset}`,
    `export with an opset from ${known[0]} to ${known[1]} (onnx.version_converter converts a file)`,
    loc,
  );

export const unsupportedOpset = (opset: number, known: readonly [number, number], file: string): UserError =>
  new UserError(
    111,
    `the model uses opset ${opset} of ai.onnx, opsets ${known[0]} to ${known[1]} are known`,
    `export with an opset from ${known[0]} to ${known[1]} (onnx.version_converter converts a file)`,
    file,
  );

export const quantizedOp = (op: string, opset: number, loc: Loc): UserError =>
  new UserError(
    118,
    `op ${op} (opset ${opset}) belongs to a quantised model, which cannot be trained`,
    'compile the float model that it was made from, and quantise what comes out of the training',
    loc,
  );

export const unsupportedForm = (op: string, opset: number, form: string, loc: Loc): UserError =>
  new UserError(
    112,
    `op ${op} (opset ${opset}): ${form} is not supported`,
    'express it in another form before export',
    loc,
  );

export const misfit = (op: string, opset: number, why: string, loc: Loc): UserError =>
  new UserError(
    113,
    `op ${op} (opset ${opset}) cannot take its inputs: ${why}`,
    'check the model, and the shapes of its data inputs (--input NAME:Nx3x224x224)',
    loc,
  );

export const unsupportedType = (what: string, type: string, where: Loc | string): UserError =>
  new UserError(
    114,
    `${what} has element type ${type}, which is not supported`,
    'float, float16, double, bool and the integers are: convert the model',
    where,
  );

export const mustBeKnown = (op: string, opset: number, what: string, loc: Loc): UserError =>
  new UserError(
    115,
    `op ${op} (opset ${opset}): ${what} must be known when the model is compiled, but it is computed from data`,
    'export with constant shapes and parameters (constant folding helps)',
    loc,
  );

export const batchArithmetic = (value: string, loc: Loc): UserError =>
  new UserError(
    116,
    `"${value}" is computed from the batch size in a way that is not understood`,
    'only multiples of the batch size can flow through shape arithmetic: export with a fixed batch',
    loc,
  );

export const badFunction = (name: string, why: string, where: Loc | string): UserError =>
  new UserError(
    117,
    `function ${name} of the model cannot be put in place of its calls: ${why}`,
    "inline functions before export: python -c \"import onnx, onnx.inliner; onnx.save(onnx.inliner.inline_local_functions(onnx.load('model.onnx')), 'inlined.onnx')\"",
    where,
  );

// ---- Data inputs ----

export const noDataInput = (weights: readonly string[]): UserError =>
  new UserError(
    120,
    `the model has no data input: all its graph inputs look like weights${weights.length ? ` (${some(weights)})` : ''}`,
    'name the data input: --input NAME',
  );

export const unclearInputs = (names: readonly string[]): UserError =>
  new UserError(
    121,
    `which graph inputs are data cannot be told: ${some(names)}`,
    `name each data input: ${names
      .slice(0, 2)
      .map((n) => `--input ${n}`)
      .join(' ')}`,
  );

export const inputOption = (option: string, why: string): UserError =>
  new UserError(122, `--input ${option}: ${why}`, 'write --input NAME or --input NAME:Nx3x64x64 (N is the batch)');

export const openDimension = (input: string, shape: string, example: string): UserError =>
  new UserError(
    123,
    `data input "${input}" has the shape ${shape}: only the first dimension, the batch, may be open`,
    `give the others, for example --input ${input}:${example}`,
  );

export const inputName = (name: string): UserError =>
  new UserError(
    124,
    `the model gives the name "${name}" to an input or a weight, but the training function needs it for an input of its own`,
    'rename it in the model',
  );

// ---- Weights ----

export const missingWeights = (names: readonly string[], inFile: boolean): UserError =>
  new UserError(
    130,
    `${names.length === 1 ? 'a weight has' : `${names.length} weights have`} no values${inFile ? ', neither in the model nor in --weights' : ' in the model'}: ${some(names)}`,
    'draw new ones with --init he-normal, or give them with --weights FILE.safetensors',
  );

export const cannotInitialise = (names: readonly string[]): UserError =>
  new UserError(
    131,
    `no rule says how to draw: ${some(names)} (not the weights of a layer)`,
    'give values with --weights FILE.safetensors; if one of them is data, name the data with --input NAME',
  );

export const extraWeights = (names: readonly string[]): UserError =>
  new UserError(
    132,
    `--weights has tensors that the model has not: ${some(names)}`,
    'the names must be those of the ONNX initializers',
  );

export const weightShape = (name: string, got: string, want: string): UserError =>
  new UserError(
    133,
    `--weights: tensor "${name}" is ${got}, the model needs ${want}`,
    'give weights of this very model',
  );

export const patternMatchesNothing = (option: string, pattern: string): UserError =>
  new UserError(
    134,
    `${option} ${pattern} matches no weight`,
    "names are those of the ONNX initializers; * matches anything: --freeze 'layer1.*'",
  );

export const cannotTrain = (name: string, why: string): UserError =>
  new UserError(135, `--train: "${name}" cannot be trained: ${why}`, 'narrow the pattern');

export const weightsTooLarge = (name: string, type: string): UserError =>
  new UserError(
    136,
    `weight "${name}" is ${type}, which is too large`,
    'check the model: no tensor may pass 2 GiB',
    name,
  );

export const noOutput = (): UserError =>
  new UserError(137, 'the model has no output that is computed from data', 'check the model');
