/**
 * A scale and a shift behind a normalisation, or anywhere else: y = gamma * xhat + beta, both broadcast over examples and
 * positions. Read off the gradients: that of beta is a sum of dy, that of gamma the same sum of dy * xhat. Leaving the axis of
 * the examples out of these sums gives each example's own gradients, the rows that the 2x2 blocks are made of.
 */
import { type Builder, dims } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import { intsOf } from '../../ir/ops/declare.js';
import { product } from '../../ir/types.js';
import type { Place } from './examples.js';
import { type Context, placeWithin, throughViews } from './recognize.js';

/** The gradient of a scale or a shift. */
export interface Summed {
  /** What is summed over `axes`: dy, or dy * xhat. */
  readonly terms: Value;
  readonly axes: readonly number[];
}

export interface Scale extends Summed {
  readonly dy: Value;
  readonly place: Place;
}

/** The sum that this gradient is, if it is one. */
export function recognizeSum(c: Context, gradient: Value): Summed | undefined {
  const node = c.definition(throughViews(c, gradient, ['reshape']).root);
  return node?.op === 'reduce_sum' ? { terms: node.operands[0], axes: intsOf(node.attrs, 'axes') } : undefined;
}

/** The gradient of a scale: a sum over the examples, and maybe positions, of dy * xhat. */
export function recognizeScale(c: Context, gradient: Value): Scale | undefined {
  const sum = recognizeSum(c, gradient);
  const node = sum && c.definition(sum.terms);
  if (!sum || node?.op !== 'mul') return undefined;
  const [xhat, ...more] = node.operands.filter((v) => c.forward(v));
  if (!xhat || more.length > 0 || dims(xhat).length !== dims(sum.terms).length) return undefined;
  const place = placeWithin(c, xhat, sum.axes);
  if (!place || dims(xhat)[place.axis] !== dims(sum.terms)[place.axis]) return undefined;
  return { ...sum, dy: node.operands[xhat === node.operands[0] ? 1 : 0], place };
}

/** True where `gradient` is that of the shift beside the scale. */
export function isShiftOf(c: Context, scale: Scale, gradient: Value): boolean {
  const sum = recognizeSum(c, gradient);
  return (
    sum?.terms === scale.dy && sum.axes.length === scale.axes.length && sum.axes.every((a) => scale.axes.includes(a))
  );
}

/**
 * The sum for each example alone.
 * @returns f32[N, units], units in the order of the parameter's elements
 */
export function rowsByExample(b: Builder, { terms, axes }: Summed, { axis, inner }: Place, examples: number): Value {
  const shape = dims(terms);
  const outer = shape[axis] / examples / inner;
  // [.., outer, N, inner, ..] in place of the axis.
  const apart = b.reshape(terms, [...shape.slice(0, axis), outer, examples, inner, ...shape.slice(axis + 1)]);
  const shifted = axes.filter((a) => a !== axis).map((a) => (a > axis ? a + 2 : a));
  const rows = b.sum(
    apart,
    [...shifted, axis, axis + 2].sort((p, q) => p - q),
  );
  // The units that lie before the examples.
  const before = shape.slice(0, axis).filter((_, a) => !axes.includes(a)).length;
  const rest = rows.type.shape.map((_, i) => i).filter((i) => i !== before);
  const first = b.transpose(rows, [before, ...rest]);
  return b.reshape(first, [examples, product(dims(first).slice(1))]);
}
