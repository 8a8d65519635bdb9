/**
 * One case of the ONNX node tests: read by the importer as a function, run by the float64 evaluator or compiled to WebAssembly,
 * and compared with the expected outputs. A case that the importer refuses with a numbered error is unsupported.
 */
import { decode, type OnnxModel } from '../../compiler/frontend/onnx/decode.js';
import { FunctionImport } from '../../compiler/frontend/onnx/function-import.js';
import type { Tensor } from '../../compiler/frontend/onnx/held-tensors.js';
import { type PlannedTensor, planState } from '../../compiler/frontend/onnx/state-plan.js';
import { type OnnxTensor, readTensor } from '../../compiler/frontend/onnx/tensor-data.js';
import { sortNodes } from '../../compiler/frontend/onnx/topology.js';
import type { DataInput } from '../../compiler/frontend/onnx/weights.js';
import { fuse } from '../../compiler/kernels/fuse.js';
import { lowerRegion } from '../../compiler/kernels/lower.js';
import { mergeCommonSubexpressions } from '../../compiler/passes/common-subexpressions.js';
import { removeDeadCode } from '../../compiler/passes/dead-code.js';
import { expandComposites } from '../../compiler/passes/expand-composites.js';
import { assemble } from '../../compiler/program/assemble.js';
import { UserError } from '../../ir/diagnostics/error.js';
import { evaluate } from '../../ir/evaluate.js';
import type { Func, Module } from '../../ir/graph.js';
import { rebuild } from '../../ir/rewrite.js';
import { bindShape } from '../../ir/types.js';
import { verifyKernel, verifyModule, verifyProgram } from '../../ir/verify.js';
import { type NodeTest, tensorProto } from '../frontend/onnx-node-tests.js';
import { ProgramRun } from '../program/run-program.js';

export const columns = ['evaluator', 'wasm'] as const;
export type Column = (typeof columns)[number];
export type Status = 'passed' | 'failed' | 'unsupported';

export interface Outcome {
  readonly status: Readonly<Record<Column, Status>>;
  /** Why, where it did not pass. */
  readonly why: Readonly<Partial<Record<Column, string>>>;
  /** Nothing of it was data: the importer folds it, or is given all as constants. */
  readonly folded: boolean;
}

type Named = Record<string, Float64Array>;
const float64 = (data: ArrayLike<number | bigint>): Float64Array => Float64Array.from(data, Number);

/** A case as a bound function with its inputs and state, and what must come out. */
interface Case {
  readonly func: Func;
  readonly given: Named;
  readonly state: Named;
  readonly planned: readonly PlannedTensor[];
  readonly expected: readonly Expected[];
}
interface Expected {
  readonly kind: 'output' | 'state';
  readonly name: string;
  readonly want: Float64Array;
  /** Element type in the test's file. */
  readonly stored: string;
}
type Computed = (e: Expected) => ArrayLike<number>;

/** Cases whose answer is another random number generator's. */
const random = /^test_(training_dropout(?!_zero_ratio)|bernoulli)/;

/** Runs one case in both columns. */
export function runCase(test: NodeTest): Outcome {
  const both = (status: Status, why: string): Outcome => ({
    status: { evaluator: status, wasm: status },
    why: { evaluator: why, wasm: why },
    folded: false,
  });
  if (random.test(test.name)) return both('unsupported', 'its answer is drawn by another random number generator');
  let read: Case;
  try {
    read = importCase(test);
  } catch (e) {
    return both(e instanceof UserError ? 'unsupported' : 'failed', (e as Error).message);
  }
  const attempt = (column: Column): string | undefined => {
    try {
      return compare(test.name, read, column === 'evaluator' ? byEvaluator(read) : byWasm(read));
    } catch (e) {
      return `compiler fault: ${(e as Error).message}`;
    }
  };
  const why = { evaluator: attempt('evaluator'), wasm: attempt('wasm') };
  const status = (w: string | undefined): Status => (w === undefined ? 'passed' : 'failed');
  return {
    status: { evaluator: status(why.evaluator), wasm: status(why.wasm) },
    why,
    folded: Object.keys(read.given).length === 0,
  };
}

/**
 * Reads a case with as many of its inputs as data as the importer takes: all, else those of float, else the first alone; the
 * others (shapes, axes, pads, and whatever else a compiler must know) become initializers. Where the first is no float,
 * a shape for example, all may be.
 * @throws UserError what the importer says of the first input as data
 */
function importCase(test: NodeTest): Case {
  const model = decode(test.model, test.name);
  const values = test.inputs.map((bytes) => readTensor(tensorProto(bytes), test.name));
  const isFloat = (i: number): boolean => values[i].type.dtype === 'f32';
  const forms: ((i: number) => boolean)[] = [() => true, isFloat, (i) => i === 0];
  if (values.length > 0 && !isFloat(0)) forms.unshift(forms.pop()!);
  if (values.length > 0 && !isFloat(0)) forms.push(() => false);
  let refused: unknown;
  for (const isData of forms) {
    try {
      return importAs(test, model, values, isData);
    } catch (e) {
      if (!(e instanceof UserError)) throw e;
      refused ??= e;
    }
  }
  throw refused;
}

