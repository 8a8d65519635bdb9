/**
 * Running sums along an axis: a product with a triangle of ones.
 */
import type { Value } from '../../../../ir/graph.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';
import { axisRows } from './rows.js';

/** Longer axes would need a matrix of more than 64 MB. */
const LONGEST = 4096;

function cumulativeSum(n: NodeImport): Value {
  const x = n.value(0);
  const { shape, dtype } = x.type;
  const axis = n.axis(n.knownScalar(1, 'the axis'), shape.length);
  const size = shape[axis];
  if (typeof size !== 'number') return n.unsupported('a sum along the batch');
  if (size > LONGEST) n.unsupported(`a sum along ${size} elements`);
  const [exclusive, reverse] = [n.flag('exclusive', false), n.flag('reverse', false)];
  const index = (s: number[], along: number): Value => n.op('iota', [], { shape: s, axis: along, dtype: 'i32' });
  const [from, to] = [index([size, 1], 0), index([1, size], 1)];
  // Element `from` counts for `to`, where it is not behind it.
  const [early, late] = reverse ? [to, from] : [from, to];
  const counts = exclusive ? n.op('less', [early, late]) : n.op('not', [n.op('less', [late, early])]);
  const triangle = n.op('select', [counts, n.scalar(1), n.scalar(0)]);
  // Integers below 2^24 are exact in f32.
  const sums = axisRows(
    n,
    n.b.cast(x, 'f32'),
    axis,
    (rows) => n.b.matmul(rows, triangle, false, false, `${n.name}.sums`),
    size,
  );
  return n.b.cast(sums, dtype, n.name);
}

export const scans: Readonly<Record<string, Handler>> = {
  CumSum: handler(11, cumulativeSum),
};
