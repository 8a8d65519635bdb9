/**
 * TensorProto -> typed arrays. Data lie in `raw_data` (little-endian, at any alignment) or in one of the typed fields, where
 * narrow types hide in wider ones. float16, bfloat16 and double become f32, narrow integers i32.
 */
import type { onnx } from 'onnx-proto';
import { brokenGraph, unsupportedType, weightsTooLarge } from '../../../ir/diagnostics/onnx.js';
import type { TensorData } from '../../../ir/graph.js';
import { bytesPerElement, type DType, printType, product, type TensorType, tensor } from '../../../ir/types.js';
import { externalBytes, type OpenExternal } from './external-data.js';

type Numbers = readonly (number | { toNumber(): number })[];

export const toNumber = (v: unknown): number =>
  typeof v === 'number' ? v : ((v as { toNumber?(): number } | null | undefined)?.toNumber?.() ?? 0);

/** A tensor of the file; its elements are read when they are asked for. */
export interface OnnxTensor {
  readonly name: string;
  readonly type: TensorType;
  /** The file's element type, for messages and for what must be told apart: f16 and f64 are f32 in `type`. */
  readonly stored: string;
  readonly data: () => TensorData;
  /** The bytes of data that lie in another file, as they are there. */
  readonly external?: () => Uint8Array;
}

/** No tensor may pass 2 GiB. */
export const MAX_BYTES = 2 ** 31;

interface ElementType {
  readonly name: string;
  readonly dtype: DType;
  /** Bytes of an element in raw_data. */
  readonly width: number;
  readonly read: (view: DataView, at: number) => number;
  /** The typed field that holds the elements where raw_data does not. */
  readonly field: 'floatData' | 'int32Data' | 'int64Data' | 'doubleData' | 'uint64Data';
  /** What an element of that field means, where it is not the number itself. */
  readonly decode?: (v: number) => number;
}

/** IEEE 754 binary16 to a number. */
export function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

const word = new DataView(new ArrayBuffer(4));
function fromBrain(bits: number): number {
  word.setUint32(0, (bits << 16) >>> 0);
  return word.getFloat32(0);
}

/** TensorProto.DataType to what it is here. */
const elementTypes: Readonly<Record<number, ElementType>> = {
  1: { name: 'float', dtype: 'f32', width: 4, read: (v, at) => v.getFloat32(at, true), field: 'floatData' },
  2: { name: 'uint8', dtype: 'u8', width: 1, read: (v, at) => v.getUint8(at), field: 'int32Data' },
  3: { name: 'int8', dtype: 'i32', width: 1, read: (v, at) => v.getInt8(at), field: 'int32Data' },
  4: { name: 'uint16', dtype: 'i32', width: 2, read: (v, at) => v.getUint16(at, true), field: 'int32Data' },
  5: { name: 'int16', dtype: 'i32', width: 2, read: (v, at) => v.getInt16(at, true), field: 'int32Data' },
  6: { name: 'int32', dtype: 'i32', width: 4, read: (v, at) => v.getInt32(at, true), field: 'int32Data' },
  7: { name: 'int64', dtype: 'i64', width: 8, read: (v, at) => Number(v.getBigInt64(at, true)), field: 'int64Data' },
  9: { name: 'bool', dtype: 'bool', width: 1, read: (v, at) => v.getUint8(at), field: 'int32Data' },
  10: {
    name: 'float16',
    dtype: 'f32',
    width: 2,
    read: (v, at) => fromHalf(v.getUint16(at, true)),
    field: 'int32Data',
    decode: fromHalf,
  },
  11: { name: 'double', dtype: 'f32', width: 8, read: (v, at) => v.getFloat64(at, true), field: 'doubleData' },
  // Numbers above 2^53 are rounded: no index or count is one.
  13: {
    name: 'uint64',
    dtype: 'i64',
    width: 8,
    read: (v, at) => Number(v.getBigUint64(at, true)),
    field: 'uint64Data',
  },
  12: { name: 'uint32', dtype: 'i64', width: 4, read: (v, at) => v.getUint32(at, true), field: 'uint64Data' },
  16: {
    name: 'bfloat16',
    dtype: 'f32',
    width: 2,
    read: (v, at) => fromBrain(v.getUint16(at, true)),
    field: 'int32Data',
    decode: fromBrain,
  },
};

