/**
 * Damped inverses for a GPU: (X + shift I)^-1 of packed symmetric matrices, a workgroup for each. The same sweep as on a CPU
 * (routine-inverse.ts): step k inverts a diagonal block in group memory, W = L_kk^-1, makes the block row R of W times what
 * stands beside and below, and adds or subtracts R^T R. The matrix rests in scratch memory. An attempt that failed is
 * repeated with ten times the shift.
 */
import {
  add,
  and,
  div,
  type Expr,
  eq,
  f32,
  i32,
  type Kernel,
  type KernelParam,
  le,
  letF,
  letI,
  load,
  loop,
  lt,
  min,
  mul,
  ref,
  rem,
  type Stmt,
  select,
  store,
  sub,
} from '../../../ir/kernel.js';
import { roundUp, when } from '../contraction-tile.js';
import type { Region } from '../region.js';
import { InverseBatch } from './inverse-batch.js';
import { blockArrays, finite, groupArray, invertBlock, largestOf, TILE } from './inverse-block.js';
import { THREADS } from './reduction.js';
import { triangular } from './triangle.js';

/** Columns eliminated at once. */
const BLOCK = 32;

/** Elements of scratch memory, about, that each matrix of a batch needs whose widest one is so wide. */
export const narrowScratch = (widest: number): number => roundUp(widest, TILE) * (roundUp(widest, TILE) + BLOCK);

/** @param block columns eliminated at once, a multiple of 4 up to 32 */
export function lowerInverse(region: Region, name: string, block = BLOCK): Kernel {
  return lowerNarrowInverses(new InverseBatch([region], false), name, block);
}

/** All matrices of the batch in one dispatch. */
export function lowerNarrowInverses(batch: InverseBatch, name: string, block = BLOCK): Kernel {
  const { statistics, matrices, retries } = batch;
  const paddedOf = statistics.map((s) => roundUp(s.width, TILE));
  const ld = Math.max(...paddedOf);
  const matrix = ref('matrix');
  const [padded, width, i, j] = ['padded', 'width', 'i', 'j'].map(ref);
  const work = (row: Expr, col: Expr): Expr => add(mul(matrix, i32(ld * ld)), add(mul(row, i32(ld)), col));
  const panel = (u: Expr, at: Expr): Expr => add(mul(matrix, i32(block * ld)), add(mul(u, i32(ld)), at));
  const packed = add(div(mul(i, add(i, i32(1))), i32(2)), j);
  /** Threads share the elements (i, j <= i) of the lower triangle. */
  const lower = (extent: Expr, body: readonly Stmt[]): Stmt =>
    loop('group', 'e', mul(extent, extent), [
      letI('i', div(ref('e'), extent)),
      letI('j', rem(ref('e'), extent)),
      when(le(j, i), body),
    ]);
  const damping = load('shifts', i32(0));
  const fill = batch.cases(matrix, (s, local) => [
    lower(padded, [
      when(
        lt(i, width),
        [store('work', work(i, j), add(s.element(local, packed), select(eq(i, j), damping, f32(0))))],
        [store('work', work(i, j), select(eq(i, j), f32(1), f32(0)))],
      ),
    ]),
  ]);
  const attempt: Stmt[] = [
    store('flags', i32(1), select(finite(damping), i32(0), i32(1))),
    ...fill,
    loop(
      'serial',
      'k0',
      padded,
      [
        letI('m', min(i32(block), sub(padded, ref('k0')))),
        letI('end', add(ref('k0'), ref('m'))),
        ...invertBlock({
          rows: block,
          m: ref('m'),
          at: (row, col) => add(mul(row, i32(block)), col),
          square: true,
          element: (row, col) => load('work', work(add(ref('k0'), row), add(ref('k0'), col))),
          spoil: store('flags', i32(1), i32(1)),
        }),
        blockRow(block, ld, work, panel),
        update(ld, work, panel),
      ],
      0,
      block,
    ),
    ...largestOf(THREADS, mul(padded, padded), (e) => {
      const [row, col] = [div(e, padded), rem(e, padded)];
      return { value: load('work', work(row, col)), inside: le(col, row) };
    }),
    when(
      and(eq(load('flags', i32(1)), i32(0)), lt(ref('largest'), f32(Number.POSITIVE_INFINITY))),
      [store('flags', i32(0), i32(1))],
      [
        store('shifts', i32(1), add(load('shifts', i32(1)), f32(1))),
        store('shifts', i32(0), mul(load('shifts', i32(0)), f32(10))),
      ],
    ),
  ];
  const done = eq(ref('done'), i32(1));
  const give = batch.cases(matrix, (s, local) => {
    if (s.inverse === undefined) return [];
    const value = select(done, load('work', work(i, j)), s.previous(local, packed));
    return [lower(width, [store(s.inverse, add(mul(local, i32((s.width * (s.width + 1)) / 2)), packed), value)])];
  });
  const invert: Stmt[] = [
    store('flags', i32(0), i32(0)),
    store('shifts', i32(1), f32(0)),
    ...batch.cases(matrix, (s, local) => [store('shifts', i32(0), s.shift(local))]),
    loop('serial', 'attempt', retries + 1, [
      letI('solved', load('flags', i32(0))),
      when(eq(ref('solved'), i32(0)), attempt),
    ]),
    letI('done', load('flags', i32(0))),
    ...give,
    ...batch.cases(matrix, (s, local) =>
      s.failures === undefined ? [] : [store(s.failures, local, load('shifts', i32(1)))],
    ),
  ];
  const body: Stmt[] = [
    groupArray('flags', 'i32', 3),
    groupArray('shifts', 'f32', 2),
    groupArray('seen', 'f32', THREADS),
    groupArray('w', 'f32', block * block),
    ...blockArrays(block),
    letI(
      'width',
      batch.chooseBy(
        matrix,
        statistics.map((s) => s.width),
      ),
    ),
    letI('padded', batch.chooseBy(matrix, paddedOf)),
    store('flags', i32(2), batch.due(matrix)),
    letI('due_now', load('flags', i32(2))),
    when(eq(ref('due_now'), i32(1)), invert),
  ];
  const scratch: KernelParam[] = [
    { name: 'work', type: 'f32', access: 'readwrite', length: matrices * ld * ld },
    { name: 'panels', type: 'f32', access: 'readwrite', length: matrices * block * ld },
  ];
  return batch.kernel(name, [loop('grid', 'matrix', matrices, body)], scratch, {
    workgroup: THREADS,
    flops: batch.flops,
  });
}

