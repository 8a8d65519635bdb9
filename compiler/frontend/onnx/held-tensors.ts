/**
 * The tensors that a model holds, wherever they stand: initializers, graph inputs of fixed shape (models exported without
 * weights), Constant nodes, ConstantOfShape nodes (the same, by older exporters), and copies under names of their own.
 */
import type { TensorData } from '../../../ir/graph.js';
import type { Loc } from '../../../ir/loc.js';
import { type Shape, type TensorType, tensor } from '../../../ir/types.js';
import type { OnnxModel, OnnxNode } from './decode.js';
import { products, type Slot, views } from './slots.js';
import type { OnnxTensor } from './tensor-data.js';

/** A tensor that the model holds, under the name that its readers use. */
export interface Tensor {
  readonly name: string;
  readonly type: TensorType;
  readonly source: 'initializer' | 'graph input' | 'Constant' | 'ConstantOfShape' | 'Identity';
  /** Absent: the model gives the shape only. */
  readonly data?: () => TensorData;
  readonly loc: Loc;
  /** Its place in a layer, where it has one. */
  slot?: { readonly kind: Slot; readonly node: OnnxNode };
}

export const inputLoc = (name: string): Loc => ({ kind: 'onnx', node: name, op: 'input' });

/** Tensors by name; graph inputs among them that may be data. */
export function heldTensors(
  model: OnnxModel,
  sorted: readonly OnnxNode[],
  named: ReadonlyMap<string, Shape | undefined>,
): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  const readers = readersOf(sorted);
  /** Only products and convolutions read it, as far as one sees through views. */
  const isLayerWeight = (name: string): boolean =>
    (readers.get(name) ?? []).every(
      (n) => products.has(n.op) || n.op === 'Conv' || (views.has(n.op) && isLayerWeight(n.outputs[0])),
    );
  const add = (name: string, t: Pick<OnnxTensor, 'type' | 'data'>, source: Tensor['source'], loc: Loc): void => {
    tensors.set(name, { name, type: t.type, source, data: t.data, loc });
  };
  for (const [name, t] of model.initializers)
    add(name, t, 'initializer', { kind: 'onnx', node: name, op: 'initializer' });
  for (const v of model.inputs) {
    // The only input is data, also where it is added to what a layer makes of it.
    const fixed = model.inputs.length > 1 && v.dims?.every((d) => typeof d === 'number') && !named.has(v.name);
    if (!fixed) continue;
    const type = tensor(v.dtype, v.dims as readonly number[]);
    tensors.set(v.name, { name: v.name, type, source: 'graph input', loc: inputLoc(v.name) });
  }
  for (const n of sorted) {
    if (n.domain !== '') continue;
    const [out] = n.outputs;
    if (n.op === 'Constant') {
      const value = n.attributes.get('value');
      const list = n.attributes.get('value_floats');
      if (typeof value === 'object' && 'stored' in value) add(out, value, 'Constant', n.loc);
      else if (Array.isArray(list)) add(out, floatList(list), 'Constant', n.loc);
    } else if (n.op === 'ConstantOfShape') {
      const shape = tensors.get(n.inputs[0])?.data?.();
      const value = n.attributes.get('value');
      const dtype = typeof value === 'object' && 'stored' in value ? value.type.dtype : 'f32';
      if (shape?.type.dtype !== 'i64' || dtype !== 'f32' || shape.data.length === 0) continue;
      const dims = Array.from(shape.data, Number);
      if (dims.every((d) => Number.isSafeInteger(d) && d > 0))
        tensors.set(out, { name: out, type: tensor('f32', dims), source: 'ConstantOfShape', loc: n.loc });
    } else if (n.op === 'Identity') {
      // Exporters write equal tensors once and give the copies their own names: each is a parameter of its own. Only a table
      // that is a layer's weight as well is one that was tied.
      const from = tensors.get(n.inputs[0]);
      const copied = from?.type.shape.length === 1 || (isLayerWeight(n.inputs[0]) && isLayerWeight(out));
      if (from?.data && from.type.dtype === 'f32' && copied)
        tensors.set(out, { ...from, name: out, source: 'Identity', loc: n.loc });
    }
  }
  return tensors;
}

/** Constant's attribute `value_floats` as a tensor. */
function floatList(list: readonly number[]): Pick<OnnxTensor, 'type' | 'data'> {
  const type = tensor('f32', [list.length]);
  return { type, data: () => ({ type, data: Float32Array.from(list) }) };
}

/** The nodes that read each value, in their order. */
export function readersOf(nodes: readonly OnnxNode[]): Map<string, OnnxNode[]> {
  const readers = new Map<string, OnnxNode[]>();
  for (const n of nodes)
    for (const i of n.inputs) {
      const list = readers.get(i);
      if (list) list.push(n);
      else readers.set(i, [n]);
    }
  return readers;
}
