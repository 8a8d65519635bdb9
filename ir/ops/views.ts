/**
 * Views (move elements, compute nothing) and sources (make elements from nothing but their index).
 */
import type { Attrs } from '../graph.js';
import {
  broadcastShapes,
  concrete,
  type Dim,
  type DType,
  dimEquals,
  dimMul,
  printShape,
  product,
  type Shape,
  shapeEquals,
  storedCount,
  strides,
  type TensorType,
  tensor,
} from '../types.js';
import { axisOf, dense, fail, intsOf, numberOf, type OpDef, shaped, stringOf, type Tensor64 } from './declare.js';

/** Shapes in attributes are numbers; a symbolic dimension is written as the string `N` or `2*N`. */
export function shapeAttr(shape: Shape): readonly number[] | readonly string[] {
  return shape.every((d) => typeof d === 'number')
    ? (shape as readonly number[])
    : shape.map((d) => (typeof d === 'number' ? String(d) : d.factor === 1 ? d.symbol : `${d.factor}*${d.symbol}`));
}

export function shapeOf(attrs: Attrs, name = 'shape'): Shape {
  const v = attrs[name];
  if (!Array.isArray(v)) return fail(`attribute ${name} must be a shape`);
  return v.map((d): Dim => {
    if (typeof d === 'number') return d;
    if (/^\d+$/.test(d)) return Number(d);
    const star = d.indexOf('*');
    return star < 0 ? { symbol: d, factor: 1 } : { symbol: d.slice(star + 1), factor: Number(d.slice(0, star)) };
  });
}

function symbolicCount(shape: Shape): Dim | undefined {
  let n: Dim | undefined = 1;
  for (const d of shape) n = n === undefined ? undefined : dimMul(n, d);
  return n;
}

