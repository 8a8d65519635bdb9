/**
 * Decides what each tensor that the model holds is: trainable parameter, running statistic or constant; and which graph inputs
 * are data. One walk over the sorted nodes.
 */
import { inputOption, noDataInput, openDimension, unclearInputs } from '../../../ir/diagnostics/onnx.js';
import type { Loc } from '../../../ir/loc.js';
import { type Dim, product, type Shape, type TensorType, tensor } from '../../../ir/types.js';
import type { Attribute, OnnxModel, OnnxNode, OnnxValue } from './decode.js';
import { heldTensors, inputLoc, readersOf, type Tensor } from './held-tensors.js';
import { layerSlots, products, repeats, type Slot, views } from './slots.js';

export interface DataInput {
  readonly name: string;
  readonly type: TensorType;
  readonly loc: Loc;
}

export interface Classification {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly inputs: readonly DataInput[];
  readonly fixedBatch?: number;
}

const N: Dim = { symbol: 'N', factor: 1 };

/** @throws UserError E120-E123 where the data inputs cannot be told or have open dimensions */
export function classify(model: OnnxModel, sorted: readonly OnnxNode[], options: readonly string[]): Classification {
  const named = parseInputOptions(options, model);
  const tensors = heldTensors(model, sorted, named);
  assignSlots(sorted, tensors);
  const { data, fixedBatch } = dataInputs(model, tensors, named);
  for (const d of data) tensors.delete(d.name);
  // A filled tensor that is no weight is what it says: a fill.
  for (const t of [...tensors.values()]) if (t.source === 'ConstantOfShape' && !t.slot) tensors.delete(t.name);
  return { tensors, inputs: data, fixedBatch };
}

const trainable = (t: Tensor | undefined): t is Tensor => t?.type.dtype === 'f32' && t.type.shape.length > 0;

// ---- Slots ----

