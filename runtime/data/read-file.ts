/**
 * Reads a data file, unpacking it where its name ends in .gz.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { dataCorrupt, dataNotFound } from '../../ir/diagnostics/data.js';

/** The bytes of `path`. UserError E301 where it cannot be read, E306 where it cannot be unpacked. */
export function readDataFile(path: string): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch {
    throw dataNotFound(path);
  }
  if (!path.endsWith('.gz')) return bytes;
  try {
    return gunzipSync(bytes);
  } catch (e) {
    throw dataCorrupt(path, `it is not a complete gzip file (${(e as Error).message})`);
  }
}
