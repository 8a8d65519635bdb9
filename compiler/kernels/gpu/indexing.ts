/**
 * Gather and its gradient for a GPU. A thread makes one element. A scatter's thread looks through all indices for those that
 * name its row and adds what belongs there, in their order: no two threads write to one element, and sums are reproducible.
 */
import { add, type Expr, eq, type Kernel, letI, loop, ref, type Stmt } from '../../../ir/kernel.js';
import { numberOf } from '../../../ir/ops/declare.js';
import { concrete, product } from '../../../ir/types.js';
import { when } from '../contraction-tile.js';
import { Elements } from '../elements.js';
import { Frame, finishKernel } from '../frame.js';
import { clamped, gatherNest } from '../indexing.js';
import { unflatten } from '../indices.js';
import { spanning } from '../nest.js';
import type { Region } from '../region.js';
import { constant } from '../scalar.js';
import { elementShare, gridOf, type Share, split } from './shares.js';

export function lowerGather(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  return finishKernel(frame, name, gridOf(frame, [elementShare(gatherNest(frame))]));
}

export function lowerScatterAdd(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  const anchor = region.anchor!;
  const [indices, updates] = anchor.operands;
  const [out] = anchor.results;
  const axis = numberOf(anchor.attrs, 'axis');
  const shape = concrete(out.type.shape);
  const many = concrete(indices.type.shape);
  const elements = new Elements(region, frame.parameters);
  const { index, dims } = spanning(frame, shape);
  const [total, source, row] = ['a', 'k', 'n'].map((v) => frame.fresh(v));
  const type = out.type.dtype === 'i32' ? 'i32' : 'f32';
  const sourceIndex: readonly Expr[] = unflatten(ref(source), many);
  const update = elements.at(updates, [...index.slice(0, axis), ...sourceIndex, ...index.slice(axis + 1)]);
  const body: Stmt[] = [
    { kind: 'var', name: total, type, value: constant(out.type.dtype, 0) },
    loop('serial', source, product(many), [
      letI(row, clamped(elements.at(indices, sourceIndex), shape[axis])),
      when(eq(ref(row), index[axis]), [{ kind: 'set', name: total, value: add(ref(total), update) }]),
    ]),
    { kind: 'store', memory: elements.memory(out), index: elements.offset(out, index), value: ref(total) },
  ];
  const share: Share = { count: product(shape), body: (at) => [...split(at, dims), ...body] };
  return finishKernel(frame, name, gridOf(frame, [share]));
}
