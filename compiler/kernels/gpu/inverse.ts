/**
 * The damped inverse for a GPU: (X + shift I)^-1 of packed symmetric matrices, a workgroup for each. The same sweep as on a CPU
 * (routine-inverse.ts): step k factors a diagonal block in group memory, W = L_kk^-1, makes the block row R of W times what
 * stands beside and below, and adds or subtracts R^T R. The matrix rests in scratch memory. A bad pivot is replaced by 1 and
 * remembered, so that no thread has to leave; an attempt that failed is repeated with ten times the shift.
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
  max,
  min,
  mul,
  ref,
  rem,
  type Stmt,
  select,
  store,
  sub,
  unary,
} from '../../../ir/kernel.js';
import { numberOf } from '../../../ir/ops/declare.js';
import { concrete, product } from '../../../ir/types.js';
import { roundUp, when } from '../contraction-tile.js';
import { Elements } from '../elements.js';
import { Frame, finishKernel } from '../frame.js';
import { unflatten } from '../indices.js';
import type { Region } from '../region.js';
import { THREADS } from './reduction.js';
import { triangular } from './triangle.js';

/** Rows and columns of a thread's tile. */
const TILE = 4;
/** Columns eliminated at once: two blocks of that many squared fit the smallest group memory. */
const BLOCK = 32;

const finite = (e: Expr): Expr => lt(unary('abs', e), f32(Number.POSITIVE_INFINITY));
const single = (name: string, type: 'f32' | 'i32', size: number): Stmt => ({
  kind: 'alloc',
  name,
  space: 'group',
  type,
  size,
});

/** @param block columns eliminated at once, a multiple of 4 up to 32 */
export function lowerInverse(region: Region, name: string, block = BLOCK): Kernel {
  const anchor = region.anchor!;
  const frame = new Frame(region);
  const elements = new Elements(region, frame.parameters);
  const [x, shift, previous] = anchor.operands;
  const [inverse, failures] = anchor.results;
  const shape = concrete(x.type.shape);
  const batch = product(shape.slice(0, -2));
  const n = shape[shape.length - 1];
  const size = (n * (n + 1)) / 2;
  const padded = roundUp(n, TILE);
  const retries = numberOf(anchor.attrs, 'retries');
  const matrix = ref('matrix');

  const work = (i: Expr, j: Expr): Expr => add(mul(matrix, i32(padded * padded)), add(mul(i, i32(padded)), j));
  const panel = (u: Expr, i: Expr): Expr => add(mul(matrix, i32(block * padded)), add(mul(u, i32(padded)), i));
  const packed = (i: Expr, j: Expr): Expr => add(add(mul(matrix, i32(size)), div(mul(i, add(i, i32(1))), i32(2))), j);
  const [i, j] = [ref('i'), ref('j')];
  /** Threads share the elements (i, j <= i) of the lower triangle. */
  const lower = (extent: number, body: readonly Stmt[]): Stmt =>
    loop('group', 'e', extent * extent, [
      letI('i', div(ref('e'), i32(extent))),
      letI('j', rem(ref('e'), i32(extent))),
      when(le(j, i), body),
    ]);

  const damping = load('shifts', i32(0));
  const fill = lower(padded, [
    padded === n
      ? store('work', work(i, j), element())
      : when(
          lt(i, i32(n)),
          [store('work', work(i, j), element())],
          [store('work', work(i, j), select(eq(i, j), f32(1), f32(0)))],
        ),
  ]);
  function element(): Expr {
    const e = elements.at(x, [packed(i, j)]);
    return select(eq(i, j), add(e, damping), e);
  }

  const attempt: Stmt[] = [
    store('flags', i32(1), select(finite(damping), i32(0), i32(1))),
    fill,
    loop(
      'serial',
      'k0',
      padded,
      [
        letI('m', min(i32(block), sub(i32(padded), ref('k0')))),
        letI('end', add(ref('k0'), ref('m'))),
        ...factorBlock(block, work),
        ...invertBlock(block),
        ...blockRow(block, padded, work, panel),
        update(padded, work, panel),
      ],
      0,
      block,
    ),
    ...largest(padded, work),
    when(
      and(eq(load('flags', i32(1)), i32(0)), lt(ref('largest'), f32(Number.POSITIVE_INFINITY))),
      [store('flags', i32(0), i32(1))],
      [
        store('shifts', i32(1), add(load('shifts', i32(1)), f32(1))),
        store('shifts', i32(0), mul(load('shifts', i32(0)), f32(10))),
      ],
    ),
  ];
  const out = region.outputs.includes(inverse) ? elements.memory(inverse) : undefined;
  const failed = region.outputs.includes(failures) ? elements.memory(failures) : undefined;
  const body: Stmt[] = [
    single('flags', 'i32', 2),
    single('shifts', 'f32', 2),
    single('pivot', 'f32', 1),
    single('seen', 'f32', THREADS),
    single('d', 'f32', block * block),
    single('w', 'f32', block * block),
    store('flags', i32(0), i32(0)),
    store('shifts', i32(0), elements.at(shift, unflatten(matrix, shape.slice(0, -2)))),
    store('shifts', i32(1), f32(0)),
    loop('serial', 'attempt', retries + 1, [
      letI('solved', load('flags', i32(0))),
      when(eq(ref('solved'), i32(0)), attempt),
    ]),
    letI('done', load('flags', i32(0))),
    ...(out === undefined
      ? []
      : [
          when(
            eq(ref('done'), i32(1)),
            [lower(n, [store(out, packed(i, j), load('work', work(i, j)))])],
            [lower(n, [store(out, packed(i, j), elements.at(previous, [packed(i, j)]))])],
          ),
        ]),
    ...(failed === undefined ? [] : [store(failed, matrix, load('shifts', i32(1)))]),
  ];
  const scratch: KernelParam[] = [
    { name: 'work', type: 'f32', access: 'readwrite', length: batch * padded * padded },
    { name: 'panels', type: 'f32', access: 'readwrite', length: batch * block * padded },
  ];
  return finishKernel(frame, name, [loop('grid', 'matrix', batch, body)], { workgroup: THREADS, scratch });
}

