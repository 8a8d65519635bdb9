/**
 * CIFAR-10 binary rows: a label byte, then 3 x 32 x 32 bytes, channel first.
 * Format: https://www.cs.toronto.edu/~kriz/cifar.html.
 */
import { dataTruncated } from '../../ir/diagnostics/data.js';
import type { Examples } from './examples.js';

const IMAGE = 3 * 32 * 32;
const ROW = 1 + IMAGE;

/** UserError E305 where the file does not consist of whole rows. */
export function decodeCifar(bytes: Uint8Array, path: string): Examples {
  const count = Math.ceil(bytes.length / ROW);
  if (bytes.length !== count * ROW) throw dataTruncated(path, bytes.length, count * ROW);
  const features = new Uint8Array(count * IMAGE);
  const targets = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    targets[i] = bytes[i * ROW];
    features.set(bytes.subarray(i * ROW + 1, (i + 1) * ROW), i * IMAGE);
  }
  return { source: path, count, shape: [3, 32, 32], features, targets, targetWidth: 1 };
}
