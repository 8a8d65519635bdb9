/**
 * Data of tensors that lie in files beside the model. The host opens such files, and says no to those that the model may not
 * read; here the bytes of one tensor are found in one, and checked before they are needed.
 */
import type { onnx } from 'onnx-proto';
import { externalData } from '../../../ir/diagnostics/onnx.js';

/** A file of any size, of which parts are read. */
export interface ExternalFile {
  readonly bytes: number;
  readonly read: (offset: number, length: number) => Uint8Array;
}

/** Opens the file at a location as the model gives it, relative to the model's folder; a text says why it cannot be opened. */
export type OpenExternal = (location: string) => ExternalFile | string;

/**
 * The tensor's `length` bytes, to be read later.
 * @throws UserError E106 where there are no such bytes
 */
export function externalBytes(
  proto: onnx.ITensorProto,
  what: string,
  length: number,
  open: OpenExternal | undefined,
  where: string,
): () => Uint8Array {
  const entries = new Map((proto.externalData ?? []).map((e) => [e.key ?? '', e.value ?? '']));
  const location = entries.get('location') ?? '';
  const refuse = (why: string): Error => externalData(what, location, why, where);
  if (!open) throw refuse('the model came without a folder');
  const number = (key: string, otherwise: number): number => {
    const text = entries.get(key);
    if (text === undefined) return otherwise;
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value)) throw refuse(`its ${key} is "${text}"`);
    return value;
  };
  const [offset, given] = [number('offset', 0), number('length', length)];
  if (given !== length) throw refuse(`it has ${given} bytes of data there, its type needs ${length}`);
  const file = open(location);
  if (typeof file === 'string') throw refuse(file);
  if (offset + length > file.bytes)
    throw refuse(`its data would be bytes ${offset} to ${offset + length}, but the file has ${file.bytes}`);
  return () => file.read(offset, length);
}
