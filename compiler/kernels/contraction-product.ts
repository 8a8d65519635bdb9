/**
 * The blocked matrix product. A grid iteration owns a block of rows and columns of one matrix of the batch. For each stretch
 * of the inner dimension it packs its columns into panels as wide as a tile, so that every tile reads them contiguously, and
 * reads the rows where they lie (or packs them too, if they are computed by a fused prologue).
 */
import {
  add,
  div,
  type Expr,
  i32,
  le,
  letI,
  loop,
  min,
  mul,
  ref,
  rem,
  type Stmt,
  store,
  sub,
} from '../../ir/kernel.js';
import {
  alloc,
  ceilDiv,
  evenly,
  isFirst,
  roundUp,
  strips,
  type TileChoice,
  tileCols,
  tileShapes,
  tileTask,
} from './contraction-tile.js';

/** One factor: its element at (batch, i, k), where i is the row of the left factor, the column of the right one. */
export interface Factor {
  readonly at: (batch: Expr, i: Expr, k: Expr) => Expr;
  /** Set where the factor lies in memory: distance between neighbours in i and in k. */
  readonly memory?: {
    readonly name: string;
    readonly offset: (batch: Expr, i: Expr, k: Expr) => Expr;
    readonly i: number;
    readonly k: number;
  };
  /** Whether neighbours in k, rather than in i, are neighbours in memory. */
  readonly alongK: boolean;
}

/** `result[batch, m, n] = sum over k of a(batch, m, k) * b(batch, n, k)`. */
export interface Product {
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: Factor;
  readonly b: Factor;
  readonly finish: (batch: Expr, m: Expr, n: Expr, element: Expr) => Stmt[];
}

/** 4 x 8 reads less memory a product; 2 x 16 fits narrow remainders better. */
function chooseTile(p: Product, choice: Partial<TileChoice>): TileChoice {
  const shape = choice.mr ? undefined : p.m <= 2 && p.n > 8 ? tileShapes[1] : tileShapes[0];
  const mr = choice.mr ?? shape!.mr;
  const nr = choice.nr ?? shape!.nr;
  const kc = evenly(p.k, choice.kc ?? (p.k <= 1024 ? 1024 : 512), 1);
  // Columns packed by one grid iteration: up to 512 KiB, less where it leaves too few iterations.
  const most = Math.max(nr, roundUp(Math.floor(131072 / kc), nr));
  const nc = evenly(p.n, choice.nc ?? Math.min(most, Math.max(64, roundUp(ceilDiv(p.n, ceilDiv(8, p.batch)), nr))), nr);
  const mc = evenly(p.m, choice.mc ?? 512, mr);
  return { mr, nr, kc, mc, nc };
}

export function lowerProduct(p: Product, choice: Partial<TileChoice>): Stmt[] {
  const t = chooseTile(p, choice);
  const rowBlocks = ceilDiv(p.m, t.mc);
  const columnBlocks = ceilDiv(p.n, t.nc);
  const steps = ceilDiv(p.k, t.kc);
  const [batch, m0, n0, k0] = ['batch', 'm0', 'n0', 'k0'].map(ref);
  const rows = { lo: m0, hi: add(m0, i32(t.mc)), total: p.m, size: t.mr };
  const columns = { lo: n0, hi: add(n0, i32(t.nc)), total: p.n, size: t.nr };
  const depth = steps === 1 ? i32(p.k) : ref('depth');

  // columnPanels[(n - n0) / nr][k][nr], rowPanels[(m - m0) / mr][k][mr]
  const columnPanel = (n: Expr): Expr => mul(sub(n, n0), i32(t.kc));
  const rowPanel = (m: Expr): Expr => mul(sub(m, m0), i32(t.kc));
  const pack = (memory: string, factor: Factor, base: Expr, at: Expr, count: number, width: number): Stmt[] => {
    const [k, j] = [ref('k'), ref('j')];
    const move = store(memory, add(add(base, mul(k, i32(width))), j), factor.at(batch, add(at, j), add(k0, k)));
    const rest = width - count;
    const zeros: Stmt[] =
      rest > 0
        ? [
            loop('serial', 'k', depth, [
              loop(
                'serial',
                'j',
                width,
                [store(memory, add(add(base, mul(k, i32(width))), j), { kind: 'const', type: 'f32', value: 0 })],
                count,
              ),
            ]),
          ]
        : [];
    const moves = factor.alongK
      ? loop('serial', 'j', count, [loop('vector', 'k', depth, [move])])
      : loop('serial', 'k', depth, [loop('vector', 'j', count, [move])]);
    return [moves, ...zeros];
  };

  const packedRows = p.a.memory === undefined;
  const task = (m: Expr, mCount: number, n: Expr, nCount: number): Stmt[] =>
    tileTask({
      rows: mCount,
      cols: tileCols(nCount, t.nr),
      sum: (tile) => [
        {
          kind: 'tileMma',
          tile,
          operand: 'f32',
          depth,
          a: p.a.memory
            ? {
                memory: p.a.memory.name,
                index: p.a.memory.offset(batch, m, k0),
                row: p.a.memory.i,
                depth: p.a.memory.k,
              }
            : { memory: 'rowPanels', index: rowPanel(m), row: 1, depth: t.mr },
          b: { memory: 'columnPanels', index: columnPanel(n), depth: t.nr, col: 1 },
        },
      ],
      partial:
        steps === 1
          ? undefined
          : {
              memory: 'sums',
              index: add(mul(sub(m, m0), i32(t.nc)), mul(sub(n, n0), i32(t.mr))),
              first: isFirst(k0),
              last: le(i32(p.k), add(k0, i32(t.kc))),
            },
      rowLimit: i32(mCount),
      colLimit: i32(nCount),
      each: (row, col, element) => p.finish(batch, add(m, row), add(n, col), element),
    });

  const step: Stmt[] = [
    ...strips('group', 'n', columns, (n, count) => pack('columnPanels', p.b, columnPanel(n), n, count, t.nr)),
    ...(packedRows
      ? strips('group', 'm', rows, (m, count) => pack('rowPanels', p.a, rowPanel(m), m, count, t.mr))
      : []),
    ...strips('lane', 'n', columns, (n, nCount) =>
      strips('lane', 'm', rows, (m, mCount) => task(m, mCount, n, nCount)),
    ),
  ];
  const block = ref('block');
  return [
    loop('grid', 'block', p.batch * columnBlocks * rowBlocks, [
      letI('batch', p.batch === 1 ? i32(0) : div(block, i32(columnBlocks * rowBlocks))),
      letI('n0', mul(rem(div(block, i32(rowBlocks)), i32(columnBlocks)), i32(t.nc))),
      letI('m0', mul(rem(block, i32(rowBlocks)), i32(t.mc))),
      alloc('columnPanels', t.kc * t.nc),
      ...(packedRows ? [alloc('rowPanels', t.kc * t.mc)] : []),
      ...(steps > 1
        ? [
            alloc('sums', t.mc * t.nc),
            loop('serial', 'k0', p.k, [letI('depth', min(i32(t.kc), sub(i32(p.k), k0))), ...step], 0, t.kc),
          ]
        : [letI('k0', i32(0)), ...step]),
    ]),
  ];
}
