/**
 * Tensors that are known while the model is imported: shapes, axes, scalars, tables of indices. An element is a number or a
 * multiple of the symbolic batch, so that what exporters compute from `Shape` can be followed without fixing the batch.
 */
import type { TensorData, Value } from '../../../ir/graph.js';
import { type Dim, type DType, dimEquals, product, type Shape } from '../../../ir/types.js';

export interface Known {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: readonly Dim[];
}

/** What an ONNX value is during import: known, or a value of the graph under construction. */
export type Item = Known | Value;

/** Larger tensors are data, not parameters of ops: they are kept as state and not folded. */
export const KNOWN_LIMIT = 1 << 14;

export const isKnown = (item: Item): item is Known => 'data' in item;

export function known(dtype: DType, shape: readonly number[], data: readonly Dim[]): Known {
  return { dtype, shape, data };
}

export function knownFrom({ type, data }: TensorData): Known {
  return known(type.dtype, type.shape as readonly number[], Array.from(data as ArrayLike<number | bigint>, Number));
}

/** A list of dimensions, as `Shape` gives it. */
export const knownShape = (shape: Shape): Known => known('i64', [shape.length], shape);

export const countOf = (k: Known): number => product(k.shape);

/** All elements are this one; undefined where they differ. */
export function uniform(k: Known): Dim | undefined {
  const first = k.data[0];
  return first !== undefined && k.data.every((d) => Object.is(d, first) || dimEquals(d, first)) ? first : undefined;
}

/** The elements as numbers; undefined where one depends on the batch. */
export function numbers(k: Known): readonly number[] | undefined {
  return k.data.every((d) => typeof d === 'number') ? (k.data as readonly number[]) : undefined;
}
