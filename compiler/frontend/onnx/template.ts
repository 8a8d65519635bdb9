/**
 * The model as it is exported after training, but for the weights: inference form (BatchNormalization with one output, no
 * Dropout), names, opset and outputs as they were. Weights and running statistics are taken out, wherever they stood; the
 * runtime adds them as initializers under their names.
 */
import onnxProto from 'onnx-proto';
import type { TensorData } from '../../../ir/graph.js';
import { concrete } from '../../../ir/types.js';
import type { ModelProto, NodeProto, OnnxModel, OnnxNode } from './decode.js';
import type { PlannedTensor } from './state-plan.js';
import { type OnnxTensor, toNumber } from './tensor-data.js';
import type { Classification } from './weights.js';

const { onnx } = onnxProto;
type TensorProto = onnxProto.onnx.ITensorProto;
type ValueInfoProto = onnxProto.onnx.IValueInfoProto;

const FLOAT = 1;
/** float16, double, bfloat16: exported as float, which is what they were trained in. */
const otherFloats: ReadonlySet<number> = new Set([10, 11, 16]);

/** Since this version of the format initializers need not be graph inputs. */
const IR_WITH_OWN_INITIALIZERS = 4;

/**
 * @param nodes the live nodes in order
 * @param used all state of the module
 * @param overrides constants of the model with new values
 */
export function exportTemplate(
  model: OnnxModel,
  nodes: readonly OnnxNode[],
  found: Classification,
  used: readonly PlannedTensor[],
  overrides: ReadonlyMap<string, TensorData> = new Map(),
): Uint8Array {
  const trained = new Set(used.filter((p) => p.entry.role !== 'constant').map((p) => p.entry.name));
  const { kept, renamed } = inferenceNodes(model, nodes, trained);
  const read = new Set(model.outputs);
  for (const n of kept) for (const i of n.input ?? []) read.add(i);
  const produced = new Set(kept.flatMap((n) => n.output ?? []));
  const graph = model.proto.graph!;
  const data = new Set(found.inputs.map((i) => i.name));
  const given = [...overrides].filter(([name]) => read.has(name) && !trained.has(name) && !produced.has(name));
  const proto: ModelProto = {
    ...model.proto,
    irVersion: Math.max(IR_WITH_OWN_INITIALIZERS, toNumber(model.proto.irVersion)),
    // What the file says about the values in between may no longer hold; readers infer it again.
    graph: {
      ...graph,
      node: kept,
      initializer: [
        ...(graph.initializer ?? [])
          .filter((t) => read.has(t.name ?? '') && !trained.has(t.name ?? '') && !overrides.has(t.name ?? ''))
          .map((t) => embedded(t, model.initializers.get(t.name ?? '')!)),
        ...given.map(([name, d]) => initializer(name, d)),
      ],
      input: (graph.input ?? []).filter((v) => data.has(v.name ?? '')).map((v) => dataInput(v, found)),
      output: (graph.output ?? [])
        .filter((v) => !renamed.has(v.name ?? '') && (produced.has(v.name ?? '') || data.has(v.name ?? '')))
        .map(valueAsFloat),
      valueInfo: [],
      quantizationAnnotation: [],
    },
    trainingInfo: [],
  };
  return onnx.ModelProto.encode(onnx.ModelProto.fromObject(proto)).finish();
}