const otherTypes: Readonly<Record<number, string>> = { 0: 'undefined', 8: 'string', 14: 'complex64' };

/** @throws UserError E114 for an element type that has no counterpart */
export function elementType(
  code: number,
  what: string,
  where: string,
): { readonly dtype: DType; readonly name: string } {
  const known = elementTypes[code];
  if (!known) throw unsupportedType(what, otherTypes[code] ?? `number ${code}`, where);
  return known;
}

function arrayOf(dtype: DType, n: number): TensorData['data'] {
  if (dtype === 'f32') return new Float32Array(n);
  if (dtype === 'i32') return new Int32Array(n);
  return dtype === 'i64' ? new BigInt64Array(n) : new Uint8Array(n);
}

/** @throws UserError E102 where size and data do not agree, E106 where they lie in a file that cannot be read, E114, E136 */
export function readTensor(proto: onnx.ITensorProto, where: string, open?: OpenExternal): OnnxTensor {
  const name = proto.name ?? '';
  const what = name === '' ? 'a tensor' : `tensor "${name}"`;
  if (proto.segment) throw brokenGraph(`${what} is a segment of a tensor`, where);
  const element = elementType(proto.dataType ?? 0, what, where) as ElementType;
  const shape = (proto.dims ?? []).map(toNumber);
  const count = product(shape);
  if (shape.some((d) => !Number.isSafeInteger(d) || d < 0) || count > 2 ** 40)
    throw brokenGraph(`${what} has the shape [${shape}]`, where);
  const type = tensor(element.dtype, shape);
  if (proto.dataLocation === 1 || proto.externalData?.length) {
    if (count * Math.max(element.width, bytesPerElement[element.dtype]) > MAX_BYTES)
      throw weightsTooLarge(name, printType(type));
    const external = externalBytes(proto, what, count * element.width, open, where);
    let kept: TensorData | undefined;
    const data = (): TensorData => {
      kept ??= { type, data: fromRaw(element, external(), count) };
      return kept;
    };
    return { name, type, stored: element.name, data, external };
  }
  const raw = proto.rawData;
  const typed = (proto[element.field] ?? []) as Numbers;
  if (raw?.length ? raw.length !== count * element.width : typed.length !== count)
    throw brokenGraph(
      `${what} has ${raw?.length ? `${raw.length} bytes` : `${typed.length} elements`} of data, [${shape}] of ${element.name} needs ${raw?.length ? count * element.width : count}`,
      where,
    );
  let read: TensorData | undefined;
  const data = (): TensorData => {
    read ??= { type, data: raw?.length ? fromRaw(element, raw, count) : fromTyped(element, typed, count) };
    return read;
  };
  return { name, type, stored: element.name, data };
}

function fromRaw(element: ElementType, raw: Uint8Array, count: number): TensorData['data'] {
  // Same width in the file and here: the bytes are the data; a copy aligns them.
  if (element.width === bytesPerElement[element.dtype]) {
    const out = arrayOf(element.dtype, count);
    new Uint8Array(out.buffer).set(raw);
    if (element.dtype === 'bool')
      (out as Uint8Array).forEach((v, i) => {
        (out as Uint8Array)[i] = v === 0 ? 0 : 1;
      });
    return out;
  }
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  return fill(arrayOf(element.dtype, count), (i) => element.read(view, i * element.width));
}

function fromTyped(element: ElementType, typed: Numbers, count: number): TensorData['data'] {
  const decode = element.decode ?? ((v: number) => v);
  return fill(arrayOf(element.dtype, count), (i) => decode(toNumber(typed[i])));
}

function fill(out: TensorData['data'], at: (i: number) => number): TensorData['data'] {
  if (out instanceof BigInt64Array) for (let i = 0; i < out.length; i++) out[i] = BigInt(Math.trunc(at(i)));
  else for (let i = 0; i < out.length; i++) out[i] = at(i);
  return out;
}
