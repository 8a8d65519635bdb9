/**
 * The trained model as ONNX: the artifact's template (the model in inference form, without weights) gets each tensor that its nodes
 * read as an initializer. The protobuf is spliced by hand: fields are copied as they are, only the graph's length changes.
 * Field numbers: onnx.proto, ModelProto.graph = 7, GraphProto {node = 1, initializer = 5, input = 11}, NodeProto {input = 1,
 * output = 2}, ValueInfoProto.name = 1, TensorProto {dims = 1, data_type = 2, name = 8, raw_data = 9}.
 */
import { TEMPLATE } from '../ir/artifact.js';
import { templateBroken } from '../ir/diagnostics/artifact.js';
import { exportTooLarge } from '../ir/diagnostics/run.js';
import type { TensorData } from '../ir/graph.js';
import { concrete, type DType } from '../ir/types.js';

const MODEL_GRAPH = 7;
const GRAPH_NODE = 1;
const GRAPH_INITIALIZER = 5;
const GRAPH_INPUT = 11;
const NODE_INPUT = 1;
const NODE_OUTPUT = 2;
const VALUE_NAME = 1;
const TENSOR = { dims: 1, dataType: 2, name: 8, rawData: 9 };
const VARINT = 0;
const BYTES = 2;

/** TensorProto.DataType. */
const dataType: Record<DType, number> = { f32: 1, u8: 2, i32: 6, i64: 7, bool: 9, f16: 10 };

const MAX_BYTES = 2 ** 31 - 1;

/**
 * `template` with `trained` as initializers, in place of those of the same name; and with `constants` where it lacks them.
 * UserError E420 where it is no ONNX file or would still lack a tensor, E505 above 2 GiB.
 */
export function exportOnnx(
  template: Uint8Array,
  trained: ReadonlyMap<string, TensorData>,
  constants: ReadonlyMap<string, TensorData> = new Map(),
): Uint8Array {
  const model = readFields(template);
  const graphs = model.filter((f) => f.number === MODEL_GRAPH && f.wire === BYTES);
  if (graphs.length !== 1) throw templateBroken(TEMPLATE, `it has ${graphs.length} graphs`);
  const graph = readFields(graphs[0].content);

  const kept = graph.filter((f) => f.number !== GRAPH_INITIALIZER || !trained.has(nameIn(f, TENSOR.name)));
  const fed = new Set<string>();
  const known = new Set<string>();
  const read = new Set<string>();
  for (const field of kept) {
    if (field.number === GRAPH_INITIALIZER) known.add(nameIn(field, TENSOR.name));
    else if (field.number === GRAPH_INPUT) fed.add(nameIn(field, VALUE_NAME));
    else if (field.number === GRAPH_NODE)
      for (const f of readFields(field.content)) {
        if (f.number === NODE_INPUT) read.add(text(f.content));
        if (f.number === NODE_OUTPUT) known.add(text(f.content));
      }
  }
  // What the program holds beside the model's own tensors (folded constants) is of no use to a reader of the file.
  const insert = [...trained, ...[...constants].filter(([name]) => !known.has(name))].filter(([name]) =>
    read.has(name),
  );
  for (const [name] of insert) known.add(name);
  // An empty name stands for an optional input that is left out.
  for (const name of read)
    if (name !== '' && !known.has(name) && !fed.has(name))
      throw templateBroken(TEMPLATE, `no tensor is named '${name}', which a node reads`);

  const content = [...kept.map((f) => f.whole), ...insert.flatMap(([name, t]) => initializer(name, t))];
  const parts = model.flatMap((f) => (f === graphs[0] ? lengthDelimited(MODEL_GRAPH, content) : [f.whole]));
  const size = parts.reduce((n, p) => n + p.length, 0);
  if (size > MAX_BYTES) throw exportTooLarge(size);
  return join(parts, size);
}

interface Field {
  readonly number: number;
  readonly wire: number;
  /** Tag, length and content. */
  readonly whole: Uint8Array;
  /** Of a length-delimited field; empty for others. */
  readonly content: Uint8Array;
}

function readFields(bytes: Uint8Array): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const cut = (): never => {
    throw templateBroken(TEMPLATE, `it is cut off at byte ${at} of a message of ${bytes.length}`);
  };
  const varint = (): number => {
    // Tags and lengths fit 32 bits; longer values are only stepped over.
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      if (at >= bytes.length || scale > 2 ** 63) cut();
      const b = bytes[at++];
      value += (b & 127) * scale;
      if (b < 128) return value;
    }
  };
  while (at < bytes.length) {
    const begin = at;
    const tag = varint();
    const [number, wire] = [Math.floor(tag / 8), tag % 8];
    let content = bytes.subarray(0, 0);
    if (wire === VARINT) varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === BYTES) {
      const length = varint();
      content = bytes.subarray(at, at + length);
      at += length;
    } else throw templateBroken(TEMPLATE, `field ${number} has wire type ${wire}`);
    if (at > bytes.length) cut();
    fields.push({ number, wire, whole: bytes.subarray(begin, at), content });
  }
  return fields;
}

/** The string field `number` of a message. */
function nameIn(message: Field, number: number): string {
  const field = readFields(message.content).find((f) => f.number === number);
  return field ? text(field.content) : '';
}

function initializer(name: string, { type, data }: TensorData): Uint8Array[] {
  const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return lengthDelimited(GRAPH_INITIALIZER, [
    ...concrete(type.shape).map((d) => Uint8Array.of((TENSOR.dims << 3) | VARINT, ...varintBytes(d))),
    Uint8Array.of((TENSOR.dataType << 3) | VARINT, dataType[type.dtype]),
    ...lengthDelimited(TENSOR.name, [new TextEncoder().encode(name)]),
    ...lengthDelimited(TENSOR.rawData, [raw]),
  ]);
}

function lengthDelimited(number: number, content: readonly Uint8Array[]): Uint8Array[] {
  const size = content.reduce((n, c) => n + c.length, 0);
  return [Uint8Array.of((number << 3) | BYTES, ...varintBytes(size)), ...content];
}

function varintBytes(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  while (rest >= 128) {
    out.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  out.push(rest);
  return out;
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

function join(parts: readonly Uint8Array[], size: number): Uint8Array {
  const out = new Uint8Array(size);
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}