function assignSlots(sorted: readonly OnnxNode[], tensors: Map<string, Tensor>): void {
  /** The tensor that a value is, seen through views. */
  const root = new Map<string, Tensor>();
  for (const t of tensors.values()) root.set(t.name, t);
  /** Values computed from a parameter; the nodes that made them. */
  const layers = new Map<string, OnnxNode>();
  const readers = readersOf(sorted);
  const producer = new Map<string, OnnxNode>();
  for (const n of sorted) producer.set(n.outputs[0], n);
  // Where no matrix serves two layers, no layer is used twice: then neither is a vector.
  const layersRepeat = [...tensors.values()].some(
    (t) => trainable(t) && t.type.shape.length > 1 && (readers.get(t.name)?.length ?? 0) > 1,
  );

  const assign = (n: OnnxNode, i: number, kind: Slot): boolean => {
    const t = root.get(n.inputs[i]);
    if (!trainable(t)) return false;
    const running = kind.startsWith('running');
    const same = t.slot?.node === n || !(isUniformVector(t) && !layersRepeat && layerVectors.has(kind));
    if (t.slot && same && t.slot.kind.startsWith('running') === running && (!running || t.slot.kind === kind))
      return true;
    if (!t.slot) t.slot = { kind, node: n };
    else {
      // One tensor, stored once since its values were equal, for two layers or in two roles: this node gets its own.
      const name = `${n.outputs[0]}.${kind.replace(' ', '_')}`;
      const own: Tensor = { ...t, name, slot: { kind, node: n } };
      tensors.set(name, own);
      root.set(name, own);
      n.inputs[i] = name;
    }
    return true;
  };

  for (const n of sorted) {
    if (n.domain !== '' || n.outputs.length === 0) continue;
    const [out] = n.outputs;
    const [x] = n.inputs;
    if ((views.has(n.op) || n.op === 'Cast') && !root.has(out)) {
      const t = root.get(x);
      // Floating point of any width is one type: weights of half width stand behind a cast.
      if (t && (n.op !== 'Cast' || (t.type.dtype === 'f32' && isFloat(n.attributes.get('to'))))) root.set(out, t);
    }
    // A shape is no longer what the layer computed.
    let layer = n.op !== 'Shape' && n.op !== 'Size' && n.inputs.some((i) => layers.has(i));
    const slots = Object.hasOwn(layerSlots, n.op) ? layerSlots[n.op] : {};
    for (const i of n.op in layerSlots ? orderOf(slots) : []) {
      if (i >= n.inputs.length || n.inputs[i] === '') continue;
      if (products.has(n.op) && i === 0 && root.has(n.inputs[1])) continue;
      // What is looked up at known places is a slice. Data of fixed size are graph inputs.
      if (n.op === 'Gather' && root.has(n.inputs[1]) && root.get(n.inputs[1])!.source !== 'graph input') continue;
      if (assign(n, i, slots[i])) layer = true;
    }
    if (n.op === 'Add') layer = assignBias(n) || layer;
    if (n.op === 'Mul') layer = assignScale(n) || layer;
    if (n.op === 'Concat' && layer) assignTokens(n);
    if (layer) for (const o of n.outputs) layers.set(o, n);
  }

  /** A bias is added to what a layer computed; a sum with raw data is preprocessing. */
  function assignBias(n: OnnxNode): boolean {
    const i = n.inputs.findIndex((name) => root.has(name));
    if (n.inputs.length !== 2 || i < 0) return false;
    const from = layers.get(n.inputs[1 - i]);
    const t = root.get(n.inputs[i])!;
    if (!from || !trainable(t) || isMask(t)) return false;
    // A single number is a bias only right behind a product with one output; elsewhere it is an epsilon or an offset.
    if (count(t) === 1 && !(from.op in layerSlots)) return false;
    return assign(n, i, 'bias');
  }

  /** What a model learns to put beside the positions of a sequence [N, T, C]: the class token of a transformer. */
  function assignTokens(n: OnnxNode): void {
    n.inputs.forEach((name, i) => {
      const spread = producer.get(name);
      const t = root.get(spread && repeats.has(spread.op) ? spread.inputs[0] : name);
      if (!trainable(t) || t.type.shape.length > 3 || layers.has(name)) return;
      if (root.has(name)) assign(n, i, 'token');
      else t.slot ??= { kind: 'token', node: n };
    });
  }

  /**
   * The scale of a normalisation that is written out: a product whose only reader adds a weight; or one number for each
   * channel of a branch that is added to another (layer scale).
   */
  function assignScale(n: OnnxNode): boolean {
    const i = n.inputs.findIndex((name) => root.has(name));
    if (n.inputs.length !== 2 || i < 0 || !layers.has(n.inputs[1 - i])) return false;
    const t = root.get(n.inputs[i])!;
    if (!trainable(t) || count(t) === 1) return false;
    const next = readers.get(n.outputs[0]) ?? [];
    if (next.length !== 1 || next[0].op !== 'Add' || next[0].inputs.length !== 2) return false;
    const shift = next[0].inputs.find((name) => name !== n.outputs[0]) ?? '';
    if (layers.has(shift)) return Math.max(...(t.type.shape as number[])) === count(t) && assign(n, i, 'scale');
    // The shift may stand behind a view that comes later in the file.
    const view = producer.get(shift);
    const s = root.get(shift) ?? (view && views.has(view.op) ? root.get(view.inputs[0]) : undefined);
    return trainable(s) && count(s) > 1 && assign(n, i, 'scale');
  }
}

/** float, float16, double, bfloat16 */
const isFloat = (type: Attribute | undefined): boolean => [1, 10, 11, 16].includes(type as number);

const count = (t: Tensor): number => product(t.type.shape as readonly number[]);

/** Ones and zeros are what scales and biases begin with: exporters store those of one size once. */
const layerVectors: ReadonlySet<Slot> = new Set(['scale', 'bias', 'running mean', 'running variance']);
function isUniformVector(t: Tensor): boolean {
  if (!t.data || t.type.shape.length !== 1) return false;
  const data = t.data().data as Float32Array;
  return data.every((v) => v === data[0]);
}

