/**
 * Reductions, indexing and random numbers.
 */
import type { Attrs } from '../graph.js';
import { rowKey, uniform } from '../random.js';
import { concrete, type Dim, printType, product, shapeEquals, strides, type TensorType, tensor } from '../types.js';
import { axisOf, dense, fail, flagOf, intsOf, numberOf, type OpDef, type Tensor64 } from './declare.js';
import { forEachIndex, shapeOf } from './views.js';

function reducedShape(x: TensorType, attrs: Attrs): readonly Dim[] {
  const axes = intsOf(attrs, 'axes');
  if (dense(x).dtype === 'bool') fail('reductions need numbers, not bool');
  if (axes.some((a) => a < 0 || a >= x.shape.length) || new Set(axes).size !== axes.length)
    fail(`axes ${axes} of a tensor of rank ${x.shape.length}`);
  return flagOf(attrs, 'keep')
    ? x.shape.map((d, i) => (axes.includes(i) ? 1 : d))
    : x.shape.filter((_, i) => !axes.includes(i));
}

function reduce(x: Tensor64, attrs: Attrs, first: number, f: (a: number, b: number) => number): Float64Array {
  const axes = intsOf(attrs, 'axes');
  const shape = concrete(x.type.shape);
  const kept = strides(shape.map((d, i) => (axes.includes(i) ? 1 : d))).map((s, i) => (axes.includes(i) ? 0 : s));
  const out = new Float64Array(product(shape.filter((_, i) => !axes.includes(i)))).fill(first);
  forEachIndex(shape, (index, flat) => {
    let at = 0;
    for (let d = 0; d < index.length; d++) at += index[d] * kept[d];
    out[at] = f(out[at], x.data[flat]);
  });
  return out;
}

export const reductionOps = {
  reduce_sum: {
    arity: [1, 1],
    fuse: 'reduction',
    attrs: { axes: 'ints', keep: 'flag' },
    infer: ([x], attrs) => [{ ...x, shape: reducedShape(x, attrs) }],
    evaluate: ([x], attrs) => [reduce(x, attrs, 0, (a, b) => a + b)],
  },
  reduce_max: {
    arity: [1, 1],
    fuse: 'reduction',
    attrs: { axes: 'ints', keep: 'flag' },
    infer: ([x], attrs) => [{ ...x, shape: reducedShape(x, attrs) }],
    evaluate: ([x], attrs) => [reduce(x, attrs, Number.NEGATIVE_INFINITY, Math.max)],
  },
  /** Index of the first maximum along `axis`, which is removed. */
  argmax: {
    arity: [1, 1],
    fuse: 'reduction',
    attrs: { axis: 'int' },
    infer: ([x], attrs) => {
      const axis = axisOf(attrs, dense(x).shape.length);
      return [
        tensor(
          'i32',
          x.shape.filter((_, i) => i !== axis),
        ),
      ];
    },
    evaluate: ([x], attrs, [r]) => {
      const shape = concrete(x.type.shape);
      const axis = axisOf(attrs, shape.length);
      const inner = product(shape.slice(axis + 1));
      const out = new Float64Array(product(concrete(r.shape)));
      for (let i = 0; i < out.length; i++) {
        const base = Math.floor(i / inner) * shape[axis] * inner + (i % inner);
        for (let k = 1; k < shape[axis]; k++) if (x.data[base + k * inner] > x.data[base + out[i] * inner]) out[i] = k;
      }
      return [out];
    },
  },
  /** (x, indices): x's slices along `axis`; an index outside [0, size) is clamped. */
  gather: {
    arity: [2, 2],
    fuse: 'opaque',
    attrs: { axis: 'int' },
    infer: ([x, indices], attrs) => {
      const axis = axisOf(attrs, dense(x).shape.length);
      if (indices.dtype !== 'i32') fail('indices must be i32');
      return [{ ...x, shape: [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)] }];
    },
    evaluate: ([x, indices], attrs, [r]) => {
      const shape = concrete(x.type.shape);
      const axis = axisOf(attrs, shape.length);
      const inner = product(shape.slice(axis + 1));
      const out = new Float64Array(product(concrete(r.shape)));
      const many = indices.data.length;
      for (let i = 0; i < out.length; i++) {
        const k = Math.min(Math.max(indices.data[Math.floor(i / inner) % many], 0), shape[axis] - 1);
        out[i] = x.data[(Math.floor(i / inner / many) * shape[axis] + k) * inner + (i % inner)];
      }
      return [out];
    },
    flops: () => 0,
  },
  /** (indices, updates): zeros with `size` elements along `axis`, to which the slices of updates are added: the gradient of gather. */
  scatter_add: {
    arity: [2, 2],
    fuse: 'opaque',
    attrs: { axis: 'int', size: 'int' },
    infer: ([indices, updates], attrs) => {
      const axis = numberOf(attrs, 'axis');
      const many = indices.shape.length;
      if (indices.dtype !== 'i32') fail('indices must be i32');
      if (numberOf(attrs, 'size') < 1) fail('size must be at least 1');
      if (axis < 0 || !shapeEquals(dense(updates).shape.slice(axis, axis + many), indices.shape))
        fail(`updates ${printType(updates)} have no axes ${printType(indices)} at ${axis}`);
      return [
        {
          ...updates,
          shape: [
            ...updates.shape.slice(0, axis),
            numberOf(attrs, 'size'),
            ...updates.shape.slice(axis + indices.shape.length),
          ],
        },
      ];
    },
    evaluate: ([indices, updates], attrs, [r]) => {
      const shape = concrete(r.shape);
      const axis = numberOf(attrs, 'axis');
      const inner = product(shape.slice(axis + 1));
      const out = new Float64Array(product(shape));
      const many = indices.data.length;
      updates.data.forEach((u, i) => {
        const k = Math.min(Math.max(indices.data[Math.floor(i / inner) % many], 0), shape[axis] - 1);
        out[(Math.floor(i / inner / many) * shape[axis] + k) * inner + (i % inner)] += u;
      });
      return [out];
    },
  },
  /** (rng: i32[3] = seed, step, first global example): uniform in [0, 1); axis 0 is the example axis. */
  random_uniform: {
    arity: [1, 1],
    fuse: 'elementwise',
    attrs: { shape: 'shape', key: 'int' },
    infer: ([rng], attrs) => {
      if (rng.dtype !== 'i32' || !shapeEquals(rng.shape, [3])) fail('rng must be i32[3]');
      return [tensor('f32', shapeOf(attrs))];
    },
    evaluate: ([rng], attrs, [r]) => {
      const shape = concrete(r.shape);
      const [seed, step, first] = rng.data;
      const inner = product(shape.slice(1));
      const out = new Float64Array(product(shape));
      for (let n = 0; n * inner < out.length; n++) {
        const row = rowKey(seed, step, numberOf(attrs, 'key'), first + n);
        for (let i = 0; i < inner; i++) out[n * inner + i] = uniform(row, i);
      }
      return [out];
    },
  },
} satisfies Record<string, OpDef>;
