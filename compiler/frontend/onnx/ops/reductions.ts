/**
 * Reductions. Over the batch axis a sum takes the valid examples only, so that the padding rows of a partial batch do not count.
 */
import type { Value } from '../../../../ir/graph.js';
import { type Dim, printShape } from '../../../../ir/types.js';
import { axesOf } from '../forms.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';
import { reversed } from './rows.js';

interface Form {
  readonly axes: readonly number[];
  readonly keep: boolean;
}

/** Axes are an attribute before opset `since`; without axes all are reduced, or none with noop_with_empty_axes. */
function form(n: NodeImport, x: Value, since: number): Form {
  const given = axesOf(n, 1, since, x.type.shape.length);
  const none = n.opset >= since && n.flag('noop_with_empty_axes', false);
  const axes = given && given.length > 0 ? given : none ? [] : x.type.shape.map((_, i) => i);
  return { axes, keep: n.flag('keepdims', true) };
}

const isBatch = (d: Dim): boolean => typeof d !== 'number';

/** x with the rows that are no examples set to zero, for a sum over the batch. */
function validRows(n: NodeImport, x: Value, axes: readonly number[]): Value {
  const batch = axes.find((a) => isBatch(x.type.shape[a]));
  if (batch === undefined || n.mode === 'predict') return x;
  return n.op('mul', [x, weights(n, x, batch)]);
}

function weights(n: NodeImport, x: Value, batch: number): Value {
  const d = x.type.shape[batch];
  if (typeof d === 'number' || d.factor !== 1) n.unsupported(`a reduction over the axes ${printShape(x.type.shape)}`);
  return n.reshape(
    n.pass.valid(),
    x.type.shape.map((s, i): Dim => (i === batch ? s : 1)),
  );
}

function sum(n: NodeImport, x: Value, { axes, keep }: Form): Value {
  return axes.length === 0 ? x : n.op('reduce_sum', [validRows(n, x, axes)], { axes, keep });
}

function mean(n: NodeImport, x: Value, f: Form): Value {
  if (f.axes.length === 0) return x;
  const total = sum(n, x, f);
  const known = f.axes.reduce((p, a) => (isBatch(x.type.shape[a]) ? p : p * (x.type.shape[a] as number)), 1);
  const batch = f.axes.find((a) => isBatch(x.type.shape[a]));
  if (batch === undefined) return n.result('mul', [total, n.scalar(1 / known)]);
  const size = x.type.shape[batch];
  const rows = n.mode === 'train' ? weights(n, x, batch) : n.b.fill(1, [size], 'f32', `${n.name}.rows`);
  const examples = n.b.sumAll(rows, `${n.name}.examples`);
  return n.result('div', [total, known === 1 ? examples : n.op('mul', [examples, n.scalar(known)])]);
}

function max(n: NodeImport, x: Value, { axes, keep }: Form): Value {
  if (axes.some((a) => isBatch(x.type.shape[a]))) n.unsupported('a maximum over the batch');
  return axes.length === 0 ? x : n.op('reduce_max', [x], { axes, keep });
}

/** log sum exp, shifted by the maximum so that exp cannot overflow. */
function logSumExp(n: NodeImport, x: Value, f: Form): Value {
  if (f.axes.length === 0) return x;
  const top = max(n, x, { axes: f.axes, keep: true });
  const total = n.op('log', [n.op('reduce_sum', [n.op('exp', [n.op('sub', [x, top])])], f as never)]);
  return n.result('add', [total, n.reshape(top, total.type.shape)]);
}

const reduction = (since: number, read: (n: NodeImport, x: Value, f: Form) => Value): Handler =>
  handler(1, (n) => {
    const x = n.float(0);
    return read(n, x, form(n, x, since));
  });

/** Of truths, too (opset 20): all, or any. */
const extremum = (read: (n: NodeImport, x: Value, f: Form) => Value): Handler =>
  handler(1, (n) => {
    const x = n.value(0);
    if (x.type.dtype !== 'bool') return read(n, n.float(0), form(n, x, 18));
    return n.b.cast(read(n, n.b.cast(x, 'f32'), form(n, x, 18)), 'bool', n.name);
  });

/** More elements would make a long chain of products. */
const MOST_FACTORS = 4096;

/** Halves multiplied with halves until one element is left on the axis: gradients stay finite where an element is zero. */
function productOf(n: NodeImport, x: Value, { axes, keep }: Form): Value {
  if (axes.some((a) => isBatch(x.type.shape[a]))) n.unsupported('a product over the batch');
  if (x.type.shape.includes(0)) n.unsupported('an empty tensor');
  let out = x;
  for (const a of axes) {
    if ((out.type.shape[a] as number) > MOST_FACTORS) n.unsupported(`a product of ${out.type.shape[a]} elements`);
    for (let size = out.type.shape[a] as number; size > 1; size = Math.ceil(size / 2)) {
      const half = Math.floor(size / 2);
      const part = (from: number, to: number): Value => n.b.sliceAxis(out, a, from, to, `${n.name}.part`);
      const pairs = n.op('mul', [part(0, half), part(half, 2 * half)]);
      out = size % 2 === 0 ? pairs : n.op('concat', [pairs, part(size - 1, size)], { axis: a });
    }
  }
  return keep
    ? out
    : n.reshape(
        out,
        out.type.shape.filter((_, i) => !axes.includes(i)),
      );
}

const squares = (n: NodeImport, x: Value): Value => n.op('mul', [x, x]);

function argMax(n: NodeImport, x: Value): Value {
  const axis = n.axis(n.number('axis', 0), x.type.shape.length);
  if (isBatch(x.type.shape[axis])) n.unsupported('an index of the batch');
  const keep = n.flag('keepdims', true);
  const last = n.flag('select_last_index', false);
  const size = x.type.shape[axis] as number;
  // The last of the maxima is the first from behind.
  const found = n.op('argmax', [last ? reversed(n, x, axis) : x], { axis });
  const index = last ? n.op('sub', [n.scalar(size - 1, 'i32'), found]) : found;
  return keep
    ? n.reshape(
        index,
        x.type.shape.map((d, i) => (i === axis ? 1 : d)),
      )
    : index;
}

export const reductions: Readonly<Record<string, Handler>> = {
  ReduceSum: reduction(13, sum),
  ReduceMean: reduction(18, mean),
  ReduceMax: extremum(max),
  ReduceMin: extremum((n, x, f) => n.op('neg', [max(n, n.op('neg', [x]), f)])),
  ReduceL1: reduction(18, (n, x, f) => sum(n, n.op('abs', [x]), f)),
  ReduceL2: reduction(18, (n, x, f) => n.op('sqrt', [sum(n, squares(n, x), f)])),
  ReduceSumSquare: reduction(18, (n, x, f) => sum(n, squares(n, x), f)),
  ReduceLogSum: reduction(18, (n, x, f) => n.op('log', [sum(n, x, f)])),
  ReduceLogSumExp: reduction(18, logSumExp),
  ReduceProd: reduction(18, productOf),
  ArgMax: handler(1, (n) => argMax(n, n.float(0))),
  ArgMin: handler(1, (n) => argMax(n, n.op('neg', [n.float(0)]))),
};
