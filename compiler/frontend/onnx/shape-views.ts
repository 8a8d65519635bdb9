/**
 * Views of known tensors: their elements in another shape, order or selection.
 */
import { type Dim, product, type Shape, strides } from '../../../ir/types.js';
import { isNumber } from './dim-arithmetic.js';
import { axesOf, expandTarget, sliceForm, splitSizes } from './forms.js';
import { KNOWN_LIMIT, type Known, known } from './known.js';
import type { NodeImport } from './node-import.js';

/** The node's results; undefined where they do not follow from what is known. */
export type Fold = (n: NodeImport) => readonly (Known | undefined)[] | Known | undefined;

export const inputs = (n: NodeImport): Known[] => n.node.inputs.map((_, i) => n.known(i, 'an operand'));

/** Elements of `k` at the given indices of the result. */
function moved(
  k: Known,
  shape: readonly number[],
  from: (index: readonly number[]) => readonly number[],
): Known | undefined {
  if (product(shape) > KNOWN_LIMIT) return undefined;
  const own = strides(k.shape);
  const all = strides(shape);
  const data: Dim[] = [];
  for (let flat = 0, total = product(shape); flat < total; flat++) {
    const index = shape.map((d, i) => Math.floor(flat / all[i]) % d);
    data.push(k.data[from(index).reduce((at, v, i) => at + v * own[i], 0)]);
  }
  return known(k.dtype, shape, data);
}

export const sizesOf = (shape: Shape): readonly number[] | undefined =>
  shape.every(isNumber) ? (shape as readonly number[]) : undefined;

export const reshaped = (k: Known, shape: Shape): Known | undefined => {
  const sizes = sizesOf(shape);
  return sizes && known(k.dtype, sizes, k.data);
};

export const gather: Fold = (n) => {
  const k = n.known(0, 'the data');
  const at = n.known(1, 'the indices');
  const axis = n.axis(n.number('axis', 0), k.shape.length);
  const size = k.shape[axis];
  const indices = n.knownNumbers(1, 'the indices').map((i) => (i < 0 ? i + size : i));
  if (indices.some((i) => !Number.isInteger(i) || i < 0 || i >= size)) n.misfit(`indices of an axis of ${size}`);
  const own = strides(at.shape);
  const shape = [...k.shape.slice(0, axis), ...at.shape, ...k.shape.slice(axis + 1)];
  return moved(k, shape, (index) => [
    ...index.slice(0, axis),
    indices[own.reduce((s, st, i) => s + st * index[axis + i], 0)],
    ...index.slice(axis + own.length),
  ]);
};

export const slice: Fold = (n) => {
  const k = n.known(0, 'the data');
  // Exporters reverse lists of paddings; only here are negative steps met.
  const f = sliceForm(n, k.shape, true);
  const shape = f.starts.map((s, i) => Math.max(0, Math.ceil((f.ends[i] - s) / f.steps[i])));
  return moved(k, shape, (index) => index.map((v, i) => f.starts[i] + v * f.steps[i]));
};

export const concat: Fold = (n) => {
  const parts = inputs(n);
  const axis = n.axis(n.number('axis', 1), parts[0].shape.length);
  if (
    parts.some(
      (p) => p.shape.length !== parts[0].shape.length || p.shape.some((d, i) => i !== axis && d !== parts[0].shape[i]),
    )
  )
    n.misfit('the parts differ in more than the axis');
  const size = parts.reduce((s, p) => s + p.shape[axis], 0);
  const shape = parts[0].shape.map((d, i) => (i === axis ? size : d));
  const [outer, inner] = [product(shape.slice(0, axis)), product(shape.slice(axis + 1))];
  const data: Dim[] = [];
  for (let o = 0; o < outer; o++)
    for (const p of parts) {
      const run = p.shape[axis] * inner;
      data.push(...p.data.slice(o * run, (o + 1) * run));
    }
  return known(parts[0].dtype, shape, data);
};

export const split: Fold = (n) => {
  const k = n.known(0, 'the data');
  const axis = n.axis(n.number('axis', 0), k.shape.length);
  let start = 0;
  return splitSizes(n, k.shape[axis]).map((size) => {
    const from = start;
    start += size;
    const shape = k.shape.map((d, i) => (i === axis ? size : d));
    return moved(k, shape, (index) => index.map((v, i) => (i === axis ? v + from : v)));
  });
};

export const squeeze: Fold = (n) => {
  const k = n.known(0, 'the data');
  const axes = axesOf(n, 1, 13, k.shape.length) ?? k.shape.flatMap((d, i) => (d === 1 ? [i] : []));
  return reshaped(
    k,
    k.shape.filter((_, i) => !axes.includes(i)),
  );
};

export const unsqueeze: Fold = (n) => {
  const k = n.known(0, 'the data');
  const count = (n.opset < 13 ? n.ints('axes') : n.knownNumbers(1, 'axes'))?.length ?? 0;
  const axes = axesOf(n, 1, 13, k.shape.length + count) ?? n.misfit('axes are missing');
  const rest = [...k.shape];
  return reshaped(
    k,
    Array.from({ length: rest.length + axes.length }, (_, i) => (axes.includes(i) ? 1 : rest.shift()!)),
  );
};

export const transpose: Fold = (n) => {
  const k = n.known(0, 'the data');
  const perm = n.ints('perm') ?? k.shape.map((_, i) => k.shape.length - 1 - i);
  if (perm.length !== k.shape.length || new Set(perm).size < perm.length || perm.some((p) => !(k.shape[p] >= 0)))
    n.misfit(`perm ${perm}`);
  return moved(
    k,
    perm.map((p) => k.shape[p]),
    (index) => k.shape.map((_, d) => index[perm.indexOf(d)]),
  );
};

export const expand: Fold = (n) => {
  const k = n.known(0, 'the data');
  const shape = sizesOf(expandTarget(n, k.shape, n.known(1, 'the shape').data));
  if (!shape) return undefined;
  const lead = shape.length - k.shape.length;
  return moved(k, shape, (index) => k.shape.map((d, i) => (d === 1 ? 0 : index[i + lead])));
};

/** Parts of known data replaced, at known places: masks are written so. */
export const scatter: Fold = (n) => {
  const [k, at, updates] = inputs(n);
  if (n.text('reduction', 'none') !== 'none') return undefined;
  const width = at.shape[at.shape.length - 1];
  const own = strides(k.shape);
  const run = product(k.shape.slice(width));
  const places = n.knownNumbers(1, 'the indices');
  const data = [...k.data];
  for (let i = 0; i * width < places.length; i++) {
    let start = 0;
    for (let j = 0; j < width; j++) {
      const p = places[i * width + j];
      const index = p < 0 ? p + k.shape[j] : p;
      if (!(index >= 0 && index < k.shape[j])) n.misfit(`an index of ${p} for an axis of ${k.shape[j]}`);
      start += index * own[j];
    }
    for (let e = 0; e < run; e++) data[start + e] = updates.data[i * run + e];
  }
  return updates.data.length * width === places.length * run ? known(k.dtype, k.shape, data) : undefined;
};
