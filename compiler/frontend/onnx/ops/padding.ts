/**
 * Pad: with a constant, or with the data's own elements; a negative amount cuts.
 */
import type { Value } from '../../../../ir/graph.js';
import { axesOf } from '../forms.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';
import { at } from './rows.js';
import { sliced } from './views.js';

/** Constant padding; a negative amount cuts. Opset 11 made the amounts an input, 18 added axes. */
function pad(n: NodeImport): Value {
  const x = n.value(0);
  const { shape } = x.type;
  const mode = n.text('mode', 'constant');
  const amounts =
    (n.opset < 11 ? (n.ints('pads') ?? n.ints('paddings')) : n.knownNumbers(1, 'pads')) ?? n.misfit('pads are missing');
  const value = n.opset < 11 ? n.number('value', 0) : n.has(2) ? n.knownScalar(2, 'the padding value') : 0;
  const axes = (n.opset >= 18 ? axesOf(n, 3, 0, shape.length) : undefined) ?? shape.map((_, i) => i);
  if (amounts.length !== 2 * axes.length || amounts.some((a) => !Number.isSafeInteger(a)))
    n.misfit(`pads = [${amounts}] for ${axes.length} axes`);
  const low = shape.map(() => 0);
  const high = shape.map(() => 0);
  axes.forEach((a, i) => {
    low[a] = amounts[i];
    high[a] = amounts[i + axes.length];
  });
  if (mode !== 'constant') return padded(n, x, mode, low, high);
  const starts = low.map((v) => Math.max(0, -v));
  const ends = shape.map((d, i) => (typeof d === 'number' ? d - Math.max(0, -high[i]) : -1));
  if (shape.some((d, i) => typeof d !== 'number' && (low[i] !== 0 || high[i] !== 0)))
    n.unsupported('padding of the batch');
  const inner = sliced(
    n,
    x,
    starts,
    ends,
    shape.map(() => 1),
  );
  if ([...low, ...high].every((v) => v <= 0)) return inner;
  if (x.type.dtype !== 'f32') n.unsupported(`padding of ${x.type.dtype}`);
  return n.result('pad', [inner], {
    low: low.map((v) => Math.max(0, v)),
    high: high.map((v) => Math.max(0, v)),
    value,
  });
}

/** Padding with the data's own elements, axis by axis. */
function padded(n: NodeImport, x: Value, mode: string, low: readonly number[], high: readonly number[]): Value {
  return low.reduce((v, before, axis) => {
    if (before === 0 && high[axis] === 0) return v;
    const size = v.type.shape[axis];
    if (typeof size !== 'number') return n.unsupported('padding of the batch');
    const place = (i: number): number => {
      const around = (m: number): number => ((i % m) + m) % m;
      if (mode === 'edge') return Math.min(Math.max(i, 0), size - 1);
      if (mode === 'wrap') return around(size);
      if (mode !== 'reflect') n.unsupported(`mode = "${mode}"`);
      const turn = size === 1 ? 0 : around(2 * size - 2);
      return turn < size ? turn : 2 * size - 2 - turn;
    };
    const length = size + before + high[axis];
    if (length < 1 || length > 2 ** 24) n.misfit(`an axis of ${length}`);
    return at(
      n,
      v,
      axis,
      Array.from({ length }, (_, i) => place(i - before)),
    );
  }, x);
}

export const padding: Readonly<Record<string, Handler>> = {
  Pad: handler(2, pad),
};
