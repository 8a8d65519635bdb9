/**
 * NumPy arrays: .npy (magic, version, a Python dict as header, raw data) and .npz (a zip of .npy members, stored or deflated).
 * Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html; zip: PKWARE APPNOTE 4.3, without zip64.
 */
import { inflateRawSync } from 'node:zlib';
import { dataCorrupt, dataTruncated, dataTypeUnsupported } from '../../ir/diagnostics/data.js';
import { product } from '../../ir/types.js';

export interface NpyArray {
  readonly shape: readonly number[];
  readonly data: Uint8Array | Int32Array | Float32Array;
}

const readers: Record<
  string,
  { bytes: number; read: (v: DataView, at: number) => number; make: 'u8' | 'i32' | 'f32' }
> = {
  '|u1': { bytes: 1, read: (v, at) => v.getUint8(at), make: 'u8' },
  '|b1': { bytes: 1, read: (v, at) => v.getUint8(at), make: 'u8' },
  '|i1': { bytes: 1, read: (v, at) => v.getInt8(at), make: 'i32' },
  '<i2': { bytes: 2, read: (v, at) => v.getInt16(at, true), make: 'i32' },
  '<u2': { bytes: 2, read: (v, at) => v.getUint16(at, true), make: 'i32' },
  '<i4': { bytes: 4, read: (v, at) => v.getInt32(at, true), make: 'i32' },
  '<i8': { bytes: 8, read: (v, at) => Number(v.getBigInt64(at, true)), make: 'i32' },
  '<f4': { bytes: 4, read: (v, at) => v.getFloat32(at, true), make: 'f32' },
  '<f8': { bytes: 8, read: (v, at) => v.getFloat64(at, true), make: 'f32' },
};

/** 64-bit integers must fit 32 bits, f64 is rounded to f32. UserError E305-E307. */
export function decodeNpy(bytes: Uint8Array, path: string): NpyArray {
  if (bytes.length < 10 || bytes[0] !== 0x93 || new TextDecoder().decode(bytes.subarray(1, 6)) !== 'NUMPY')
    throw dataCorrupt(path, 'it does not begin with the header of a .npy file');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = bytes[6] > 1;
  if (wide && bytes.length < 12) throw dataTruncated(path, bytes.length, 12);
  const start = wide ? 12 : 10;
  const at = start + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
  if (bytes.length < at) throw dataTruncated(path, bytes.length, at);
  const header = new TextDecoder('latin1').decode(bytes.subarray(start, at));
  const descr = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const dims = /'shape':\s*\(([\d,\s]*)\)/.exec(header)?.[1];
  if (descr === undefined || dims === undefined) throw dataCorrupt(path, 'its header names no type or no shape');
  if (/'fortran_order':\s*True/.test(header))
    throw dataTypeUnsupported(path, 'Fortran order', 'C order (numpy.ascontiguousarray)');
  const reader = readers[descr];
  if (!reader) throw dataTypeUnsupported(path, descr, Object.keys(readers).join(' '));
  const shape = dims
    .split(',')
    .filter((d) => d.trim() !== '')
    .map(Number);
  const count = product(shape);
  const expected = at + count * reader.bytes;
  if (bytes.length !== expected) throw dataTruncated(path, bytes.length, expected);
  if (reader.make === 'u8') return { shape, data: bytes.slice(at) };
  const data = reader.make === 'i32' ? new Int32Array(count) : new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const value = reader.read(view, at + i * reader.bytes);
    data[i] = value;
    if (reader.make === 'i32' && data[i] !== value)
      throw dataTypeUnsupported(path, `64-bit integers as large as ${value}`, '32-bit integers');
  }
  return { shape, data };
}

/** The arrays of a .npz file by name (without .npy). */
export function decodeNpz(bytes: Uint8Array, path: string): Map<string, NpyArray> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const within = (at: number, size: number): void => {
    if (at < 0 || at + size > bytes.length) throw dataTruncated(path, bytes.length, at + size);
  };
  // The end record is the last 22 bytes but for a comment of at most 64 KiB.
  let end = bytes.length - 22;
  while (end >= 0 && end > bytes.length - 65_558 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0 || view.getUint32(end, true) !== 0x06054b50) throw dataCorrupt(path, 'it is not a complete zip file');
  const out = new Map<string, NpyArray>();
  let at = view.getUint32(end + 16, true);
  for (let i = view.getUint16(end + 10, true); i > 0; i--) {
    within(at, 46);
    if (view.getUint32(at, true) !== 0x02014b50) throw dataCorrupt(path, 'its zip directory is damaged');
    const method = view.getUint16(at + 10, true);
    const packed = view.getUint32(at + 20, true);
    const [nameSize, extraSize, commentSize] = [28, 30, 32].map((o) => view.getUint16(at + o, true));
    const local = view.getUint32(at + 42, true);
    within(at + 46, nameSize);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameSize));
    within(local, 30);
    const data = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    within(data, packed);
    const member = `${path}:${name}`;
    const body = bytes.subarray(data, data + packed);
    if (method !== 0 && method !== 8)
      throw dataTypeUnsupported(member, `zip method ${method}`, 'stored or deflated members');
    let raw = body;
    if (method === 8) {
      try {
        raw = inflateRawSync(body);
      } catch (e) {
        throw dataCorrupt(member, (e as Error).message);
      }
    }
    if (name.endsWith('.npy')) out.set(name.slice(0, -4), decodeNpy(raw, member));
    at += 46 + nameSize + extraSize + commentSize;
  }
  return out;
}
