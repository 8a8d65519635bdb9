/**
 * Reads NumPy's .npy and .npz files for tests: little-endian, the element types that the golden numbers use.
 * Formats: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, and ZIP (APPNOTE 4.3) with stored or deflated members.
 */
import { readFileSync } from 'node:fs';
import { inflateRawSync } from 'node:zlib';

export interface NpyArray {
  readonly shape: number[];
  readonly data: Float64Array | Float32Array | Int32Array | BigInt64Array | Uint8Array;
}

/** Numbers of any element type as float64. */
export function float64(a: NpyArray): Float64Array {
  return Float64Array.from(a.data as ArrayLike<number | bigint>, Number);
}

export function parseNpy(bytes: Uint8Array): NpyArray {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = bytes[6] > 1;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const start = (wide ? 12 : 10) + length;
  const header = Buffer.from(bytes.subarray(wide ? 12 : 10, start)).toString('latin1');
  const descr = /'descr': *'([^']+)'/.exec(header)?.[1];
  const dims = /'shape': *\(([^)]*)\)/.exec(header)?.[1];
  if (!descr || dims === undefined) throw new Error(`cannot read npy header ${header}`);
  const shape = dims
    .split(',')
    .filter((s) => s.trim())
    .map(Number);
  // A copy of its own: a Buffer shares its memory, at any offset.
  const data = Uint8Array.from(bytes.subarray(start)).buffer;
  const make: Record<string, () => NpyArray['data']> = {
    '<f8': () => new Float64Array(data),
    '<f4': () => new Float32Array(data),
    '<i4': () => new Int32Array(data),
    '<i8': () => new BigInt64Array(data),
    '|u1': () => new Uint8Array(data),
    '|b1': () => new Uint8Array(data),
  };
  if (!make[descr]) throw new Error(`cannot read npy elements ${descr}`);
  const elements = make[descr]();
  return { shape, data: /'fortran_order': *True/.test(header) ? rowMajor(elements, shape) : elements };
}

/** Elements that lie with the first index fastest, reordered. */
function rowMajor(data: NpyArray['data'], shape: readonly number[]): NpyArray['data'] {
  const out = data.slice();
  const index = shape.map(() => 0);
  for (let i = 0; i < data.length; i++) {
    out[index.reduce((at, v, d) => at * shape[d] + v, 0)] = data[i];
    for (let d = 0; d < shape.length && ++index[d] === shape[d]; d++) index[d] = 0;
  }
  return out;
}

export function readNpy(path: string): NpyArray {
  return parseNpy(readFileSync(path));
}

/** The arrays of an .npz file by name (without `.npy`). */
export function readNpz(path: string): Record<string, NpyArray> {
  const bytes = readFileSync(path);
  const end = bytes.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  if (end < 0) throw new Error(`${path} is no zip file`);
  const arrays: Record<string, NpyArray> = {};
  let at = bytes.readUInt32LE(end + 16);
  for (let i = bytes.readUInt16LE(end + 10); i > 0; i--) {
    const method = bytes.readUInt16LE(at + 10);
    const size = bytes.readUInt32LE(at + 20);
    const nameLength = bytes.readUInt16LE(at + 28);
    const name = bytes.toString('utf8', at + 46, at + 46 + nameLength);
    const local = bytes.readUInt32LE(at + 42);
    const from = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const raw = bytes.subarray(from, from + size);
    arrays[name.replace(/\.npy$/, '')] = parseNpy(method === 0 ? raw : inflateRawSync(raw));
    at += 46 + nameLength + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return arrays;
}
