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
import { lowerModule } from '../../compiler/targets/targets.js';
import { UserError } from '../../ir/diagnostics/error.js';
import { evaluate } from '../../ir/evaluate.js';
import type { Func, Module } from '../../ir/graph.js';
import { rebuild } from '../../ir/rewrite.js';
import { bindShape } from '../../ir/types.js';
import { verifyKernel, verifyModule, verifyProgram } from '../../ir/verify.js';
import type { Artifact } from '../../runtime/artifact.js';
import type { ArrayData } from '../../runtime/devices/device.js';
import { openDawn } from '../../runtime/devices/webgpu/adapter.js';
import { WebgpuDevice } from '../../runtime/devices/webgpu/device.js';
import { type NodeTest, tensorProto } from '../frontend/onnx-node-tests.js';
import { storage } from '../kernels/execute.js';
import { ProgramRun } from '../program/run-program.js';
import { useSwiftShader } from '../targets/swiftshader.mjs';

/** Where a case is computed: a column each. A target may take its time. */
const targets = { evaluator: byEvaluator, wasm: byWasm, webgpu: byWebgpu } satisfies Record<
  string,
  (read: Case) => Computed | Promise<Computed>
>;
export type Column = keyof typeof targets;
export const columns = Object.keys(targets) as readonly Column[];
/** Columns in prose. */
export const columnNames: Readonly<Record<Column, string>> = {
  evaluator: 'the evaluator',
  wasm: 'WebAssembly',
  webgpu: 'WebGPU',
};
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

const perColumn = <T>(value: (c: Column) => T): Record<Column, T> =>
  Object.fromEntries(columns.map((c) => [c, value(c)])) as Record<Column, T>;

/**
 * Runs one case in all columns.
 * @param known whether a supported case is known to pass in a column, and not to be run there
 */
export async function runCase(test: NodeTest, known: (column: Column) => boolean = () => false): Promise<Outcome> {
  const all = (status: Status, why: string): Outcome => ({
    status: perColumn(() => status),
    why: perColumn(() => why),
    folded: false,
  });
  if (random.test(test.name)) return all('unsupported', 'its answer is drawn by another random number generator');
  let read: Case;
  try {
    read = importCase(test);
  } catch (e) {
    return all(e instanceof UserError ? 'unsupported' : 'failed', (e as Error).message);
  }
  const why: Partial<Record<Column, string>> = {};
  for (const column of columns) {
    if (known(column)) continue;
    try {
      why[column] = compare(test.name, read, await targets[column](read));
    } catch (e) {
      why[column] = `compiler fault: ${(e as Error).message}`;
    }
  }
  return {
    status: perColumn((c) => (why[c] === undefined ? 'passed' : 'failed')),
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

/** The case's function in primitive ops. */
function primitiveOf({ func, planned }: Case): Module {
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
  return primitive;
}

function byWasm(read: Case): Computed {
  const { func, given, state } = read;
  const primitive = primitiveOf(read);
  const assembled = assemble(primitive, fuse, lowerRegion);
  for (const kernel of assembled.kernels) verifyKernel(kernel);
  verifyProgram(assembled.program);
  const run = new ProgramRun(assembled, 'wasm');
  for (const { name } of primitive.state) run.view(name).set(state[name]);
  run.run(func.name, given);
  return ({ kind, name }) => (kind === 'state' ? run.view(name) : run.output(func.name, name));
}

/** On a software GPU, by the runtime's own device. */
async function byWebgpu(read: Case): Promise<Computed> {
  const { func, given, state } = read;
  const primitive = primitiveOf(read);
  const { program, files } = lowerModule(primitive, fuse, 'webgpu');
  useSwiftShader();
  gpu ??= await openDawn();
  const adapter = await gpu.requestAdapter();
  const artifact = { dir: '', manifest: { programs: [program] }, files, weights: new Map() } as unknown as Artifact;
  const device = await WebgpuDevice.load(artifact, { gpu, adapter: adapter!, name: 'SwiftShader', software: true });
  const dtypes = new Map(program.buffers.map((b) => [b.name, b.dtype]));
  const write = (buffer: string, data: ArrayLike<number>): void =>
    device.write(buffer, storage(dtypes.get(buffer)!, data) as ArrayData);
  for (const { name } of primitive.state) write(name, state[name]);
  const { inputs, outputs } = program.functions[0];
  for (const i of inputs) write(i.buffer, given[i.name]);
  await device.run(func.name);
  const out = new Map<string, ArrayLike<number>>();
  const read1 = async (buffer: string): Promise<ArrayLike<number>> => (await device.read(buffer)) as Float32Array;
  for (const o of outputs) out.set(`output ${o.name}`, await read1(o.buffer));
  for (const { name } of primitive.state) out.set(`state ${name}`, await read1(name));
  device.close();
  return ({ kind, name }) => out.get(`${kind} ${name}`)!;
}
/** Kept: Dawn crashes when it is collected before its devices. */
let gpu: GPU | undefined;

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
