/**
 * Sums and maxima, with whatever is computed before and after them. Reductions over the same axes share loops. If the
 * innermost dimension is reduced, vector lanes accumulate a register; if it is kept, a strip of accumulators lies in memory
 * and every row is added to it. Sums are added up in blocks, so that the rounding error grows with the square root of a
 * few hundred additions and not of millions.
 */
import type { Node } from '../../ir/graph.js';
import {
  binary,
  type Expr,
  f32,
  i32,
  type Kernel,
  type KernelType,
  letF,
  load,
  loop,
  ref,
  type Stmt,
  store,
  sub,
} from '../../ir/kernel.js';
import { flagOf, intsOf } from '../../ir/ops/declare.js';
import { product } from '../../ir/types.js';
import { collapse, type Dimension } from './affine.js';
import { Elements, epilogueOf } from './elements.js';
import { Frame, finishKernel } from './frame.js';
import { type Index, spaceOf, zero } from './indices.js';
import { blockBounds, gridLoops, rewriteStores, storeExpressions } from './nest.js';
import type { Region } from './region.js';
import { selectionNest } from './selection.js';

/** Elements added into one partial sum (four lanes each add a quarter of them). */
const SUM_BLOCK = 1024;
/** Rows added into one strip of partial sums. */
const ROW_BLOCK = 256;
/** Accumulators of a strip: 1 KiB, so that it stays beside the rows in the first-level cache. */
const STRIP = 256;
/** One cache line: the least that a strip of a large tensor is cut to, for more strips to share out. */
const LEAST_STRIP = 16;
const ENOUGH_STRIPS = 8;
const LARGE = 1 << 16;

export function lowerReduction(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  const body = reductionGroups(frame).flatMap((parts) =>
    isSelection(parts[0]) ? selectionNest(frame, parts[0]) : loopsOf(frame, sharedReductions(frame, parts)),
  );
  return finishKernel(frame, name, body);
}

/** Not a sum or maximum but a position, or elements at special places. */
export const isSelection = ({ anchor }: Region): boolean => anchor!.op === 'argmax' || anchor!.op === 'trace';

/** The parts of the region, those together that reduce the same axes of the same shape. */
export function reductionGroups(frame: Frame): Region[][] {
  const groups = new Map<string, Region[]>();
  for (const part of frame.parts()) {
    const { op, attrs, operands } = part.anchor!;
    const loops = op === 'reduce_sum' || op === 'reduce_max';
    const key = loops ? `${spaceOf(operands[0].type)}/${[...intsOf(attrs, 'axes')].sort()}` : `alone ${groups.size}`;
    const group = groups.get(key);
    if (group) group.push(part);
    else groups.set(key, [part]);
  }
  return [...groups.values()];
}

/** One reduction of a group: its element, its accumulator, and the stores that follow it. */
export interface Reduction {
  readonly sum: boolean;
  readonly type: 'f32' | 'i32';
  readonly value: Expr;
  /** Name by which the stores refer to the reduced element. */
  readonly result: string;
  readonly stores: readonly Stmt[];
}

export function initial(r: Reduction): Expr {
  if (r.sum) return r.type === 'f32' ? f32(0) : i32(0);
  return r.type === 'f32' ? f32(Number.NEGATIVE_INFINITY) : i32(-0x80000000);
}

export const merged = (r: Reduction, a: Expr, b: Expr): Expr => binary(r.sum ? 'add' : 'max', a, b);

function resultIndex(anchor: Node, index: Index): Index {
  const axes = intsOf(anchor.attrs, 'axes');
  if (flagOf(anchor.attrs, 'keep')) return index.map((e, d) => (axes.includes(d) ? zero : e));
  return index.filter((_, d) => !axes.includes(d));
}

/** Reductions that share their loops, over dimensions of which neighbours are joined where all of them allow it. */
export interface SharedReductions {
  readonly reductions: readonly Reduction[];
  readonly kept: readonly Dimension[];
  readonly reduced: readonly Dimension[];
  /** Whether neighbours in memory belong to different results. */
  readonly keptInnermost: boolean;
}

