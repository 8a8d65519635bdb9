/**
 * From the classified tensors and the user's wishes to the module's state: roles, what is trained and why, and first values:
 * the model's, those of a weights file, or newly drawn ones.
 */
import {
  cannotInitialise,
  cannotTrain,
  extraWeights,
  missingWeights,
  patternMatchesNothing,
  weightShape,
  weightsTooLarge,
} from '../../../ir/diagnostics/onnx.js';
import type { Func, ParameterReport, StateEntry, StateRole, TensorData } from '../../../ir/graph.js';
import { concrete, type DType, printType, product, typeEquals } from '../../../ir/types.js';
import { DrawnTensor, heDeviation, nameKey } from '../init.js';
import type { OnnxNode } from './decode.js';
import { fanIns } from './fan-in.js';
import type { Tensor } from './held-tensors.js';
import { MAX_BYTES } from './tensor-data.js';

export interface PlanOptions {
  readonly weights?: ReadonlyMap<string, TensorData>;
  readonly init?: 'he-normal';
  readonly seed: number;
  readonly freeze?: readonly string[];
  readonly train?: readonly string[];
}

export interface PlannedTensor {
  readonly tensor: Tensor;
  readonly entry: StateEntry;
  readonly report?: ParameterReport;
}

/** `*` matches any characters, `?` one. */
function glob(pattern: string): RegExp {
  const escaped = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${escaped}$`, 's');
}

interface Pattern {
  readonly text: string;
  readonly test: RegExp;
  used: boolean;
}
const patterns = (texts: readonly string[] = []): Pattern[] =>
  texts.map((text) => ({ text, test: glob(text), used: false }));

/** The first pattern that fits; all that fit count as used. */
function match(list: readonly Pattern[], name: string): string | undefined {
  let first: string | undefined;
  for (const p of list) {
    if (!p.test.test(name)) continue;
    p.used = true;
    first ??= p.text;
  }
  return first;
}

const isParameter = (t: Tensor): boolean => t.slot !== undefined && !t.slot.kind.startsWith('running');

/** Role of each tensor that the nodes read. @throws UserError E134, E135 for patterns that do not fit */
export function planState(
  tensors: ReadonlyMap<string, Tensor>,
  nodes: readonly OnnxNode[],
  options: PlanOptions,
): Map<string, PlannedTensor> {
  const readers = new Map<string, OnnxNode>();
  for (const n of nodes) for (const i of n.inputs) if (!readers.has(i)) readers.set(i, n);
  const freeze = patterns(options.freeze);
  const train = patterns(options.train);
  const plan = new Map<string, PlannedTensor>();
  for (const t of tensors.values()) {
    const running = t.slot?.kind.startsWith('running') ?? false;
    const isWeight = t.type.dtype === 'f32' && t.type.shape.length > 0;
    const frozen = isWeight && !running ? match(freeze, t.name) : undefined;
    const forced = isWeight ? match(train, t.name) : undefined;
    if (forced !== undefined && running) throw cannotTrain(t.name, 'it is a running statistic, which the batches move');
    const parameter = isParameter(t) || forced !== undefined;
    const trainable = forced !== undefined || (parameter && frozen === undefined);
    const why = reason(t, readers.get(t.name), frozen, forced);
    const role: StateRole = running ? 'running-statistic' : parameter ? 'parameter' : 'constant';
    plan.set(t.name, {
      tensor: t,
      entry: stateEntry(t, role, trainable || running),
      report: isWeight && !running ? { name: t.name, trainable, rule: '', why } : undefined,
    });
  }
  for (const p of freeze) if (!p.used) throw patternMatchesNothing('--freeze', p.text);
  for (const p of train) if (!p.used) throw patternMatchesNothing('--train', p.text);
  return plan;
}

function reason(t: Tensor, reader: OnnxNode | undefined, frozen?: string, forced?: string): string {
  if (forced !== undefined) return `trained by --train ${forced}`;
  if (frozen !== undefined) return `frozen by --freeze ${frozen}`;
  if (t.slot) return `${t.slot.kind} of ${t.slot.node.op} ${t.slot.node.name}`;
  return `constant: ${reader ? `what ${reader.op} ${reader.name} reads is` : 'it is'} no parameter of a layer`;
}

/** Integers are i32 at run time. */
const runtimeType = (t: Tensor): Tensor['type'] => ({
  ...t.type,
  dtype: (t.type.dtype === 'i64' ? 'i32' : t.type.dtype) as DType,
});

function stateEntry(t: Tensor, role: StateRole, changes: boolean): StateEntry {
  return {
    name: t.name,
    type: runtimeType(t),
    role,
    owner: 'all',
    lifetime: changes ? 'training' : 'artifact',
    checkpoint: changes,
    init: { kind: 'weights' },
    loc: t.loc,
  };
}

/** Puts the values of a weights file in the place of the model's. @throws UserError E132, E133; notes what the file leaves out */
export function overrideValues(
  tensors: Map<string, Tensor>,
  weights: ReadonlyMap<string, TensorData>,
  notices: string[],
): void {
  // PyTorch's count of training steps is in its files, but in no ONNX model.
  const extra = [...weights.keys()].filter((name) => !tensors.has(name) && !/(^|\.)num_batches_tracked$/.test(name));
  if (extra.length > 0) throw extraWeights(extra);
  for (const [name, given] of weights) {
    const t = tensors.get(name);
    if (!t) continue;
    if (!typeEquals(given.type, t.type)) throw weightShape(name, printType(given.type), printType(t.type));
    tensors.set(name, { ...t, data: () => given });
  }
  const kept = [...tensors.values()].filter((t) => t.slot && t.data && !weights.has(t.name)).length;
  if (kept > 0) notices.push(`--weights leaves out ${kept} weights: they keep the values that the model gives`);
}

/**
 * First values of all state in `used`. With `init`, parameters that are trained and running statistics begin anew.
 * @throws UserError E130 where values are missing, E131 where no rule says how to draw
 */
export function initialValues(
  used: readonly PlannedTensor[],
  functions: readonly Func[],
  options: PlanOptions,
): Map<string, TensorData> {
  const values = new Map<string, TensorData>();
  const absent: string[] = [];
  const undrawn: string[] = [];
  const given = options.weights;
  const fanIn = options.init ? fanIns(functions) : new Map<string, number>();
  for (const { tensor: t, entry, report } of used) {
    const anew = options.init && !given?.has(t.name) && (report?.trainable || entry.role === 'running-statistic');
    if (t.data && !anew) {
      values.set(t.name, atRuntime(t.data()));
      continue;
    }
    if (!options.init) {
      absent.push(t.name);
      continue;
    }
    if (product(concrete(t.type.shape)) * 4 > MAX_BYTES) throw weightsTooLarge(t.name, printType(t.type));
    const drawn = draw(t, fanIn.get(t.name), options.seed);
    if (drawn) values.set(t.name, drawn);
    else if (t.data) values.set(t.name, t.data());
    else undrawn.push(t.name);
  }
  if (absent.length > 0) throw missingWeights(absent, given !== undefined);
  if (undrawn.length > 0) throw cannotInitialise(undrawn);
  return values;
}

export function atRuntime(d: TensorData): TensorData {
  if (!(d.data instanceof BigInt64Array)) return d;
  return { type: { ...d.type, dtype: 'i32' }, data: Int32Array.from(d.data, Number) };
}

/** Embeddings and tokens begin small: they are not summed, so no fan-in scales them. */
const TABLE_DEVIATION = 0.02;

function draw(t: Tensor, fanIn: number | undefined, seed: number): TensorData | undefined {
  const { type } = t;
  const normal = (deviation: number): TensorData => new DrawnTensor(type, { deviation, seed, key: nameKey(t.name) });
  const filled = (value: number): TensorData => ({
    type,
    data: new Float32Array(product(concrete(type.shape))).fill(value),
  });
  switch (t.slot?.kind) {
    case 'weight':
      return fanIn === undefined ? undefined : normal(heDeviation(fanIn));
    case 'table':
    case 'token':
      return normal(TABLE_DEVIATION);
    case 'scale':
    case 'running variance':
      return filled(1);
    case 'bias':
    case 'running mean':
      return filled(0);
    case 'slope':
      return filled(0.25);
    case undefined:
      return undefined;
  }
}
