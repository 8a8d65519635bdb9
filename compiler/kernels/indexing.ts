/**
 * Gather and its gradient. A gather is a pointwise nest whose operand index is read from memory. A scatter walks the
 * indices in order and adds whole rows, each grid iteration owning its columns, so no two write the same element.
 */
import { add, type Expr, i32, type Kernel, load, loop, max, min, ref, type Stmt, store } from '../../ir/kernel.js';
import { numberOf } from '../../ir/ops/declare.js';
import { concrete, product } from '../../ir/types.js';
import type { Dimension } from './affine.js';
import { Elements, epilogueOf } from './elements.js';
import { Frame, finishKernel } from './frame.js';
import { reshapeIndex, unflatten, zero } from './indices.js';
import { blockBounds, gridLoops, spanning, storeNest } from './nest.js';
import type { Nest } from './pointwise.js';
import type { Region } from './region.js';
import { constant } from './scalar.js';

/** Columns that one grid iteration of a scatter owns. */
const COLUMNS = 256;

export const clamped = (i: Expr, size: number): Expr => max(i32(0), min(i, i32(size - 1)));

export function lowerGather(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  const { dims, stores } = gatherNest(frame);
  return finishKernel(frame, name, storeNest(frame, dims, stores));
}

export function gatherNest(frame: Frame): Nest {
  const { region } = frame;
  const anchor = region.anchor!;
  const [x, indices] = anchor.operands;
  const axis = numberOf(anchor.attrs, 'axis');
  const elements = new Elements(region, frame.parameters);
  const { index, dims } = spanning(frame, concrete(anchor.results[0].type.shape));
  const rank = indices.type.shape.length;
  const row = clamped(elements.at(indices, index.slice(axis, axis + rank)), concrete(x.type.shape)[axis]);
  const element = elements.at(x, [...index.slice(0, axis), row, ...index.slice(axis + rank)]);
  return { dims, stores: epilogueOf(region, elements)(index, element) };
}

export function lowerScatterAdd(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  const anchor = region.anchor!;
  const [indices, updates] = anchor.operands;
  const [out] = anchor.results;
  const axis = numberOf(anchor.attrs, 'axis');
  const shape = concrete(out.type.shape);
  const many = concrete(indices.type.shape);
  const innerShape = shape.slice(axis + 1);
  const inner = product(innerShape);
  const elements = new Elements(region, frame.parameters);
  const memory = elements.memory(out);

  const { index: outer, dims } = spanning(frame, shape.slice(0, axis));
  const block: Dimension = { name: frame.fresh('b'), extent: Math.ceil(inner / COLUMNS), role: 'kept' };
  const { lo, hi } =
    block.extent === 1 ? { lo: zero as Expr, hi: i32(inner) as Expr } : blockBounds(ref(block.name), COLUMNS, inner);
  const [column, row, source, at] = ['j', 'k', 'k', 'n'].map((n) => frame.fresh(n));
  const columnIndex = reshapeIndex([ref(column)], [inner], innerShape);
  const place = (k: Expr): Expr => elements.offset(out, [...outer, k, ...columnIndex]);
  const sourceIndex = unflatten(ref(source), many);
  const update = elements.at(updates, [...outer, ...sourceIndex, ...columnIndex]);
  const target = place(ref(at));
  const body: Stmt[] = [
    loop('serial', row, shape[axis], [
      loop('vector', column, hi, [store(memory, place(ref(row)), constant(out.type.dtype, 0))], lo),
    ]),
    loop('serial', source, product(many), [
      { kind: 'let', name: at, type: 'i32', value: clamped(elements.at(indices, sourceIndex), shape[axis]) },
      loop('vector', column, hi, [store(memory, target, add(load(memory, target), update))], lo),
    ]),
  ];
  const grid = gridLoops(frame, block.extent === 1 ? dims : [...dims, block], body);
  return finishKernel(frame, name, grid, { updated: new Set([out]) });
}
