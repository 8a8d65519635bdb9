/**
 * One batch as a function of the program takes it: examples and targets of `size` rows, of which the first `count` are real;
 * rows that a short batch lacks are zero.
 */
import type { Manifest } from '../../ir/artifact.js';
import { product } from '../../ir/types.js';
import { type Dataset, dataInput } from './dataset.js';

export type ExampleData = Float32Array | Int32Array | Uint8Array;
export type TargetData = Int32Array | Float32Array;

export interface Batch {
  readonly count: number;
  readonly examples: ExampleData;
  readonly targets: TargetData;
}

/** Arrays for the examples and targets of a function's batch. */
export function batchArrays(manifest: Manifest, func: 'train' | 'eval'): Omit<Batch, 'count'> {
  const size = manifest.batch[func];
  const input = dataInput(manifest);
  const { target } = manifest.loss;
  const Elements = { f32: Float32Array, i32: Int32Array, u8: Uint8Array }[input.dtype];
  const targets = size * product(target?.shape.slice(1) ?? [0]);
  return {
    examples: new Elements(size * product(input.shape.slice(1))),
    targets: target?.dtype === 'i32' ? new Int32Array(targets) : new Float32Array(targets),
  };
}

/** Puts the examples `rows` into the arrays, over whatever they hold. */
export function fillBatch(arrays: Omit<Batch, 'count'>, data: Dataset, rows: Int32Array): Batch {
  arrays.examples.fill(0);
  data.gather(rows, arrays.examples);
  arrays.targets.fill(0);
  data.gatherTargets(rows, arrays.targets);
  return { ...arrays, count: rows.length };
}
