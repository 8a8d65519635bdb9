/**
 * Loop nests over independent elements: the grid outside, one contiguous vector loop inside. Dimensions that all accesses
 * walk through as one are joined first; a long innermost loop is cut into blocks, so that the grid has work to share out.
 */
import { add, div, type Expr, i32, letI, loop, min, mul, ref, rem, type Stmt } from '../../ir/kernel.js';
import { product } from '../../ir/types.js';
import { collapse, type Dimension } from './affine.js';
import type { Frame } from './frame.js';
import { type Index, zero } from './indices.js';

/** Elements of a block of the innermost loop: 16 KiB of f32, half a first-level cache with one operand beside the result. */
const BLOCK = 4096;
/** A grid of this many iterations is enough for the threads of a CPU; more would only cost index arithmetic. */
const ENOUGH = 16;

/** An index of `shape`, and the dimensions (those longer than one) that it runs over. */
export function spanning(frame: Frame, shape: readonly number[]): { index: Index; dims: Dimension[] } {
  const dims: Dimension[] = [];
  const index = shape.map((extent): Expr => {
    if (extent === 1) return zero;
    const name = frame.fresh('i');
    dims.push({ name, extent, role: 'kept' });
    return ref(name);
  });
  return { index, dims };
}

/** Loops over `dims`, all independent. The first ones are joined until the outermost loop is worth splitting. */
export function gridLoops(frame: Frame, dims: readonly Dimension[], body: readonly Stmt[]): Stmt[] {
  if (dims.length === 0) return [...body];
  let joined = 1;
  let extent = dims[0].extent;
  while (joined < dims.length && extent < ENOUGH) extent *= dims[joined++].extent;
  let inner: Stmt[] = [...body];
  for (let d = dims.length - 1; d >= joined; d--) inner = [loop('grid', dims[d].name, dims[d].extent, inner)];
  if (joined === 1) return [loop('grid', dims[0].name, extent, inner)];
  const g = frame.fresh('g');
  const lets: Stmt[] = [];
  let stride = extent;
  for (let d = 0; d < joined; d++) {
    stride /= dims[d].extent;
    const quotient = div(ref(g), i32(stride));
    lets.push(letI(dims[d].name, d === 0 ? quotient : rem(quotient, i32(dims[d].extent))));
  }
  return [loop('grid', g, extent, [...lets, ...inner])];
}

/** The bounds of block `block` of a loop of `extent` iterations. */
export function blockBounds(block: Expr, size: number, extent: number): { lo: Expr; hi: Expr } {
  const lo = mul(block, i32(size));
  return { lo, hi: min(add(lo, i32(size)), i32(extent)) };
}

/** Runs `body` once for each element of the space that `dims` span; iterations are independent. */
export function elementLoops(frame: Frame, dims: readonly Dimension[], body: readonly Stmt[]): Stmt[] {
  if (dims.length === 0) return [...body];
  const inner = dims[dims.length - 1];
  const outer = dims.slice(0, -1);
  if (product(outer.map((d) => d.extent)) >= ENOUGH || inner.extent <= BLOCK)
    return gridLoops(frame, outer, [loop('vector', inner.name, inner.extent, body)]);
  const block = frame.fresh('b');
  const { lo, hi } = blockBounds(ref(block), BLOCK, inner.extent);
  const blocks: Dimension = { name: block, extent: Math.ceil(inner.extent / BLOCK), role: 'kept' };
  return gridLoops(frame, [...outer, blocks], [loop('vector', inner.name, hi, body, lo)]);
}

/** Stores over the space that `dims` span, with joined dimensions. */
export function storeNest(frame: Frame, dims: readonly Dimension[], stores: readonly Stmt[]): Stmt[] {
  const { dims: joined, rewrite } = collapse(dims, storeExpressions(stores));
  return elementLoops(frame, joined, rewriteStores(stores, rewrite));
}

export function storeExpressions(stores: readonly Stmt[]): Expr[] {
  return stores.flatMap((s) => {
    if (s.kind !== 'store') throw new Error('an epilogue consists of stores');
    return [s.index, s.value];
  });
}

export function rewriteStores(stores: readonly Stmt[], rewrite: (e: Expr) => Expr): Stmt[] {
  return stores.map((s) => {
    if (s.kind !== 'store') throw new Error('an epilogue consists of stores');
    return { ...s, index: rewrite(s.index), value: rewrite(s.value) };
  });
}