type Place = (i: Expr, j: Expr) => Expr;

/** d = L of the diagonal block. */
function factorBlock(block: number, work: Place): Stmt[] {
  const [k0, m, e, r, c, j] = ['k0', 'm', 'e', 'r', 'c', 'j'].map(ref);
  const d = (row: Expr, col: Expr): Expr => add(mul(row, i32(block)), col);
  const elementsOf = (body: readonly Stmt[]): Stmt =>
    loop('group', 'e', block * block, [letI('r', div(e, i32(block))), letI('c', rem(e, i32(block))), ...body]);
  const good = and(lt(f32(0), load('d', d(j, j))), finite(load('d', d(j, j))));
  return [
    elementsOf([when(and(lt(r, m), le(c, r)), [store('d', e, load('work', work(add(k0, r), add(k0, c))))])]),
    loop('serial', 'j', m, [
      store('pivot', i32(0), select(good, unary('sqrt', load('d', d(j, j))), f32(1))),
      when(unary('not', good), [store('flags', i32(1), i32(1))]),
      store('d', d(j, j), load('pivot', i32(0))),
      loop('group', 'r', m, [store('d', d(r, j), div(load('d', d(r, j)), load('pivot', i32(0))))], add(j, i32(1))),
      elementsOf([
        when(and(and(lt(j, c), le(c, r)), lt(r, m)), [
          store('d', e, sub(load('d', e), mul(load('d', d(r, j)), load('d', d(c, j))))),
        ]),
      ]),
    ]),
  ];
}

/** w = d^-1, a thread for each column. */
function invertBlock(block: number): Stmt[] {
  const [m, c, r, u] = ['m', 'c', 'r', 'u'].map(ref);
  const at = (row: Expr, col: Expr): Expr => add(mul(row, i32(block)), col);
  return [
    loop('lane', 'c', m, [
      loop('serial', 'r', m, [
        { kind: 'var', name: 'sum', type: 'f32', value: select(eq(r, c), f32(1), f32(0)) },
        loop(
          'serial',
          'u',
          r,
          [
            {
              kind: 'accumulate',
              name: 'sum',
              op: 'add',
              value: unary('neg', mul(load('d', at(r, u)), load('w', at(u, c)))),
            },
          ],
          c,
        ),
        store('w', at(r, c), select(lt(r, c), f32(0), div(ref('sum'), load('d', at(r, r))))),
      ]),
    ]),
  ];
}

