/**
 * What the contraction algorithms share: the tile choice, a range cut into strips with a shorter last one, and the register
 * tile itself, whose sum may be interrupted (partial sums rest in group memory) and ends in the epilogue.
 */
import type { Node } from '../../ir/graph.js';
import {
  add,
  type Binding,
  type Expr,
  eq,
  i32,
  load,
  loop,
  lt,
  max,
  min,
  mul,
  ref,
  type Stmt,
  store,
} from '../../ir/kernel.js';
import type { Elements, Epilogue } from './elements.js';

/**
 * Register tile `mr x nr`, and how much one step holds in group memory. Rows and columns mean what the algorithm names so:
 * rows are read one number at a time, columns as vectors.
 */
export interface TileChoice {
  readonly mr: number;
  readonly nr: number;
  /** Terms of the sum between two visits to the partial sums. */
  readonly kc: number;
  /** Rows, columns of one grid iteration. */
  readonly mc: number;
  readonly nc: number;
}

/** Eight accumulators of four lanes: more of them spill in V8, taller tiles load too much (design notes, CPU). */
export const tileShapes = [
  { mr: 4, nr: 8 },
  { mr: 2, nr: 16 },
] as const;

/** A contraction to be lowered. */
export interface Contraction {
  readonly anchor: Node;
  readonly elements: Elements;
  readonly finish: Epilogue;
  /** Overrides of the algorithm's own choice. */
  readonly choice: Partial<TileChoice>;
}

export const ceilDiv = (a: number, b: number): number => Math.ceil(a / b);
export const roundUp = (a: number, b: number): number => Math.ceil(a / b) * b;
/** Steps of at most `most` that share `total` evenly, a multiple of `unit`. */
export const evenly = (total: number, most: number, unit: number): number =>
  roundUp(ceilDiv(total, ceilDiv(total, Math.max(unit, most))), unit);

/** `lo <= e < hi`. */
export const within = (e: Expr, lo: number, hi: number): Expr => ({
  kind: 'binary',
  op: 'and',
  a: lt(i32(lo - 1), e),
  b: lt(e, i32(hi)),
});

export const when = (cond: Expr, yes: readonly Stmt[], no: readonly Stmt[] = []): Stmt => ({
  kind: 'if',
  cond,
  // biome-ignore lint/suspicious/noThenProperty: the statement's own field
  then: yes,
  else: no,
});

export const alloc = (name: string, size: number): Stmt => ({ kind: 'alloc', name, space: 'group', type: 'f32', size });

/** A loop that disappears when it runs once. */
export function maybeLoop(bind: Binding, name: string, count: number, body: (i: Expr) => Stmt[]): Stmt[] {
  return count === 1 ? body(i32(0)) : [loop(bind, name, count, body(ref(name)))];
}

/**
 * Cuts [lo, min(hi, total)) into strips of `size`; `body` gets where a strip begins and how many elements of it exist.
 * `lo` is a multiple of `size`, and so is `hi` unless it is `total` or more.
 */
export function strips(
  bind: Binding,
  name: string,
  range: { readonly lo: Expr; readonly hi: Expr; readonly total: number; readonly size: number },
  body: (at: Expr, count: number) => Stmt[],
): Stmt[] {
  const { lo, hi, total, size } = range;
  const full = Math.floor(total / size) * size;
  const out: Stmt[] = [];
  if (full > 0) out.push(loop(bind, name, min(hi, i32(full)), body(ref(name), size), lo, size));
  if (full < total)
    out.push(loop(bind, name, min(hi, i32(full + 1)), body(ref(name), total - full), max(lo, i32(full)), size));
  return out;
}

/** The smallest tile width that holds `count` columns: whole vectors. */
export const tileCols = (count: number, nr: number): number => Math.min(nr, roundUp(count, 4));

export interface TileTask {
  readonly rows: number;
  readonly cols: number;
  /** Adds to tile `name`. */
  readonly sum: (name: string) => Stmt[];
  /** Where partial sums rest, and whether this is the first or the last of the (two or more) parts; absent: the sum is whole. */
  readonly partial?: { readonly memory: string; readonly index: Expr; readonly first: Expr; readonly last: Expr };
  readonly rowLimit: Expr;
  readonly colLimit: Expr;
  readonly each: (row: Expr, col: Expr, element: Expr) => Stmt[];
}

/**
 * One register tile from zero to its epilogue, or to where its partial sums rest. Each part of a long sum starts from zero and
 * is added as a whole: rounding errors grow with the length of a part and the number of parts, not with their product.
 */
export function tileTask(task: TileTask): Stmt[] {
  const tile = 'tile';
  const { rows, cols, partial } = task;
  const [row, col, element] = [ref('row'), ref('col'), ref('element')];
  const each = (rowLimit: Expr, colLimit: Expr, body: readonly Stmt[]): Stmt => ({
    kind: 'tileEach',
    tile,
    row: 'row',
    col: 'col',
    element: 'element',
    rowLimit,
    colLimit,
    body,
  });
  const finish = (value: Expr): Stmt => each(task.rowLimit, task.colLimit, task.each(row, col, value));
  const sum: Stmt[] = [{ kind: 'tileZero', tile, rows, cols, accumulator: 'f32' }, ...task.sum(tile)];
  if (!partial) return [...sum, finish(element)];
  const total = add(load(partial.memory, add(partial.index, add(mul(row, i32(cols)), col))), element);
  return [
    ...sum,
    when(
      partial.last,
      [finish(total)],
      restTile({ tile, rows, cols, memory: partial.memory, index: partial.index }, partial.first),
    ),
  ];
}

/** A tile of sums in group memory, `[rows][cols]` from `index` on. */
interface Rest {
  readonly tile: string;
  readonly rows: number;
  readonly cols: number;
  readonly memory: string;
  readonly index: Expr;
}

/** Puts the sums of a part in memory, or adds them to what is there; `first` absent: there is one part. */
export function restTile(rest: Rest, first?: Expr): Stmt[] {
  const { tile, cols, memory, index } = rest;
  const put: Stmt = { kind: 'tileStore', tile, memory, index, row: i32(cols), col: 1 };
  return first ? [when(first, [put], [addTile(rest)])] : [put];
}

/** Adds the sums of a part to what is in memory. */
export function addTile({ tile, rows, cols, memory, index }: Rest): Stmt {
  const [row, col, element] = ['row', 'col', 'element'] as const;
  const place = add(index, add(mul(ref(row), i32(cols)), ref(col)));
  return {
    ...{ kind: 'tileEach', tile, row, col, element, rowLimit: i32(rows), colLimit: i32(cols) },
    body: [store(memory, place, add(load(memory, place), ref(element)))],
  };
}

/** Zeros in `memory[at .. at + count)`. */
export function clear(name: string, memory: string, at: Expr, count: number): Stmt[] {
  if (count === 0) return [];
  return [loop('vector', name, count, [store(memory, add(at, ref(name)), { kind: 'const', type: 'f32', value: 0 })])];
}

export const isFirst = (e: Expr): Expr => eq(e, i32(0));
