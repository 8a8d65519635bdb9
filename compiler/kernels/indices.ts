/**
 * Index arithmetic on expressions: row-major flattening, its inverse, and the index map of a reshape. A reshaped index
 * remembers where it came from, so flattening it again costs nothing and stays affine.
 */
import { add, div, type Expr, i32, max, mul, rem } from '../../ir/kernel.js';
import { concrete, product, storedCount, strides, type TensorType } from '../../ir/types.js';

export type Index = readonly Expr[];
export const zero = i32(0);

/** The index space of a value: its shape, or the stored elements in one dimension when it is packed. */
export function spaceOf(type: TensorType): readonly number[] {
  return type.layout === 'dense' ? concrete(type.shape) : [storedCount(type)];
}

const origins = new WeakMap<Index, { readonly index: Index; readonly shape: readonly number[] }>();

/** Row-major offset of `index`. */
export function flatten(index: Index, shape: readonly number[]): Expr {
  const origin = origins.get(index);
  if (origin) return flatten(origin.index, origin.shape);
  const steps = strides(shape);
  let sum: Expr = zero;
  for (let d = 0; d < index.length; d++) if (shape[d] !== 1) sum = add(sum, mul(index[d], i32(steps[d])));
  return sum;
}

/** The index of `shape` at a row-major offset. */
export function unflatten(flat: Expr, shape: readonly number[]): Expr[] {
  const steps = strides(shape);
  const total = product(shape);
  return shape.map((d, k) => {
    if (d === 1) return zero;
    const quotient = div(flat, i32(steps[k]));
    return d * steps[k] === total ? quotient : rem(quotient, i32(d));
  });
}

/**
 * The index in `to` of the element that has `index` in `from` (equal element counts). Dimensions that match pass through;
 * the rest is flattened and split only within the smallest groups of equal size.
 * @param loose the index may lie outside `from` (its element is then not used), and division needs it clamped
 */
export function reshapeIndex(index: Index, from: readonly number[], to: readonly number[], loose = false): Index {
  if (from.length === to.length && from.every((d, k) => d === to[k])) return index;
  const out = new Array<Expr>(to.length).fill(zero);
  let i = 0;
  let j = 0;
  while (i < from.length && j < to.length) {
    if (from[i] === 1) i++;
    else if (to[j] === 1) j++;
    else {
      let iEnd = i + 1;
      let jEnd = j + 1;
      let a = from[i];
      let b = to[j];
      while (a !== b) {
        if (a < b) a *= from[iEnd++];
        else b *= to[jEnd++];
        if (!(a >= 1 && b >= 1)) throw new Error(`cannot map an index of [${from}] to [${to}]`);
      }
      if (iEnd === i + 1 && jEnd === j + 1) out[j] = index[i];
      else {
        const flat = flatten(index.slice(i, iEnd), from.slice(i, iEnd));
        const safe = loose && jEnd > j + 1 ? max(flat, zero) : flat;
        unflatten(safe, to.slice(j, jEnd)).forEach((e, k) => {
          out[j + k] = e;
        });
      }
      i = iEnd;
      j = jEnd;
    }
  }
  origins.set(out, { index, shape: from });
  return out;
}

/** The index in images of `shape` [N, C, H, W] of a position of one channel, counted row by row. */
export function positionIndex(image: Expr, channel: Expr, position: Expr, shape: readonly number[]): Index {
  const [n, c, h, w] = shape;
  return reshapeIndex([image, channel, position], [n, c, h * w], shape);
}

/** The index of an operand of shape `own` when the elementwise or broadcast result has `index`. */
export function broadcastIndex(index: Index, own: readonly number[], result: readonly number[]): Index {
  if (own.length === result.length && own.every((d, k) => d === result[k])) return index;
  const lead = result.length - own.length;
  return own.map((d, k) => (d === 1 ? zero : index[k + lead]));
}