/** As importOnnx, but for which inputs are data: its rules are for classifiers. */
function importAs(
  test: NodeTest,
  model: OnnxModel,
  values: readonly OnnxTensor[],
  isData: (i: number) => boolean,
): Case {
  const training = /^test_batchnorm.*training/.test(test.name);
  const tensors = new Map<string, Tensor>();
  const inputs: DataInput[] = [];
  const given: Named = {};
  model.inputs.forEach(({ name }, i) => {
    const loc = { kind: 'onnx', node: name, op: 'input' } as const;
    const { type, data } = values[i];
    if (training ? i > 0 : !isData(i)) tensors.set(name, { name, type, source: 'initializer', data, loc });
    else {
      const shape = training ? [{ symbol: 'N', factor: 1 }, ...type.shape.slice(1)] : type.shape;
      inputs.push({ name, type: { ...type, shape, dtype: type.dtype === 'i64' ? 'i32' : type.dtype }, loc });
      given[name] = float64(data().data);
    }
  });
  const nodes = sortNodes(model);
  if (training)
    (['running mean', 'running variance'] as const).forEach((kind, i) => {
      tensors.get(nodes[0].inputs[3 + i])!.slot = { kind, node: nodes[0] };
    });
  const plan = planState(tensors, nodes, { seed: 0 });
  const constants = new Map<string, PlannedTensor>();
  const mode = training ? 'train' : 'predict';
  const read = new FunctionImport(mode, model, nodes, { tensors, inputs }, plan, constants, {}).func();
  const N = (values[0]?.type.shape[0] ?? 1) as number;
  const func = rebuild(read, 'bind-batch', { type: (v) => ({ ...v.type, shape: bindShape(v.type.shape, { N }) }) });
  if (training) given.valid = new Float64Array(N).fill(1);
  const used = new Set([...func.reads.map((v) => v.name), ...func.updates.map((u) => u.state)]);
  const planned = [...plan.values(), ...constants.values()].filter((p) => used.has(p.entry.name));
  const declared = new Set(func.inputs.map((v) => v.name));
  return {
    func,
    given: Object.fromEntries(Object.entries(given).filter(([name]) => declared.has(name))),
    state: Object.fromEntries(planned.map((p) => [p.entry.name, float64(p.tensor.data!().data)])),
    planned,
    expected: test.outputs.map((bytes, i): Expected => {
      const t = readTensor(tensorProto(bytes), test.name);
      const name = model.outputs[i];
      // In training, BatchNormalization's results 1 and 2 are the running statistics, its inputs 3 and 4: state here.
      const kind = training && i > 0 ? 'state' : 'output';
      return {
        kind,
        name: kind === 'state' ? nodes[0].inputs[i + 2] : name,
        want: float64(t.data().data),
        stored: t.stored,
      };
    }),
  };
}

function byEvaluator({ func, given, state }: Case): Computed {
  const { outputs, state: after } = evaluate(func, given, state);
  return ({ kind, name }) => (kind === 'state' ? after : outputs)[name];
}

function byWasm({ func, given, state, planned }: Case): Computed {
  const whole: Module = {
    name: 'case',
    level: 'train',
    state: planned.map((p) => p.entry),
    functions: [func],
    weights: new Map(),
    parameters: [],
  };
  const primitive = removeDeadCode(mergeCommonSubexpressions(expandComposites(whole)));
  verifyModule(primitive);
  const assembled = assemble(primitive, fuse, lowerRegion);
  for (const kernel of assembled.kernels) verifyKernel(kernel);
  verifyProgram(assembled.program);
  const run = new ProgramRun(assembled, 'wasm');
  for (const { name } of primitive.state) run.view(name).set(state[name]);
  run.run(func.name, given);
  return ({ kind, name }) => (kind === 'state' ? run.view(name) : run.output(func.name, name));
}

/** References written with four digits. */
const digits = /^test_averagepool_2d_ceil_last_window_starts_on_pad$/;

/**
 * ONNX's own runner asks for |got - want| <= 1e-7 + 1e-3 |want|; here it is 1e-6 + 1e-4 |want|, since sums in f32 that cancel
 * keep an absolute error; 16-bit references are rounded to 10 and 7 bits, so theirs is one unit of that.
 */
function compare(test: string, { expected }: Case, computed: Computed): string | undefined {
  for (const e of expected) {
    const { name, want, stored } = e;
    const got = computed(e);
    if (got === undefined) return `there is no ${name}`;
    if (got.length !== want.length) return `${name} has ${got.length} elements, not ${want.length}`;
    const relative = digits.test(test)
      ? 1e-3
      : stored === 'bfloat16'
        ? 2 ** -7
        : stored === 'float16'
          ? 2 ** -10
          : 1e-4;
    for (let i = 0; i < want.length; i++) {
      // NaN equals itself, and -0 is 0.
      if (Object.is(got[i], want[i]) || got[i] === want[i]) continue;
      if (!(Math.abs(got[i] - want[i]) <= 1e-6 + relative * Math.abs(want[i])) || !Number.isFinite(want[i]))
        return `${name}[${i}] is ${got[i]}, not ${want[i]}`;
    }
  }
  return undefined;
}