/** @param parts of one group, of sums and maxima */
export function sharedReductions(frame: Frame, parts: readonly Region[]): SharedReductions {
  const first = parts[0].anchor!;
  const axes = intsOf(first.attrs, 'axes');
  const dims: Dimension[] = [];
  const index = spaceOf(first.operands[0].type).map((extent, d): Expr => {
    if (extent === 1) return zero;
    const name = frame.fresh('i');
    dims.push({ name, extent, role: axes.includes(d) ? 'reduced' : 'kept' });
    return ref(name);
  });
  const plain = parts.map((part): Reduction => {
    const anchor = part.anchor!;
    const elements = new Elements(part, frame.parameters);
    const result = frame.fresh('r');
    return {
      sum: anchor.op === 'reduce_sum',
      type: anchor.results[0].type.dtype === 'i32' ? 'i32' : 'f32',
      value: elements.at(anchor.operands[0], index),
      result,
      stores: epilogueOf(part, elements)(resultIndex(anchor, index), ref(result)),
    };
  });
  const uses = plain.flatMap((r) => [r.value, ...storeExpressions(r.stores)]);
  const { dims: joined, rewrite } = collapse(dims, uses);
  const reductions = plain.map((r) => ({ ...r, value: rewrite(r.value), stores: rewriteStores(r.stores, rewrite) }));
  const kept = joined.filter((d) => d.role === 'kept');
  const reduced = joined.filter((d) => d.role === 'reduced');
  const innermost = joined[joined.length - 1];
  return { reductions, kept, reduced, keptInnermost: innermost?.role === 'kept' };
}

function loopsOf(frame: Frame, { reductions, kept, reduced, keptInnermost }: SharedReductions): Stmt[] {
  return keptInnermost && reduced.length > 0
    ? stripNest(frame, reductions, kept, reduced)
    : lanesNest(frame, reductions, kept, reduced);
}

export const bindResult = (r: Reduction, value: Expr): Stmt =>
  r.type === 'f32' ? letF(r.result, value) : { kind: 'let', name: r.result, type: 'i32', value };

/** The innermost dimension is reduced: lanes accumulate it, outer reduced dimensions run in order. */
function lanesNest(
  frame: Frame,
  reductions: readonly Reduction[],
  kept: readonly Dimension[],
  reduced: readonly Dimension[],
): Stmt[] {
  if (reduced.length === 0)
    return gridLoops(
      frame,
      kept,
      reductions.flatMap((r) => [bindResult(r, r.value), ...r.stores]),
    );
  const inner = reduced[reduced.length - 1];
  const outer = [...reduced.slice(0, -1)];
  let lo: Expr = zero;
  let hi: Expr = i32(inner.extent);
  if (inner.extent > SUM_BLOCK) {
    const block: Dimension = { name: frame.fresh('b'), extent: Math.ceil(inner.extent / SUM_BLOCK), role: 'reduced' };
    outer.push(block);
    ({ lo, hi } = blockBounds(ref(block.name), SUM_BLOCK, inner.extent));
  }
  const variable = (r: Reduction): { name: string; declare: Stmt } => {
    const name = frame.fresh('a');
    return { name, declare: { kind: 'var', name, type: r.type, value: initial(r) } };
  };
  const totals = reductions.map(variable);
  // Without outer loops the lanes add straight into the total.
  const rows = outer.length === 0 ? totals : reductions.map(variable);
  const accumulate = loop(
    'vector',
    inner.name,
    hi,
    reductions.map(
      (r, k): Stmt => ({ kind: 'accumulate', name: rows[k].name, op: r.sum ? 'add' : 'max', value: r.value }),
    ),
    lo,
  );
  let body: Stmt[] = [accumulate];
  if (outer.length > 0) {
    body = [
      ...rows.map((v) => v.declare),
      accumulate,
      ...reductions.map(
        (r, k): Stmt => ({
          kind: 'set',
          name: totals[k].name,
          value: merged(r, ref(totals[k].name), ref(rows[k].name)),
        }),
      ),
    ];
    for (const d of [...outer].reverse()) body = [loop('serial', d.name, d.extent, body)];
  }
  return gridLoops(frame, kept, [
    ...totals.map((v) => v.declare),
    ...body,
    ...reductions.flatMap((r, k) => [bindResult(r, ref(totals[k].name)), ...r.stores]),
  ]);
}

