/**
 * Normalisation (x - mean) / std, in the units of the file, held per group of elements: one group, one per channel of an
 * image [C,H,W], or one per column of a table. Statistics are those of the training set and are used for validation too.
 */
import { badNormalization } from '../../ir/diagnostics/data.js';
import type { Examples } from './examples.js';

/** Element i of an example belongs to group floor(i / inner) % mean.length. */
export interface Normalization {
  readonly mean: Float64Array;
  readonly std: Float64Array;
  readonly inner: number;
}

const same = (mean: number, std: number): Normalization => ({
  mean: Float64Array.of(mean),
  std: Float64Array.of(std),
  inner: 1,
});

/**
 * `none`: as stored. `unit`: bytes / 255 (other data as stored). `standard`: mean 0, variance 1 over the training set, per
 * channel where the model's input is [C,H,W], per column where it is [features]. `MEAN,STD`: of bytes, after / 255.
 * `shape` is the model's input for one example. UserError E318.
 */
export function chooseNormalization(text: string, train: Examples, shape: readonly number[]): Normalization {
  const scale = train.features instanceof Uint8Array ? 255 : 1;
  if (text === 'none') return same(0, 1);
  if (text === 'unit') return same(0, scale);
  if (text === 'standard') return standard(train, shape);
  const numbers = text.split(',').map(Number);
  if (numbers.length !== 2 || !numbers.every(Number.isFinite) || !(numbers[1] > 0)) throw badNormalization(text);
  return same(numbers[0] * scale, numbers[1] * scale);
}

function standard({ features, count }: Examples, shape: readonly number[]): Normalization {
  const size = features.length / count;
  const [groups, inner] = shape.length >= 3 ? [shape[0], size / shape[0]] : shape.length === 1 ? [size, 1] : [1, size];
  const sum = new Float64Array(groups);
  const square = new Float64Array(groups);
  // Two passes: the one-pass formula cancels where the mean is large beside the deviation.
  for (let i = 0; i < features.length; i++) sum[Math.floor((i % size) / inner)] += features[i];
  const n = count * inner;
  const mean = sum.map((s) => s / n);
  for (let i = 0; i < features.length; i++) {
    const g = Math.floor((i % size) / inner);
    square[g] += (features[i] - mean[g]) ** 2;
  }
  // A constant column carries nothing: it becomes 0, not NaN.
  return { mean, std: square.map((s) => Math.sqrt(s / n) || 1), inner };
}
