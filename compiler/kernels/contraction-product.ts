/**
 * The blocked matrix product. A grid iteration owns a block of rows and columns of one matrix of the batch, or of some that have
 * their rows in common. For each stretch of the inner dimension it packs its columns into panels as wide as a tile, so that every
 * tile reads them contiguously. Rows are read where they lie, unless they are computed by a fused prologue, or enough columns
 * share the work of packing them too.
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
  /** Whether all matrices of the batch have the left factor in common. */
  readonly commonRows?: boolean;
  readonly finish: (batch: Expr, m: Expr, n: Expr, element: Expr) => Stmt[];
}

const zero: Expr = { kind: 'const', type: 'f32', value: 0 };
/** Stretch of k that is packed for all panels before the next one. */
const AT_ONCE = 8;

/** Columns that make it worth packing rows whose neighbours in k lie apart; a sum that makes it worth packing any rows. */
const MANY_COLUMNS = 48;
const LONG_SUM = 1024;
/** Columns, of several matrices, that go by packed rows which they have in common; and rows that are packed for them at once. */
const COMMON_COLUMNS = 192;
const PACKED_ROWS = 256;
/** Grid iterations that are worth having, and rows of one that are worth packing columns for. */
const ENOUGH = 8;
const LEAST_ROWS = 128;
/**
 * Depth up to which all columns go by before the next rows: results, and what an epilogue reads beside them, are then walked along
 * memory, which is more of the work the shorter the sums are.
 */
const SHORT_SUM = 256;
/** Depth up to which two panels of columns lie in a first-level cache at once, so that a panel of rows is fetched for both. */
const TWO_PANELS = 512;
/** Elements of a block of rows, which goes by once for every pass of columns: half a second-level cache. */
const ROWS_AT_ONCE = 256 * 1024;

/**
 * A long sum over many rows and columns takes its inner dimension in short stretches, so that blocks can be wide and high: each
 * packed element then goes by twice as much, and both panels lie in a second-level cache.
 */
const LARGE = { depth: 256, width: 512, least: 512 };

interface Blocks extends TileChoice {
  readonly packedRows: boolean;
  /** Columns that go by before the next rows. */
  readonly pass: number;
  /** Matrices of one grid iteration. */
  readonly matrices: number;
}

/** 4 x 8 reads less memory a product; 2 x 16 fits narrow remainders better. */
function chooseBlocks(p: Product, choice: Partial<TileChoice>): Blocks {
  const shape = choice.mr ? undefined : p.m <= 2 && p.n > 8 ? tileShapes[1] : tileShapes[0];
  const mr = choice.mr ?? shape!.mr;
  const nr = choice.nr ?? shape!.nr;
  const most = Math.floor((p.batch * ceilDiv(p.m, PACKED_ROWS)) / ENOUGH);
  const matrices = p.commonRows && !p.a.alongK ? Math.max(1, Math.min(p.batch, most, ceilDiv(COMMON_COLUMNS, p.n))) : 1;
  const worthPacking = p.n * matrices >= MANY_COLUMNS && p.m > mr && (!p.a.alongK || (p.k > LONG_SUM && p.n >= 256));
  const packedRows = p.a.memory === undefined || worthPacking;
  const blocks = (mc: number, nc: number): number => ceilDiv(p.batch, matrices) * ceilDiv(p.m, mc) * ceilDiv(p.n, nc);
  const wide = p.k > LARGE.least && p.n >= LARGE.width && blocks(PACKED_ROWS, LARGE.width) >= ENOUGH;
  const high = wide && p.m >= LARGE.width && blocks(LARGE.width, LARGE.width) >= ENOUGH;
  const stretch = wide ? LARGE.depth : p.k <= LONG_SUM && !worthPacking ? LONG_SUM : 512;
  const kc = evenly(p.k, choice.kc ?? stretch, 1);
  // Columns packed by one grid iteration: up to 512 KiB, less where it leaves too few iterations. Rows that are packed in each of
  // them want more of them.
  const share = roundUp(ceilDiv(p.n, ceilDiv(ENOUGH, p.batch)), nr);
  const fitting = Math.max(nr, roundUp(Math.floor(131072 / kc), nr));
  const columns = wide ? LARGE.width : worthPacking ? 256 : 64;
  const nc = evenly(p.n, choice.nc ?? Math.min(fitting, Math.max(columns, share)), nr);
  const rows = high ? LARGE.width : worthPacking ? PACKED_ROWS : Math.min(512, Math.floor(ROWS_AT_ONCE / kc));
  const rowShare = ceilDiv(p.m, ceilDiv(ENOUGH, ceilDiv(p.batch, matrices) * ceilDiv(p.n, nc)));
  const mc = evenly(p.m, choice.mc ?? Math.min(rows, Math.max(LEAST_ROWS, rowShare)), mr);
  const pass = kc <= SHORT_SUM ? nc : kc <= TWO_PANELS ? 2 * nr : nr;
  return { mr, nr, kc, mc, nc, packedRows, pass, matrices };
}