/** Visits every index of `shape` in row-major order. */
export function forEachIndex(shape: readonly number[], visit: (index: readonly number[], flat: number) => void): void {
  const index = new Array<number>(shape.length).fill(0);
  const total = product(shape);
  for (let flat = 0; flat < total; flat++) {
    visit(index, flat);
    for (let d = shape.length - 1; d >= 0; d--) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
}

/** Result of a view whose result element at `index` is the operand's element at `from(index)` (undefined: `otherwise`). */
function move(
  x: Tensor64,
  result: TensorType,
  from: (index: readonly number[]) => readonly number[] | undefined,
  otherwise = 0,
): Float64Array {
  const own = strides(concrete(x.type.shape));
  const shape = concrete(result.shape);
  const out = new Float64Array(product(shape));
  forEachIndex(shape, (index, flat) => {
    const source = from(index);
    out[flat] = source ? x.data[source.reduce((s, i, d) => s + i * own[d], 0)] : otherwise;
  });
  return out;
}

export const viewOps = {
  reshape: {
    arity: [1, 1],
    fuse: 'view',
    attrs: { shape: 'shape' },
    infer: ([x], attrs) => {
      const shape = shapeOf(attrs);
      const from = symbolicCount(dense(x).shape);
      const to = symbolicCount(shape);
      if (from === undefined || to === undefined || !dimEquals(from, to))
        fail(`cannot reshape ${printShape(x.shape)} to ${printShape(shape)}`);
      return [{ ...x, shape }];
    },
    evaluate: ([x]) => [x.data],
  },
  /** Result axis i is operand axis perm[i]. */
  transpose: {
    arity: [1, 1],
    fuse: 'view',
    attrs: { perm: 'ints' },
    infer: ([x], attrs) => {
      const perm = intsOf(attrs, 'perm');
      if (perm.length !== dense(x).shape.length || [...perm].sort((a, b) => a - b).some((p, i) => p !== i))
        fail(`perm ${perm} is no permutation of ${x.shape.length} axes`);
      return [{ ...x, shape: perm.map((p) => x.shape[p]) }];
    },
    evaluate: ([x], attrs, [r]) => {
      const perm = intsOf(attrs, 'perm');
      return [
        move(x, r, (index) => {
          const from = new Array<number>(perm.length);
          perm.forEach((p, i) => {
            from[p] = index[i];
          });
          return from;
        }),
      ];
    },
  },
  broadcast: {
    arity: [1, 1],
    fuse: 'view',
    attrs: { shape: 'shape' },
    infer: ([x], attrs) => {
      const shape = shapeOf(attrs);
      const joined = broadcastShapes(dense(x).shape, shape);
      if (!joined || !shapeEquals(joined, shape))
        fail(`${printShape(x.shape)} does not broadcast to ${printShape(shape)}`);
      return [{ ...x, shape }];
    },
    evaluate: ([x], _attrs, [r]) => {
      const s = concrete(x.type.shape);
      const lead = r.shape.length - s.length;
      return [move(x, r, (index) => s.map((d, i) => (d === 1 ? 0 : index[i + lead])))];
    },
  },
  /** starts, ends (exclusive), steps >= 1: one number per axis. A symbolic axis is taken whole: start 0, end -1. */
  slice: {
    arity: [1, 1],
    fuse: 'view',
    attrs: { starts: 'ints', ends: 'ints', steps: 'ints' },
    infer: ([x], attrs) => {
      const [starts, ends, steps] = ['starts', 'ends', 'steps'].map((n) => intsOf(attrs, n));
      if ([starts, ends, steps].some((l) => l.length !== dense(x).shape.length))
        fail('slice needs one start, end and step for each axis');
      return [
        {
          ...x,
          shape: x.shape.map((d, i): Dim => {
            if (typeof d !== 'number')
              return starts[i] === 0 && ends[i] === -1 && steps[i] === 1 ? d : fail('cannot slice the symbolic axis');
            const end = ends[i] === -1 ? d : ends[i];
            if (starts[i] < 0 || end > d || steps[i] < 1 || starts[i] >= end)
              fail(`slice ${starts[i]}:${end}:${steps[i]} of an axis of ${d}`);
            return Math.ceil((end - starts[i]) / steps[i]);
          }),
        },
      ];
    },
    evaluate: ([x], attrs, [r]) => {
      const starts = intsOf(attrs, 'starts');
      const steps = intsOf(attrs, 'steps');
      return [move(x, r, (index) => index.map((v, i) => starts[i] + v * steps[i]))];
    },
  },
  concat: {
    arity: [1, 1 << 16],
    fuse: 'view',
    attrs: { axis: 'int' },
    infer: (operands, attrs) => {
      const axis = axisOf(attrs, dense(operands[0]).shape.length);
      let size = 0;
      for (const t of operands) {
        const d = t.shape[axis];
        if (
          dense(t).dtype !== operands[0].dtype ||
          t.shape.length !== operands[0].shape.length ||
          typeof d !== 'number'
        )
          return fail('concat needs operands of one type and rank');
        if (t.shape.some((v, i) => i !== axis && !dimEquals(v, operands[0].shape[i])))
          fail('concat needs equal dimensions but for the axis');
        size += d;
      }
      return [{ ...operands[0], shape: operands[0].shape.map((d, i) => (i === axis ? size : d)) }];
    },
    evaluate: (operands, attrs, [r]) => {
      const axis = axisOf(attrs, r.shape.length);
      const shape = concrete(r.shape);
      const out = new Float64Array(product(shape));
      const inner = product(shape.slice(axis + 1));
      const outer = product(shape.slice(0, axis));
      let at = 0;
      for (const x of operands) {
        const run = concrete(x.type.shape)[axis] * inner;
        for (let o = 0; o < outer; o++) out.set(x.data.subarray(o * run, (o + 1) * run), o * shape[axis] * inner + at);
        at += run;
      }
      return [out];
    },
  },
  /** Scalars one after the other, as a vector. */
  stack: {
    arity: [1, 1 << 16],
    fuse: 'view',
    infer: (operands) => {
      for (const t of operands) {
        shaped(dense(t), [], 'operand');
        if (t.dtype !== operands[0].dtype) fail('stack needs operands of one type');
      }
      return [{ ...operands[0], shape: [operands.length] }];
    },
    evaluate: (operands) => [Float64Array.from(operands, (x) => x.data[0])],
  },
  /** low and high: elements of `value` added before and after each axis. */
  pad: {
    arity: [1, 1],
    fuse: 'view',
    attrs: { low: 'ints', high: 'ints', value: 'number' },
    infer: ([x], attrs) => {
      const low = intsOf(attrs, 'low');
      const high = intsOf(attrs, 'high');
      if (
        low.length !== dense(x).shape.length ||
        high.length !== x.shape.length ||
        [...low, ...high].some((v) => v < 0)
      )
        fail('pad needs low and high >= 0 for each axis');
      return [
        {
          ...x,
          shape: x.shape.map((d, i): Dim => {
            if (typeof d === 'number') return d + low[i] + high[i];
            return low[i] === 0 && high[i] === 0 ? d : fail('cannot pad the symbolic axis');
          }),
        },
      ];
    },
    evaluate: ([x], attrs, [r]) => {
      const low = intsOf(attrs, 'low');
      const s = concrete(x.type.shape);
      return [
        move(
          x,
          r,
          (index) => {
            const from = index.map((v, i) => v - low[i]);
            return from.every((v, i) => v >= 0 && v < s[i]) ? from : undefined;
          },
          numberOf(attrs, 'value'),
        ),
      ];
    },
  },
  /** Attribute layout 'packed-lower' makes a symmetric value whose stored elements are all `value`. */
  fill: {
    arity: [0, 0],
    fuse: 'source',
    attrs: { value: 'number', shape: 'shape', dtype: 'dtype', layout: 'layout?' },
    infer: (_, attrs) => {
      const type = tensor(stringOf(attrs, 'dtype') as DType, shapeOf(attrs));
      return [attrs.layout === 'packed-lower' ? { ...type, layout: 'packed-lower' } : type];
    },
    evaluate: (_o, attrs, [r]) => [new Float64Array(storedCount(r)).fill(numberOf(attrs, 'value'))],
  },
  /** Each element is its index along `axis`. */
  iota: {
    arity: [0, 0],
    fuse: 'source',
    attrs: { shape: 'shape', axis: 'int', dtype: 'dtype' },
    infer: (_, attrs) => {
      const shape = shapeOf(attrs);
      axisOf(attrs, shape.length);
      return [tensor(stringOf(attrs, 'dtype') as DType, shape)];
    },
    evaluate: (_o, attrs, [r]) => {
      const shape = concrete(r.shape);
      const axis = axisOf(attrs, shape.length);
      const out = new Float64Array(product(shape));
      forEachIndex(shape, (index, flat) => {
        out[flat] = index[axis];
      });
      return [out];
    },
  },
} satisfies Record<string, OpDef>;