/** Input 1 before input 0: a product's second operand is its weight, if either is. */
function orderOf(slots: Readonly<Record<number, Slot>>): number[] {
  const order = Object.keys(slots).map(Number);
  return slots[0] && slots[1] ? [...order.filter((i) => i > 0), 0] : order;
}

/** Attention masks are constants that are added, too: they hold minus infinity or nearly so. */
function isMask(t: Tensor): boolean {
  if (!t.data || t.type.shape.length < 2) return false;
  return (t.data().data as Float32Array).some((v) => !(v > -1e4));
}

// ---- Data inputs ----

/** `NAME` or `NAME:Nx3x64x64`, by name; names may themselves hold colons. */
function parseInputOptions(options: readonly string[], model: OnnxModel): Map<string, Shape | undefined> {
  const named = new Map<string, Shape | undefined>();
  for (const option of options) {
    const colon = option.lastIndexOf(':');
    const known = (name: string): boolean => model.inputs.some((v) => v.name === name);
    if (known(option)) named.set(option, undefined);
    else {
      const name = option.slice(0, Math.max(colon, 0));
      if (!known(name))
        throw inputOption(
          option,
          `the model has no input "${colon < 0 ? option : name}" (it has ${inputNames(model)})`,
        );
      named.set(name, parseShape(option, option.slice(colon + 1)));
    }
  }
  return named;
}

const inputNames = (model: OnnxModel): string => {
  const names = model.inputs.map((v) => v.name);
  return names.length === 0 ? 'none' : `${names.slice(0, 5).join(', ')}${names.length > 5 ? ', ...' : ''}`;
};

function parseShape(option: string, text: string): Shape {
  const dims = text.split('x').map((d): Dim => {
    if (d === 'N' || d === 'n') return N;
    if (!/^[1-9]\d{0,8}$/.test(d)) throw inputOption(option, `"${d}" is no dimension`);
    return Number(d);
  });
  if (dims.slice(1).some((d) => typeof d !== 'number'))
    throw inputOption(option, 'only the first dimension can be the batch N');
  return [N, ...dims.slice(1)];
}

function dataInputs(
  model: OnnxModel,
  tensors: ReadonlyMap<string, Tensor>,
  named: ReadonlyMap<string, Shape | undefined>,
): { data: DataInput[]; fixedBatch?: number } {
  const open = model.inputs.filter((v) => named.has(v.name) || !v.dims?.every((d) => typeof d === 'number'));
  const rest = model.inputs.filter((v) => !open.includes(v) && !tensors.get(v.name)?.slot);
  let chosen: OnnxValue[] = open;
  if (open.length === 0) {
    if (rest.length === 0) throw noDataInput(model.inputs.map((v) => v.name));
    if (rest.length > 1) throw unclearInputs(rest.map((v) => v.name));
    chosen = rest;
  }
  let fixedBatch: number | undefined;
  const data = chosen.map((v): DataInput => {
    const shape = inputShape(v, named.get(v.name));
    const first = v.dims?.[0];
    if (typeof first === 'number') fixedBatch = first;
    return { name: v.name, type: tensor(v.dtype === 'i64' ? 'i32' : v.dtype, shape), loc: inputLoc(v.name) };
  });
  return { data, fixedBatch };
}

function inputShape(v: OnnxValue, given: Shape | undefined): Shape {
  const text = v.dims ? `[${v.dims.map((d) => (d === '' ? '?' : d)).join(',')}]` : 'of unknown rank';
  if (given) {
    if (v.dims && v.dims.length !== given.length)
      throw inputOption(v.name, `the shape has ${given.length} dimensions, the model's input is ${text}`);
    return given;
  }
  if (!v.dims) throw openDimension(v.name, text, 'Nx3x64x64');
  if (v.dims.length === 0) throw inputOption(v.name, 'it is a scalar, not a batch of examples');
  const [, ...rest] = v.dims;
  if (rest.some((d) => typeof d !== 'number'))
    throw openDimension(v.name, text, ['N', ...rest.map((d) => (typeof d === 'number' ? d : 64))].join('x'));
  return [N, ...(rest as number[])];
}