export function lowerProduct(p: Product, choice: Partial<TileChoice>): Stmt[] {
  const t = chooseBlocks(p, choice);
  const rowBlocks = ceilDiv(p.m, t.mc);
  const columnBlocks = ceilDiv(p.n, t.nc);
  const steps = ceilDiv(p.k, t.kc);
  const batchBlocks = ceilDiv(p.batch, t.matrices);
  const [batch, m0, n0, k0] = ['batch', 'm0', 'n0', 'k0'].map(ref);
  /** The first matrix of an iteration. */
  const first = t.matrices === 1 ? batch : ref('first');
  const rows = { lo: m0, hi: add(m0, i32(t.mc)), total: p.m, size: t.mr };
  const columns = { lo: n0, hi: add(n0, i32(t.nc)), total: p.n, size: t.nr };
  const depth = steps === 1 ? i32(p.k) : ref('depth');

  // columnPanels[(n - n0) / nr][k][nr], rowPanels[(m - m0) / mr][k][mr]
  const columnPanel = (n: Expr): Expr => mul(sub(n, n0), i32(t.kc));
  const rowPanel = (m: Expr): Expr => mul(sub(m, m0), i32(t.kc));
  /** Copies a range of a factor's columns (or rows) into panels of `width`, each with its own stretch of k side by side. */
  const pack = (
    memory: string,
    factor: Factor,
    matrix: Expr,
    range: typeof columns,
    panel: (at: Expr) => Expr,
    name: string,
  ): Stmt[] => {
    const k = ref('k');
    const width = range.size;
    const move = (at: Expr, j: Expr): Stmt =>
      store(memory, add(add(panel(at), mul(k, i32(width))), j), factor.at(matrix, add(at, j), add(k0, k)));
    const rest = (at: Expr, count: number): Stmt[] =>
      count === width
        ? []
        : [
            loop('serial', 'k', depth, [
              loop(
                'serial',
                'j',
                width,
                [store(memory, add(add(panel(at), mul(k, i32(width))), ref('j')), zero)],
                count,
              ),
            ]),
          ];
    if (factor.alongK)
      return strips('group', name, range, (at, count) => [
        factor.memory
          ? loop(
              'vector',
              'k',
              depth,
              Array.from({ length: count }, (_, j) => move(at, i32(j))),
            )
          : loop('serial', 'j', count, [loop('vector', 'k', depth, [move(at, ref('j'))])]),
        ...rest(at, count),
      ]);
    // Some k at a time, so that the cache line that two panels share is there for the second one.
    const few = { lo: ref('kk'), hi: min(depth, add(ref('kk'), i32(AT_ONCE))) };
    return [
      loop(
        'group',
        'kk',
        depth,
        strips('group', name, range, (at, count) => [
          loop('serial', 'k', few.hi, [loop('vector', 'j', count, [move(at, ref('j'))])], few.lo),
        ]),
        0,
        AT_ONCE,
      ),
      ...strips('group', name, range, (at, count) => rest(at, count)),
    ];
  };

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
          a: t.packedRows
            ? { memory: 'rowPanels', index: rowPanel(m), row: 1, depth: t.mr }
            : {
                memory: p.a.memory!.name,
                index: p.a.memory!.offset(batch, m, k0),
                row: p.a.memory!.i,
                depth: p.a.memory!.k,
              },
          b: { memory: 'columnPanels', index: columnPanel(n), depth: t.nr, col: 1 },
        },
      ],
      partial:
        steps === 1
          ? undefined
          : {
              memory: 'sums',
              index: add(
                t.matrices === 1 ? i32(0) : mul(sub(batch, first), i32(t.mc * t.nc)),
                add(mul(sub(m, m0), i32(t.nc)), mul(sub(n, n0), i32(t.mr))),
              ),
              first: isFirst(k0),
              last: le(i32(p.k), add(k0, i32(t.kc))),
            },
      rowLimit: i32(mCount),
      colLimit: i32(nCount),
      each: (row, col, element) => p.finish(batch, add(m, row), add(n, col), element),
    });

  /** All rows with the columns from `lo` on that a first-level cache keeps. */
  const pass = (lo: Expr): Stmt[] => {
    const hi = t.nc <= t.pass ? columns.hi : min(add(lo, i32(t.pass)), columns.hi);
    return strips('lane', 'm', rows, (m, mCount) =>
      strips('lane', 'n', { ...columns, lo, hi }, (n, nCount) => task(m, mCount, n, nCount)),
    );
  };
  const product: Stmt[] = [
    ...pack('columnPanels', p.b, batch, columns, columnPanel, 'n'),
    ...(t.nc <= t.pass ? pass(n0) : [loop('lane', 'pass', min(columns.hi, i32(p.n)), pass(ref('pass')), n0, t.pass)]),
  ];
  const several = loop('serial', 'batch', min(add(first, i32(t.matrices)), i32(p.batch)), product, first);
  const step: Stmt[] = [
    ...(t.packedRows ? pack('rowPanels', p.a, first, rows, rowPanel, 'm') : []),
    ...(t.matrices === 1 ? product : [several]),
  ];
  const block = ref('block');
  const batchBlock = batchBlocks === 1 ? i32(0) : div(block, i32(columnBlocks * rowBlocks));
  return [
    loop('grid', 'block', batchBlocks * columnBlocks * rowBlocks, [
      letI(t.matrices === 1 ? 'batch' : 'first', mul(batchBlock, i32(t.matrices))),
      letI('n0', mul(rem(div(block, i32(rowBlocks)), i32(columnBlocks)), i32(t.nc))),
      letI('m0', mul(rem(block, i32(rowBlocks)), i32(t.mc))),
      alloc('columnPanels', t.kc * t.nc),
      ...(t.packedRows ? [alloc('rowPanels', t.kc * t.mc)] : []),
      ...(steps > 1
        ? [
            alloc('sums', t.mc * t.nc * t.matrices),
            loop('serial', 'k0', p.k, [letI('depth', min(i32(t.kc), sub(i32(p.k), k0))), ...step], 0, t.kc),
          ]
        : [letI('k0', i32(0)), ...step]),
    ]),
  ];
}
