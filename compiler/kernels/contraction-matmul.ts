/**
 * Matrix products of the graph as blocked products: leading axes broadcast, either operand may be transposed. Products with
 * few rows are computed transposed.
 */
import { add, type Expr, i32, mul, type Stmt } from '../../ir/kernel.js';
import { flagOf } from '../../ir/ops/declare.js';
import { concrete, product as productOf } from '../../ir/types.js';
import { type Factor, lowerProduct, type Product } from './contraction-product.js';
import type { Contraction } from './contraction-tile.js';
import { broadcastIndex, type Index, unflatten } from './indices.js';

/** Rows of an unbatched right factor are joined with the batch. */
function productOfMatmul({ anchor, elements, finish }: Contraction): Product {
  const [a, b] = anchor.operands;
  const shape = concrete(anchor.results[0].type.shape);
  const batchShape = shape.slice(0, -2);
  const [m, n] = shape.slice(-2);
  const transposed = [flagOf(anchor.attrs, 'ta'), flagOf(anchor.attrs, 'tb')];
  const aShape = concrete(a.type.shape);
  const k = aShape[aShape.length - (transposed[0] ? 2 : 1)];
  const aBatch = aShape.slice(0, -2);
  const joined =
    !transposed[0] &&
    productOf(concrete(b.type.shape).slice(0, -2)) === 1 &&
    productOf(aBatch) === productOf(batchShape);
  const batchIndex = (flat: Expr, own: readonly number[]): Index =>
    broadcastIndex(unflatten(flat, batchShape), own, batchShape);
  const factor = (value: typeof a, side: 0 | 1): Factor => {
    const own = concrete(value.type.shape).slice(0, -2);
    // The left factor is stored [i, k] unless transposed, the right one [k, i].
    const alongK = (side === 0) !== transposed[side];
    const index = (batch: Expr, i: Expr, kk: Expr): Index => {
      if (joined && side === 0) {
        const rows = unflatten(i, [...batchShape, m]);
        return [...broadcastIndex(rows.slice(0, -1), own, batchShape), rows[rows.length - 1], kk];
      }
      return [...batchIndex(batch, own), ...(alongK ? [i, kk] : [kk, i])];
    };
    const cols = concrete(value.type.shape)[own.length + 1];
    const flat = (batch: Expr, i: Expr, kk: Expr): Expr =>
      joined && side === 0 ? add(mul(i, i32(cols)), kk) : elements.offset(value, index(batch, i, kk));
    return {
      at: (batch, i, kk) => elements.at(value, index(batch, i, kk)),
      memory: elements.inMemory(value)
        ? { name: elements.memory(value), offset: flat, i: alongK ? cols : 1, k: alongK ? 1 : cols }
        : undefined,
      alongK,
    };
  };
  return {
    batch: joined ? 1 : productOf(batchShape),
    m: joined ? productOf(batchShape) * m : m,
    n,
    k,
    a: factor(a, 0),
    b: factor(b, 1),
    finish: (batch, row, col, element) =>
      joined
        ? finish([...unflatten(row, [...batchShape, m]), col], element)
        : finish([...unflatten(batch, batchShape), row, col], element),
  };
}

/** The transposed product: columns become rows. */
const swap = (p: Product): Product => ({
  ...p,
  m: p.n,
  n: p.m,
  a: p.b,
  b: p.a,
  finish: (batch, m, n, element) => p.finish(batch, n, m, element),
});

/** With few rows and many columns, packing the columns would cost as much as the product: pack the rows instead. */
const skinny = (p: Product): boolean => p.m <= 16 && p.n > 2 * p.m && p.b.memory !== undefined;

export function lowerMatmul(contraction: Contraction): Stmt[] {
  const p = productOfMatmul(contraction);
  return lowerProduct(skinny(p) ? swap(p) : p, contraction.choice);
}
