/**
 * The safetensors format, read and written as bytes: a u64 length, a JSON header {name: {dtype, shape, data_offsets}}, then
 * the data without gaps. Written deterministically: widest elements first, then by name, so that every tensor is aligned;
 * the header is padded with spaces to a multiple of 8. Read strictly: a file is untrusted input.
 */
import { safetensorsBroken } from './diagnostics/artifact.js';
import type { TensorData } from './graph.js';
import { bytesPerElement, concrete, type DType, product, tensor } from './types.js';

/** Element types of tensors that the host holds. */
type HostDType = Exclude<DType, 'f16'>;
const toCode: Record<HostDType, string> = { f32: 'F32', i32: 'I32', i64: 'I64', u8: 'U8', bool: 'BOOL' };
const fromCode = new Map(Object.entries(toCode).map(([dtype, code]) => [code, dtype as HostDType]));

/** The reference implementation refuses longer headers too. */
const MAX_HEADER = 100_000_000;

/** A typed array over `bytes` (copied, so that it is aligned and on its own). */
function arrayOf(dtype: HostDType, bytes: Uint8Array): TensorData['data'] {
  const { buffer } = new Uint8Array(bytes);
  switch (dtype) {
    case 'f32':
      return new Float32Array(buffer);
    case 'i32':
      return new Int32Array(buffer);
    case 'i64':
      return new BigInt64Array(buffer);
    case 'u8':
    case 'bool':
      return new Uint8Array(buffer);
  }
}

/** Where everything lies in a file. */
export interface SafetensorsLayout {
  /** Bytes of the whole file. */
  readonly size: number;
  /** Its beginning, up to the data. */
  readonly header: Uint8Array;
  /** Where the data of each tensor begins in the file, in ascending order; a multiple of its element's size. */
  readonly offsets: ReadonlyMap<string, number>;
}

/** Lays out dense tensors, of which only the types are read; throws where one is not dense. */
export function layoutSafetensors(tensors: ReadonlyMap<string, Pick<TensorData, 'type'>>): SafetensorsLayout {
  const order = [...tensors].sort(([a, x], [b, y]) => {
    const wide = bytesPerElement[y.type.dtype] - bytesPerElement[x.type.dtype];
    return wide !== 0 ? wide : a < b ? -1 : 1;
  });
  const begins: [string, number][] = [];
  let offset = 0;
  const fields = order.map(([name, { type }]) => {
    const { dtype, layout } = type;
    const shape = concrete(type.shape);
    const bytes = product(shape) * bytesPerElement[dtype];
    if (dtype === 'f16' || layout !== 'dense') throw new Error(`tensor ${name}: ${layout} ${dtype} cannot be written`);
    const entry = { dtype: toCode[dtype], shape, data_offsets: [offset, offset + bytes] };
    begins.push([name, offset]);
    offset += bytes;
    return `${JSON.stringify(name)}:${JSON.stringify(entry)}`;
  });
  const text = new TextEncoder().encode(`{${fields.join(',')}}`);
  const length = Math.ceil(text.length / 8) * 8;
  const header = new Uint8Array(8 + length).fill(0x20, 8);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(text, 8);
  return {
    size: header.length + offset,
    header,
    offsets: new Map(begins.map(([name, begin]) => [name, header.length + begin])),
  };
}

/** Copies a tensor to its place in a file; throws where the array's length is not what the tensor's shape says. */
export function placeTensor(file: Uint8Array, at: number, name: string, { type, data }: TensorData): void {
  const bytes = product(concrete(type.shape)) * bytesPerElement[type.dtype];
  if (data.byteLength !== bytes) throw new Error(`tensor ${name}: ${data.byteLength} bytes instead of ${bytes}`);
  file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
}

/** Writes dense tensors; throws where one is not, or where an array's length is not what its shape says. */
export function writeSafetensors(tensors: ReadonlyMap<string, TensorData>): Uint8Array {
  const { size, header, offsets } = layoutSafetensors(tensors);
  const out = new Uint8Array(size);
  out.set(header);
  for (const [name, at] of offsets) placeTensor(out, at, name, tensors.get(name)!);
  return out;
}

/** Reads all tensors of the file `file` (named in errors). UserError E418 where the bytes are not a safetensors file. */
export function readSafetensors(bytes: Uint8Array, file: string): Map<string, TensorData> {
  const broken = (why: string): never => {
    throw safetensorsBroken(file, why);
  };
  if (bytes.length < 8) broken(`it has ${bytes.length} bytes, too few for the header's length`);
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (length > BigInt(Math.min(MAX_HEADER, bytes.length - 8)))
    broken(`the header is said to have ${length} bytes, the file has ${bytes.length}`);
  const data = bytes.subarray(8 + Number(length));
  let header: unknown;
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(8, 8 + Number(length)));
    header = JSON.parse(text);
  } catch {
    broken('the header is not JSON');
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header)) broken('the header is not a JSON object');

  const out = new Map<string, TensorData>();
  const ranges: { name: string; begin: number; end: number }[] = [];
  for (const [name, entry] of Object.entries(header as Record<string, unknown>)) {
    if (name === '__metadata__') continue;
    const { dtype: code, shape, data_offsets: offsets } = (entry ?? {}) as Record<string, unknown>;
    const dtype = fromCode.get(String(code));
    if (!dtype)
      return broken(`tensor '${name}' has dtype ${String(code)}; known are ${[...fromCode.keys()].join(', ')}`);
    if (!isSizes(shape)) return broken(`tensor '${name}' has no valid shape`);
    if (!isSizes(offsets) || offsets.length !== 2) return broken(`tensor '${name}' has no valid data_offsets`);
    const [begin, end] = offsets;
    const need = product(shape) * bytesPerElement[dtype];
    if (begin > end || end > data.length)
      broken(`tensor '${name}' lies at bytes ${begin} to ${end} of ${data.length} bytes of data`);
    if (end - begin !== need) broken(`tensor '${name}' has ${end - begin} bytes, its shape [${shape}] needs ${need}`);
    ranges.push({ name, begin, end });
    out.set(name, { type: tensor(dtype, shape), data: arrayOf(dtype, data.subarray(begin, end)) });
  }
  // The format forbids gaps and overlaps: a file cannot hide bytes.
  let at = 0;
  for (const r of ranges.sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (r.begin !== at) broken(`tensor '${r.name}' begins at byte ${r.begin} where byte ${at} was due`);
    at = r.end;
  }
  if (at !== data.length) broken(`${data.length - at} bytes after the last tensor belong to none`);
  return out;
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}