/** panels = R: w times the columns of block row k, those of the rows below transposed; w itself in block k. */
function blockRow(block: number, padded: number, work: Place, panel: Place): Stmt[] {
  const [k0, m, end, i, t, u] = ['k0', 'm', 'end', 'i', 't', 'u'].map(ref);
  const w = (row: Expr, col: Expr): Expr => load('w', add(mul(row, i32(block)), col));
  const product = (before: (u: Expr) => Expr): Stmt[] => [
    { kind: 'alloc', name: 'before', space: 'register', type: 'f32', size: block },
    loop('serial', 'u', m, [store('before', u, load('work', before(u)))]),
    loop('serial', 't', m, [
      { kind: 'var', name: 'sum', type: 'f32', value: f32(0) },
      loop('serial', 'u', add(t, i32(1)), [
        { kind: 'accumulate', name: 'sum', op: 'add', value: mul(w(t, u), load('before', u)) },
      ]),
      store('panels', panel(t, i), ref('sum')),
    ]),
  ];
  const columns = (lo: Expr, hi: Expr, body: readonly Stmt[]): Stmt => loop('group', 'i', hi, body, lo);
  return [
    columns(
      i32(0),
      k0,
      product((row) => work(add(k0, row), i)),
    ),
    columns(k0, end, [loop('serial', 't', m, [store('panels', panel(t, i), w(t, sub(i, k0)))])]),
    columns(
      end,
      i32(padded),
      product((row) => work(i, add(k0, row))),
    ),
  ];
}

/** work += R^T R on and left of block k, -= below it; rows and columns of block k begin at zero. */
function update(padded: number, work: Place, panel: Place): Stmt {
  const [k0, m, end, i0, j0, row, col] = ['k0', 'm', 'end', 'i0', 'j0', 'row', 'col'].map(ref);
  const tiles = padded / TILE;
  const inBlock = (at: Expr): Expr => and(le(k0, at), lt(at, end));
  const old: Expr = {
    kind: 'loadIf',
    cond: unary('not', ref('fresh')),
    memory: 'work',
    index: work(add(i0, row), add(j0, col)),
    otherwise: 0,
  };
  return loop('group', 'p', (tiles * (tiles + 1)) / 2, [
    ...triangular(ref('p'), 'ti', 'tj'),
    letI('i0', mul(ref('ti'), i32(TILE))),
    letI('j0', mul(ref('tj'), i32(TILE))),
    { kind: 'tileZero', tile: 'tile', rows: TILE, cols: TILE, accumulator: 'f32' },
    {
      kind: 'tileMma',
      tile: 'tile',
      operand: 'f32',
      depth: m,
      a: { memory: 'panels', index: panel(i32(0), i0), row: 1, depth: padded },
      b: { memory: 'panels', index: panel(i32(0), j0), depth: padded, col: 1 },
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

/** Register `largest`: the largest magnitude of the lower triangle, NaN if there is one. */
function largest(padded: number, work: Place): Stmt[] {
  const [t, e, i, j] = ['t', 'e', 'i', 'j'].map(ref);
  const value = unary('abs', load('work', work(i, j)));
  return [
    loop('lane', 't', THREADS, [
      { kind: 'var', name: 'most', type: 'f32', value: f32(0) },
      loop(
        'serial',
        'e',
        padded * padded,
        [
          letI('i', div(e, i32(padded))),
          letI('j', rem(e, i32(padded))),
          when(le(j, i), [{ kind: 'set', name: 'most', value: max(ref('most'), value) }]),
        ],
        t,
        THREADS,
      ),
      store('seen', t, ref('most')),
    ]),
    { kind: 'var', name: 'largest', type: 'f32', value: f32(0) },
    loop('serial', 'e', THREADS, [{ kind: 'set', name: 'largest', value: max(ref('largest'), load('seen', e)) }]),
  ];
}
