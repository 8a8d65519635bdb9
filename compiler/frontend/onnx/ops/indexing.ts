/**
 * Look-ups by index along an axis or several, and what is made from an index: one-hot vectors, the place of the maximum.
 * Several axes are one axis of their product, of which the flat index is computed.
 */
import type { Value } from '../../../../ir/graph.js';
import { type Dim, dimEquals, dimMul, printShape, product, type Shape } from '../../../../ir/types.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';
import { axisRows } from './rows.js';

const total = (n: NodeImport, shape: Shape): Dim =>
  shape.reduce<Dim>((p, d) => dimMul(p, d) ?? n.unsupported('two batch axes'), 1);

const integers = (n: NodeImport, i: number): Value => {
  const v = n.value(i);
  return v.type.dtype === 'i32' ? v : n.unsupported(`indices of type ${v.type.dtype}`);
};

/** Negative indices count from the end of an axis of `size`. */
function wrapped(n: NodeImport, index: Value, size: number): Value {
  const fromEnd = n.op('add', [index, n.scalar(size, 'i32')]);
  return n.op('select', [n.op('less', [index, n.scalar(0, 'i32')]), fromEnd, index]);
}

/** Numbers of rows, as i32[count, 1]. */
const rowNumbers = (n: NodeImport, count: Dim): Value =>
  n.op('iota', [], { shape: shapeAttr([count, 1]), axis: 0, dtype: 'i32' });

const shapeAttr = (shape: Shape): readonly string[] => shape.map((d) => printShape([d]).slice(1, -1));

/** y[.., i, ..] = x[.., index[.., i, ..], ..] on one axis. */
function gatherElements(n: NodeImport): Value {
  let x = n.value(0);
  const index = integers(n, 1);
  const { shape } = index.type;
  const axis = n.axis(n.number('axis', 0), x.type.shape.length);
  const size = x.type.shape[axis];
  if (shape.length !== x.type.shape.length || typeof size !== 'number')
    return n.misfit(`indices of shape ${printShape(shape)} into ${printShape(x.type.shape)}`);
  shape.forEach((d, i) => {
    const own = x.type.shape[i];
    if (i === axis || dimEquals(own, d)) return;
    if (typeof d !== 'number' || typeof own !== 'number' || d > own)
      n.misfit(`indices of shape ${printShape(shape)} into ${printShape(x.type.shape)}`);
    x = n.b.sliceAxis(x, i, 0, d, `${n.name}.part`);
  });
  const count = typeof shape[axis] === 'number' ? shape[axis] : n.unsupported('indices along the batch');
  const order = [...shape.keys()].filter((i) => i !== axis);
  const table = n.reshape(n.b.transpose(x, [...order, axis], `${n.name}.turned`), [total(n, x.type.shape)]);
  return axisRows(
    n,
    wrapped(n, index, size),
    axis,
    (rows) => {
      const base = n.op('mul', [rowNumbers(n, rows.type.shape[0]), n.scalar(size, 'i32')]);
      return n.op('gather', [table, n.op('add', [base, rows])], { axis: 0 });
    },
    count,
  );
}

/** Indices are tuples in the last axis; the first `batch_dims` axes go side by side. */
function gatherND(n: NodeImport): Value {
  const x = n.value(0);
  const index = integers(n, 1);
  const side = n.number('batch_dims', 0);
  const width = index.type.shape.at(-1);
  const own = x.type.shape.slice(side);
  const sizes = own.slice(0, width as number) as readonly number[];
  if (typeof width !== 'number' || side < 0 || sizes.length !== width || sizes.some((d) => typeof d !== 'number'))
    return n.misfit(`indices of shape ${printShape(index.type.shape)} into ${printShape(x.type.shape)}`);
  const lead = total(n, x.type.shape.slice(0, side));
  const places = index.type.shape.slice(0, -1);
  const each = total(n, places.slice(side));
  if (typeof each !== 'number') n.unsupported('indices along the batch');
  const tuples = n.reshape(index, [lead, each, width]);
  let flat: Value = n.op('mul', [rowNumbers(n, lead), n.scalar(product(sizes), 'i32')]);
  sizes.forEach((size, j) => {
    const column = n.reshape(n.b.sliceAxis(tuples, 2, j, j + 1, `${n.name}.column`), [lead, each]);
    const step = n.op('mul', [wrapped(n, column, size), n.scalar(product(sizes.slice(j + 1)), 'i32')]);
    flat = n.op('add', [flat, step]);
  });
  const rest = own.slice(width);
  const cells = dimMul(lead, product(sizes)) ?? n.unsupported('two batch axes');
  const table = n.reshape(x, [cells, total(n, rest)]);
  return n.reshape(n.op('gather', [table, flat], { axis: 0 }), [...places, ...rest]);
}

/** `on` where the number along a new axis is the index, else `off`. */
function oneHot(n: NodeImport): Value {
  const depth = n.knownScalar(1, 'the depth');
  const values = n.value(2);
  if (!Number.isSafeInteger(depth) || depth < 1 || printShape(values.type.shape) !== '[2]') n.misfit(`depth ${depth}`);
  const index = wrapped(n, n.b.cast(n.value(0), 'i32'), depth);
  const rank = index.type.shape.length + 1;
  const axis = n.axis(n.number('axis', -1), rank);
  const column = n.reshape(index, [...index.type.shape.slice(0, axis), 1, ...index.type.shape.slice(axis)]);
  const shape = Array.from({ length: rank }, (_, i) => (i === axis ? depth : 1));
  const hit = n.op('equal', [n.op('iota', [], { shape, axis, dtype: 'i32' }), column]);
  const value = (i: number): Value => n.reshape(n.b.sliceAxis(values, 0, i, i + 1, `${n.name}.value`), []);
  return n.result('select', [hit, value(1), value(0)]);
}

/** One at the first maximum along an axis (before opset 13: of all axes from it on), zero elsewhere. */
function hardmax(n: NodeImport): Value {
  const x = n.float(0);
  const { shape } = x.type;
  const axis = n.axis(n.number('axis', n.opset < 13 ? 1 : -1), shape.length);
  const asRows = n.opset < 13 ? n.reshape(x, [total(n, shape.slice(0, axis)), total(n, shape.slice(axis))]) : x;
  const along = n.opset < 13 ? 1 : axis;
  const own = asRows.type.shape;
  if (typeof own[along] !== 'number') n.unsupported('a maximum over the batch');
  const place = n.reshape(
    n.op('argmax', [asRows], { axis: along }),
    own.map((d, i) => (i === along ? 1 : d)),
  );
  const iota = n.op('iota', [], {
    shape: own.map((d, i) => (i === along ? (d as number) : 1)),
    axis: along,
    dtype: 'i32',
  });
  return n.reshape(n.b.cast(n.op('equal', [iota, place]), 'f32', n.name), shape);
}

export const indexing: Readonly<Record<string, Handler>> = {
  GatherElements: handler(11, gatherElements),
  GatherND: handler(11, gatherND),
  OneHot: handler(9, oneHot),
  Hardmax: handler(1, hardmax),
};
