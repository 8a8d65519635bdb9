/**
 * Examples fitted to a model: shapes and labels are checked once against the manifest, values are normalised as batches are
 * gathered, so that a set of bytes stays bytes.
 */
import type { Manifest, TensorInfo } from '../../ir/artifact.js';
import {
  badSplit,
  exampleShape,
  inputUnsupported,
  labelNotInteger,
  labelRange,
  notFinite,
  notWhole,
  targetShape,
} from '../../ir/diagnostics/data.js';
import { product } from '../../ir/types.js';
import { permutation } from './batches.js';
import { type Examples, fingerprint, selectExamples } from './examples.js';
import { gatherRows, type StoredExamples } from './gather.js';
import type { Normalization } from './normalize.js';

export interface Dataset {
  readonly count: number;
  /** Shape of one example, as the model takes it. */
  readonly shape: readonly number[];
  /** Elements of one example's target; 0 where the loss takes none. */
  readonly targetWidth: number;
  /** What tells these examples, as the model sees them, from others. */
  fingerprint?(): string;
  /** Moves the examples to memory that threads share, and says how they lie there. */
  share?(): StoredExamples;
  /** Normalised examples of the rows `indices`, one after the other into `out` (length * product(shape), of the input's element type). */
  gather(indices: ArrayLike<number>, out: Float32Array | Int32Array | Uint8Array): void;
  /** Their targets into `out`: class numbers (i32), or values (f32). */
  gatherTargets(indices: ArrayLike<number>, out: Int32Array | Float32Array): void;
}

/** Element types of data that can be fed. */
export type FedType = 'f32' | 'i32' | 'u8';

/** The one data input of the model. UserError E320 where there is not exactly one, of floats, bytes or i32. */
export function dataInput(manifest: Manifest): TensorInfo & { readonly dtype: FedType } {
  const { inputs } = manifest;
  if (inputs.length !== 1) throw inputUnsupported(`it has ${inputs.length} data inputs (${inputs.map((i) => i.name)})`);
  const [input] = inputs;
  const { name, dtype } = input;
  if (dtype !== 'f32' && dtype !== 'i32' && dtype !== 'u8') throw inputUnsupported(`its input '${name}' is ${dtype}`);
  return { ...input, dtype };
}

/**
 * Splits off a fraction for validation after a seeded shuffle. UserError E319 where a part would be empty.
 */
export function splitExamples(
  all: Examples,
  fraction: number,
  seed: number,
): { train: Examples; validation: Examples } {
  const held = Math.round(all.count * fraction);
  if (!(fraction > 0 && fraction < 1) || held === 0 || held === all.count) throw badSplit(fraction, all.count);
  const order = permutation(all.count, seed, SPLIT);
  return { train: selectExamples(all, order.subarray(held)), validation: selectExamples(all, order.subarray(0, held)) };
}

/** Where an epoch's number stands for the seed of a shuffle: no epoch has this one. */
const SPLIT = -1;

/** Checks the examples against the model and binds them to it. UserError E313-E317, E320, E321. */
export function bindDataset(examples: Examples, manifest: Manifest, normalization: Normalization): Dataset {
  const input = dataInput(manifest);
  const shape = input.shape.slice(1);
  const size = product(shape);
  const { source, features, count } = examples;
  if (product(examples.shape) !== size) throw exampleShape(source, examples.shape, input.name, shape);
  if (features instanceof Float32Array) {
    const bad = features.findIndex((x) => !Number.isFinite(x));
    if (bad >= 0) throw notFinite(source, Math.floor(bad / size), bad % size, features[bad]);
  }
  if (input.dtype !== 'f32') {
    const isFed = input.dtype === 'i32' ? (x: number) => x === (x | 0) : (x: number) => x === (x & 255);
    const bad = features.findIndex((x) => !isFed(x));
    if (bad >= 0)
      throw notWhole(source, Math.floor(bad / size), bad % size, features[bad], input.dtype === 'u8' ? 8 : 32);
  }
  const targets = bindTargets(examples, manifest);
  const targetWidth = targets.length / count;
  let stored: StoredExamples = {
    features,
    size,
    scale: Float32Array.from(normalization.std, (s) => 1 / s),
    shift: Float32Array.from(normalization.mean, (m, g) => -m / normalization.std[g]),
    inner: normalization.inner,
  };

  return {
    count,
    shape,
    targetWidth,
    fingerprint() {
      const { features, scale, shift } = stored;
      return `${fingerprint({ source, count, shape, features, targets, targetWidth })} x${[...scale]} +${[...shift]}`;
    },
    share() {
      if (!(stored.features.buffer instanceof SharedArrayBuffer))
        stored = { ...stored, features: shared(stored.features) };
      return stored;
    },
    gather(indices, out) {
      gatherRows(stored, indices, out);
    },
    gatherTargets(indices, out) {
      for (let row = 0; row < indices.length; row++)
        for (let i = 0; i < targetWidth; i++) out[row * targetWidth + i] = targets[indices[row] * targetWidth + i];
    },
  };
}

/** Targets in the element type and width of the loss; class numbers are checked, and expanded where it takes soft labels. */
function bindTargets(examples: Examples, manifest: Manifest): Int32Array | Float32Array {
  const { source, targets, targetWidth, count } = examples;
  const expected = manifest.loss.target;
  if (!expected) return new Float32Array(0);
  const width = product(expected.shape.slice(1));
  const { classes } = expected;
  const asClasses = (limit: number): Int32Array => {
    for (let i = 0; i < targets.length; i++) {
      const row = Math.floor(i / targetWidth);
      if (!Number.isFinite(targets[i])) throw notFinite(source, row, i % targetWidth, targets[i]);
      if (!Number.isInteger(targets[i])) throw labelNotInteger(source, row, targets[i]);
      if (targets[i] < 0 || targets[i] >= limit) throw labelRange(source, row, targets[i], limit);
    }
    return Int32Array.from(targets);
  };
  if (expected.dtype === 'i32') {
    if (targetWidth !== width) throw targetShape(source, targetWidth, width);
    return asClasses(classes ?? 2 ** 31);
  }
  if (classes !== undefined && targetWidth === 1 && width === classes && classes > 1) {
    const hot = new Float32Array(count * classes);
    asClasses(classes).forEach((c, row) => {
      hot[row * classes + c] = 1;
    });
    return hot;
  }
  if (targetWidth !== width) throw targetShape(source, targetWidth, width);
  const bad = targets.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) throw notFinite(source, Math.floor(bad / width), bad % width, targets[bad]);
  return Float32Array.from(targets);
}

function shared<T extends Uint8Array | Float32Array>(data: T): T {
  const Kind = data.constructor as new (memory: SharedArrayBuffer, offset: number, length: number) => T;
  const copy = new Kind(new SharedArrayBuffer(data.byteLength), 0, data.length);
  copy.set(data);
  return copy;
}