type Place = (i: Expr, j: Expr) => Expr;

/** panels = R: w times the columns of block row k, those of the rows below transposed; w itself in block k. */
function blockRow(block: number, ld: number, work: Place, panel: Place): Stmt {
  const [p, k0, m, end, padded, t0, i0, row, col] = ['p', 'k0', 'm', 'end', 'padded', 't0', 'i0', 'row', 'col'].map(
    ref,
  );
  const across = div(padded, i32(TILE));
  const w = (r: Expr, c: Expr): Expr => add(mul(r, i32(block)), c);
  const times = (b: { readonly index: Expr; readonly depth: number; readonly col: number }): Stmt[] => [
    { kind: 'tileZero', tile: 'rows', rows: TILE, cols: TILE, accumulator: 'f32' },
    {
      kind: 'tileMma',
      tile: 'rows',
      operand: 'f32',
      depth: m,
      a: { memory: 'w', index: w(t0, i32(0)), row: block, depth: 1 },
      b: { memory: 'work', ...b },
    },
    { kind: 'tileStore', tile: 'rows', memory: 'panels', index: panel(t0, i0), row: i32(ld), col: 1 },
  ];
  return loop('group', 'p', mul(div(m, i32(TILE)), across), [
    letI('t0', mul(div(p, across), i32(TILE))),
    letI('i0', mul(rem(p, across), i32(TILE))),
    when(lt(i0, k0), times({ index: work(k0, i0), depth: ld, col: 1 }), [
      when(lt(i0, end), copy(), times({ index: work(i0, k0), depth: 1, col: ld })),
    ]),
  ]);
  function copy(): Stmt[] {
    const from = w(add(t0, row), add(sub(i0, k0), col));
    return [
      loop('serial', 'row', TILE, [
        loop('serial', 'col', TILE, [store('panels', panel(add(t0, row), add(i0, col)), load('w', from))]),
      ]),
    ];
  }
}

/** work += R^T R on and left of block k, -= below it; rows and columns of block k begin at zero. */
function update(ld: number, work: Place, panel: Place): Stmt {
  const [k0, m, end, i0, j0, row, col] = ['k0', 'm', 'end', 'i0', 'j0', 'row', 'col'].map(ref);
  const tiles = div(ref('padded'), i32(TILE));
  const inBlock = (at: Expr): Expr => and(le(k0, at), lt(at, end));
  const old: Expr = {
    kind: 'loadIf',
    cond: { kind: 'unary', op: 'not', a: ref('fresh') },
    memory: 'work',
    index: work(add(i0, row), add(j0, col)),
    otherwise: 0,
  };
  return loop('group', 'p', div(mul(tiles, add(tiles, i32(1))), i32(2)), [
    ...triangular(ref('p'), 'ti', 'tj'),
    letI('i0', mul(ref('ti'), i32(TILE))),
    letI('j0', mul(ref('tj'), i32(TILE))),
    { kind: 'tileZero', tile: 'tile', rows: TILE, cols: TILE, accumulator: 'f32' },
    {
      kind: 'tileMma',
      tile: 'tile',
      operand: 'f32',
      depth: m,
      a: { memory: 'panels', index: panel(i32(0), i0), row: 1, depth: ld },
      b: { memory: 'panels', index: panel(i32(0), j0), depth: ld, col: 1 },
    },
    letF('sign', select(lt(i0, end), f32(1), f32(-1))),
    {
      kind: 'let',
      name: 'fresh',
      type: 'bool',
      value: { kind: 'binary', op: 'or', a: inBlock(i0), b: inBlock(j0) },
    },
    {
      kind: 'tileEach',
      tile: 'tile',
      row: 'row',
      col: 'col',
      element: 'element',
      rowLimit: i32(TILE),
      colLimit: i32(TILE),
      body: [store('work', work(add(i0, row), add(j0, col)), add(old, mul(ref('sign'), ref('element'))))],
    },
  ]);
}
