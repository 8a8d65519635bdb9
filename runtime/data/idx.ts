/**
 * IDX, the format of MNIST: two zero bytes, an element type, the rank, big-endian u32 sizes, big-endian data.
 * Format: http://yann.lecun.com/exdb/mnist/.
 */
import { dataCorrupt, dataTruncated, dataTypeUnsupported } from '../../ir/diagnostics/data.js';
import { product } from '../../ir/types.js';

export interface IdxArray {
  readonly shape: readonly number[];
  readonly data: Uint8Array | Int32Array | Float32Array;
}

const elementBytes: Record<number, number> = { 8: 1, 12: 4, 13: 4, 14: 8 };

/** Whether the bytes begin like an IDX file. */
export function isIdx(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0 && bytes[1] === 0 && bytes[2] >= 8 && bytes[2] <= 14 && bytes[3] > 0;
}

/** Reads an IDX array: u8 stays u8, i32 stays i32, f32 and f64 become f32. UserError E305-E307. */
export function decodeIdx(bytes: Uint8Array, path: string): IdxArray {
  if (!isIdx(bytes)) throw dataCorrupt(path, 'it does not begin with an IDX header');
  const [type, rank] = [bytes[2], bytes[3]];
  const width = elementBytes[type];
  if (width === undefined) throw dataTypeUnsupported(path, `0x${type.toString(16)} (IDX)`, 'u8, i32, f32, f64');
  const header = 4 + 4 * rank;
  if (bytes.length < header) throw dataTruncated(path, bytes.length, header);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const shape = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
  const count = product(shape);
  const expected = header + count * width;
  if (bytes.length !== expected) throw dataTruncated(path, bytes.length, expected);
  if (type === 8) return { shape, data: bytes.slice(header) };
  const data = type === 12 ? new Int32Array(count) : new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const at = header + i * width;
    data[i] = type === 12 ? view.getInt32(at) : type === 13 ? view.getFloat32(at) : view.getFloat64(at);
  }
  return { shape, data };
}