/** Nodes in inference form. `renamed`: results that are gone. */
function inferenceNodes(
  model: OnnxModel,
  nodes: readonly OnnxNode[],
  trained: ReadonlySet<string>,
): { kept: NodeProto[]; renamed: Set<string> } {
  const outputs = new Set(model.outputs);
  const readers = new Set(nodes.flatMap((n) => n.inputs));
  /** What stands for the result of a node that was taken out. */
  const instead = new Map<string, string>();
  const renamed = new Set<string>();
  const inputsOf = (n: OnnxNode): string[] => n.inputs.map((i) => instead.get(i) ?? i);
  const all: NodeProto[] = [];
  for (const n of nodes) {
    if (n.outputs.length > 0 && n.outputs.every((o) => trained.has(o))) continue;
    const standard = n.domain === '';
    const input = inputsOf(n);
    if (standard && n.op === 'Dropout') {
      const [y, mask] = n.outputs;
      if (!mask || !(readers.has(mask) || outputs.has(mask))) {
        if (outputs.has(y)) all.push({ ...bare(n), opType: 'Identity', input: [input[0]], output: [y] });
        else instead.set(y, input[0]);
        continue;
      }
      // The mask is asked for: the node stays, without its training mode.
      all.push({ ...n.proto, input: input.slice(0, 2) });
    } else if (standard && n.op === 'BatchNormalization') {
      for (const o of n.outputs.slice(1)) renamed.add(o);
      const attribute = (n.proto.attribute ?? []).filter((a) => a.name !== 'training_mode' && a.name !== 'is_test');
      all.push({ ...n.proto, input, output: [n.outputs[0]], attribute });
    } else all.push({ ...n.proto, input, attribute: (n.proto.attribute ?? []).map((a) => floatAttribute(n, a)) });
  }
  return { kept: withoutUnread(all, outputs), renamed };
}

const bare = (n: OnnxNode): NodeProto => ({ ...n.proto, attribute: [], domain: '' });

/** Nodes whose results nothing reads any more (a Dropout's ratio, the shape of a weight). */
function withoutUnread(nodes: readonly NodeProto[], outputs: ReadonlySet<string>): NodeProto[] {
  const needed = new Set(outputs);
  const kept: NodeProto[] = [];
  for (const n of [...nodes].reverse()) {
    if (!n.output?.some((o) => needed.has(o))) continue;
    for (const i of n.input ?? []) needed.add(i);
    kept.push(n);
  }
  return kept.reverse();
}

// ---- Element types: all floating point is float ----

/** The tensor with its data in the file. */
function embedded(t: TensorProto, read: OnnxTensor): TensorProto {
  if (otherFloats.has(t.dataType ?? 0)) return initializer(t.name ?? '', read.data());
  return read.external ? { ...t, rawData: read.external(), dataLocation: 0, externalData: [] } : t;
}

function floatAttribute(n: OnnxNode, a: onnxProto.onnx.IAttributeProto): onnxProto.onnx.IAttributeProto {
  const tensor = n.attributes.get(a.name ?? '');
  if (a.t && typeof tensor === 'object' && 'stored' in tensor) return { ...a, t: embedded(a.t, tensor) };
  if (n.op === 'Cast' && a.name === 'to' && otherFloats.has(toNumber(a.i))) return { ...a, i: FLOAT };
  return a;
}

function valueAsFloat(v: ValueInfoProto): ValueInfoProto {
  const t = v.type?.tensorType;
  if (!t || !otherFloats.has(t.elemType ?? 0)) return v;
  return { ...v, type: { ...v.type, tensorType: { ...t, elemType: FLOAT } } };
}

/** A data input with the shape that it was compiled for; its batch as the model has it. */
function dataInput(v: ValueInfoProto, found: Classification): ValueInfoProto {
  const value = valueAsFloat(v);
  const t = value.type?.tensorType;
  const shape = found.inputs.find((i) => i.name === v.name)?.type.shape;
  if (!t || !shape) return value;
  const own = t.shape?.dim ?? [];
  const dim = shape.map((d, i) => (typeof d === 'number' ? { dimValue: d } : (own[i] ?? { dimParam: d.symbol })));
  return { ...value, type: { ...value.type, tensorType: { ...t, shape: { dim } } } };
}

const codes: Readonly<Record<string, number>> = { f32: FLOAT, u8: 2, i32: 6, i64: 7, bool: 9 };

function initializer(name: string, { type, data }: TensorData): TensorProto {
  return {
    name,
    dims: [...concrete(type.shape)],
    dataType: codes[type.dtype],
    rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  };
}