/** The innermost dimension is kept: a strip of accumulators, to which row after row is added. */
function stripNest(
  frame: Frame,
  reductions: readonly Reduction[],
  kept: readonly Dimension[],
  reduced: readonly Dimension[],
): Stmt[] {
  const inner = kept[kept.length - 1];
  const rowCount = product(reduced.map((d) => d.extent));
  const others = product(kept.slice(0, -1).map((d) => d.extent));
  const wanted =
    inner.extent * rowCount < LARGE || others >= ENOUGH_STRIPS
      ? STRIP
      : Math.ceil(inner.extent / ENOUGH_STRIPS / LEAST_STRIP) * LEAST_STRIP;
  const width = Math.min(STRIP, wanted);
  const blocks = Math.ceil(inner.extent / width);
  const block: Dimension = { name: frame.fresh('b'), extent: blocks, role: 'kept' };
  const whole = blocks === 1;
  const { lo, hi } = whole
    ? { lo: zero as Expr, hi: i32(inner.extent) as Expr }
    : blockBounds(ref(block.name), width, inner.extent);
  const size = Math.min(inner.extent, width);
  const place = sub(ref(inner.name), lo);
  const lanes = (body: readonly Stmt[]): Stmt => loop('vector', inner.name, hi, body, lo);
  const strip = (r: Reduction): { name: string; declare: Stmt } => {
    const name = frame.fresh('s');
    const type: KernelType = r.type;
    return { name, declare: { kind: 'alloc', name, space: 'group', type, size } };
  };
  const addTo = (strips: readonly { name: string }[], values: readonly Expr[]): Stmt =>
    lanes(reductions.map((r, k) => store(strips[k].name, place, merged(r, load(strips[k].name, place), values[k]))));
  const clear = (strips: readonly { name: string }[]): Stmt =>
    lanes(reductions.map((r, k) => store(strips[k].name, place, initial(r))));

  const totals = reductions.map(strip);
  const values = reductions.map((r) => r.value);
  const nested = (dims: readonly Dimension[], body: readonly Stmt[]): Stmt[] =>
    [...dims].reverse().reduce<Stmt[]>((b, d) => [loop('serial', d.name, d.extent, b)], [...body]);
  const last = reduced[reduced.length - 1];
  const blocked = rowCount > ROW_BLOCK && reductions.some((r) => r.sum);
  let sums: Stmt[];
  if (!blocked) sums = nested(reduced, [addTo(totals, values)]);
  else {
    const partial = reductions.map(strip);
    const rows: Dimension = { name: frame.fresh('b'), extent: Math.ceil(last.extent / ROW_BLOCK), role: 'reduced' };
    const bounds = blockBounds(ref(rows.name), ROW_BLOCK, last.extent);
    sums = nested(
      [...reduced.slice(0, -1), rows],
      [
        ...partial.map((p) => p.declare),
        clear(partial),
        loop('serial', last.name, bounds.hi, [addTo(partial, values)], bounds.lo),
        addTo(
          totals,
          partial.map((p) => load(p.name, place)),
        ),
      ],
    );
  }
  return gridLoops(frame, whole ? kept.slice(0, -1) : [...kept.slice(0, -1), block], [
    ...totals.map((t) => t.declare),
    clear(totals),
    ...sums,
    lanes(reductions.flatMap((r, k) => [bindResult(r, load(totals[k].name, place)), ...r.stores])),
  ]);
}
