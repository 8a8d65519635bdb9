/**
 * The grid of a kernel for a GPU: independent shares of work, one behind the other in one range of iterations. An iteration is
 * a thread where the shares hold no lane loops, a workgroup where they do. So any number of nests is one dispatch.
 */
import { and, div, type Expr, i32, le, letI, loop, lt, ref, rem, type Stmt, sub } from '../../../ir/kernel.js';
import { product } from '../../../ir/types.js';
import { collapse, type Dimension } from '../affine.js';
import { when } from '../contraction-tile.js';
import type { Frame } from '../frame.js';
import { rewriteStores, storeExpressions } from '../nest.js';
import type { Nest } from '../pointwise.js';

export interface Share {
  /** Iterations. */
  readonly count: number;
  /** What iteration `at` of the share does. */
  readonly body: (at: Expr) => Stmt[];
}

export function gridOf(frame: Frame, shares: readonly Share[]): Stmt[] {
  const name = frame.fresh('g');
  const g = ref(name);
  if (shares.length === 1) return [loop('grid', name, shares[0].count, shares[0].body(g))];
  let start = 0;
  const parts = shares.map(({ count, body }): Stmt => {
    const at = frame.fresh('at');
    const [lo, hi] = [i32(start), i32(start + count)];
    const below = lt(g, hi);
    const inside = start === 0 ? below : and(le(lo, g), below);
    start += count;
    return when(inside, [letI(at, sub(g, lo)), ...body(ref(at))]);
  });
  return [loop('grid', name, start, parts)];
}

/** Values of the dimensions' variables at the row-major offset `at` of the space that they span. */
export function split(at: Expr, dims: readonly Dimension[]): Stmt[] {
  let stride = product(dims.map((d) => d.extent));
  return dims.map((d, i) => {
    stride /= d.extent;
    const quotient = div(at, i32(stride));
    return letI(d.name, i === 0 ? quotient : rem(quotient, i32(d.extent)));
  });
}

/** An element in each iteration. */
export function elementShare({ dims, stores }: Nest): Share {
  const { dims: joined, rewrite } = collapse(dims, storeExpressions(stores));
  const body = rewriteStores(stores, rewrite);
  return { count: product(joined.map((d) => d.extent)), body: (at) => [...split(at, joined), ...body] };
}
