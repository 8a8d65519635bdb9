/**
 * Blocks of the damped inverse. A diagonal one is inverted in group memory and in place, L^-1 of a positive definite matrix, by
 * Cholesky's steps: step j scales row j of what will be L^-1 and column j of L by the pivot's root, and takes their product off
 * the rows below. A bad pivot is replaced by 1 and remembered, so that no thread has to leave. And the product of two blocks.
 */
import {
  add,
  and,
  div,
  type Expr,
  eq,
  f32,
  i32,
  le,
  letI,
  load,
  loop,
  lt,
  mul,
  ref,
  rem,
  type Stmt,
  select,
  store,
  sub,
  unary,
} from '../../../ir/kernel.js';
import { when } from '../contraction-tile.js';
import { stagedSum } from './block-choice.js';

/** Rows and columns of a thread's tile. */
export const TILE = 4;

export const finite = (e: Expr): Expr => lt(unary('abs', e), f32(Number.POSITIVE_INFINITY));

export const groupArray = (name: string, type: 'f32' | 'i32', size: number): Stmt => ({
  kind: 'alloc',
  name,
  space: 'group',
  type,
  size,
});

export interface Block {
  /** Rows that memory is laid out for, and rows that there are: at most as many. */
  readonly rows: number;
  readonly m: Expr;
  /** Of the group array `w`. */
  readonly at: (row: Expr, col: Expr) => Expr;
  /** Whether `w` holds both triangles, of which the upper one becomes zero. */
  readonly square: boolean;
  /** The matrix, col <= row. */
  readonly element: (row: Expr, col: Expr) => Expr;
  /** Remembers a bad pivot. */
  readonly spoil: Stmt;
}

/** Further group arrays that `invertBlock` works in. */
export const blockArrays = (rows: number): Stmt[] => [
  groupArray('pivot', 'f32', 1),
  groupArray('factors', 'f32', rows),
];

/** Sets `w` to L^-1, L L^T the matrix. */
export function invertBlock({ rows, m, at, square, element, spoil }: Block): Stmt[] {
  const [e, j, row, col] = ['e', 'j', 'row', 'col'].map(ref);
  const lower = (body: (inside: Expr) => Stmt): Stmt =>
    loop('group', 'e', rows * rows, [
      letI('row', div(e, i32(rows))),
      letI('col', rem(e, i32(rows))),
      body(and(lt(row, m), le(col, row))),
    ]);
  const pivot = load('w', at(j, j));
  const good = and(lt(f32(0), pivot), finite(pivot));
  return [
    lower((inside) =>
      when(inside, [store('w', at(row, col), element(row, col))], square ? [store('w', at(row, col), f32(0))] : []),
    ),
    loop('serial', 'j', m, [
      store('pivot', i32(0), select(good, div(f32(1), unary('sqrt', pivot)), f32(1))),
      when(unary('not', good), [spoil]),
      loop('group', 'e', m, [
        store(
          'factors',
          e,
          mul(select(eq(e, j), f32(1), load('w', select(lt(e, j), at(j, e), at(e, j)))), load('pivot', i32(0))),
        ),
      ]),
      lower((inside) =>
        when(and(inside, le(j, row)), [
          store(
            'w',
            at(row, col),
            select(
              eq(row, j),
              load('factors', col),
              sub(select(eq(col, j), f32(0), load('w', at(row, col))), mul(load('factors', row), load('factors', col))),
            ),
          ),
        ]),
      ),
    ]),
  ];
}

/** Register `largest`: the largest magnitude that `value` takes for e in [0, count), NaN if one is. Each of `threads` threads looks at some. */
export function largestOf(threads: number, count: Expr, value: (e: Expr) => { value: Expr; inside?: Expr }): Stmt[] {
  const [t, e] = ['t', 'e'].map(ref);
  const { value: v, inside } = value(e);
  const update: Stmt = {
    kind: 'set',
    name: 'most',
    value: { kind: 'binary', op: 'max', a: ref('most'), b: unary('abs', v) },
  };
  return [
    loop('lane', 't', threads, [
      { kind: 'var', name: 'most', type: 'f32', value: f32(0) },
      loop('serial', 'e', count, [inside ? when(inside, [update]) : update], t, threads),
      store('seen', t, ref('most')),
    ]),
    { kind: 'var', name: 'largest', type: 'f32', value: f32(0) },
    loop('serial', 'e', threads, [
      { kind: 'set', name: 'largest', value: { kind: 'binary', op: 'max', a: ref('largest'), b: load('seen', e) } },
    ]),
  ];
}

/** A product of blocks: its width, and how many terms are staged in group memory at once. */
export interface Stages {
  readonly block: number;
  readonly depth: number;
}

export const stageArrays = ({ block, depth }: Stages): Stmt[] => [
  groupArray('a_block', 'f32', block * depth),
  groupArray('b_block', 'f32', block * depth),
];

export interface Factors {
  readonly a: (i: Expr, u: Expr) => Expr;
  readonly b: (j: Expr, u: Expr) => Expr;
  readonly each: (i: Expr, j: Expr, value: Expr) => Stmt[];
}

/** The product of two blocks, sum over u of a(i, u) b(j, u); `each` gets its elements (i, j). */
export function multiplyBlocks({ block, depth }: Stages, { a, b, each }: Factors): Stmt {
  const across = block / TILE;
  const [e, t, u0, row, col] = ['e', 't', 'u0', 'tile_row', 'tile_col'].map(ref);
  const stage = (memory: string, factor: (i: Expr, u: Expr) => Expr): Stmt =>
    loop('group', 'e', block * depth, [store(memory, e, factor(rem(e, i32(block)), add(u0, div(e, i32(block)))))]);
  return loop('lane', 't', across ** 2, [
    letI('tile_row', mul(div(t, i32(across)), i32(TILE))),
    letI('tile_col', mul(rem(t, i32(across)), i32(TILE))),
    ...stagedSum(
      { rows: block, cols: block, tile: TILE, depth },
      block,
      [stage('a_block', a), stage('b_block', b)],
      'u0',
    ),
    {
      kind: 'tileEach',
      tile: 'sums',
      row: 'r',
      col: 'c',
      element: 'sum',
      rowLimit: i32(TILE),
      colLimit: i32(TILE),
      body: each(add(row, ref('r')), add(col, ref('c')), ref('sum')),
    },
  ]);
}
