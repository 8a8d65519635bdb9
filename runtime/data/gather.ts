/**
 * Examples as they are stored, and how rows of them become a batch: plain data and a pure function, so that any thread can do it.
 */
import type { Augmentation } from './augmentation.js';
import type { ExampleData } from './batch.js';
import { moveImages } from './image-changes.js';

export interface StoredExamples {
  /** [count, size]. */
  readonly features: Uint8Array | Float32Array;
  /** Elements of one example. */
  readonly size: number;
  /** Element i becomes x * scale[g] + shift[g], with g = floor(i / inner) % scale.length. */
  readonly scale: Float32Array;
  readonly shift: Float32Array;
  readonly inner: number;
}

/** Normalised examples of the rows `indices`, one after the other into `out`. */
export function gatherRows(
  { features, size, scale, shift, inner }: StoredExamples,
  indices: ArrayLike<number>,
  out: ExampleData,
): void {
  const groups = scale.length;
  for (let row = 0; row < indices.length; row++) {
    const from = indices[row] * size;
    const to = row * size;
    for (let begin = 0, g = 0; begin < size; begin += inner, g = (g + 1) % groups) {
      const [a, b] = [scale[g], shift[g]];
      const end = groups === 1 ? size : Math.min(begin + inner, size);
      for (let i = begin; i < end; i++) out[to + i] = features[from + i] * a + b;
      if (groups === 1) break;
    }
  }
}

/** All that a thread must know to prepare batches. */
export interface Preparation {
  readonly stored: StoredExamples;
  /** Of one example. */
  readonly shape: readonly number[];
  readonly seed: number;
  readonly augmentation: Augmentation;
}

/** What of batch `t` does not depend on the batches before: gathers, mirrors, moves; rows that it lacks become zero. */
export function prepare(p: Preparation, t: number, rows: ArrayLike<number>, examples: ExampleData): void {
  gatherRows(p.stored, rows, examples);
  examples.fill(0, rows.length * p.stored.size);
  moveImages({ examples, rows, shape: p.shape, t }, p.seed, p.augmentation);
}
