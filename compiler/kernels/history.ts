/**
 * The shift of a statistic's history in one pass: each element of X, X_-1 and X_-2 is read once, compared, and moved on. A row is
 * an iteration of the grid, so that rows are shared out; its four sums of squares are stored for a small sum behind it.
 */
import {
  add,
  binary,
  div,
  type Expr,
  f32,
  i32,
  type Kernel,
  letF,
  letI,
  load,
  loop,
  mul,
  ref,
  rem,
  type Stmt,
  select,
  store,
  sub,
} from '../../ir/kernel.js';
import { historyRows } from '../../ir/ops/history.js';
import { Frame, finishKernel } from './frame.js';
import type { Region } from './region.js';

/** Of a row: |X - X_-1|^2, |X_-1|^2, |X - X_-2|^2, |X_-2|^2. */
export const SQUARES = 4;
export const square = (k: number): string => `square${k}`;

/** The parts from which both targets make their loops. */
export interface HistoryRow {
  readonly rows: number;
  /** Registers that the others need, in the block of a row. */
  readonly locate: readonly Stmt[];
  /** Elements of the row that lie before the diagonal, or all; the last one of a triangle's row is on the diagonal. */
  readonly below: Expr;
  readonly diagonal: boolean;
  /** How often an element below the diagonal counts. */
  readonly weight: Expr;
  /** Compares the element `col` of the row, adds to `square0..3`, and moves it on. */
  readonly visit: (col: Expr, weight?: Expr) => Stmt[];
  readonly storeSquare: (k: Expr, value: Expr) => Stmt;
}

export function historyRow({ anchor }: Region, frame: Frame): HistoryRow {
  const { operands, results } = anchor!;
  const { kind, rows, width } = historyRows(operands[0].type);
  const memory = (v: (typeof operands)[number]): string => frame.parameters.get(v)!;
  const [x, a, b] = operands.map(memory);
  const [nextA, nextB, squares] = results.map(memory);
  const [row, i, start] = ['row', 'i', 'start'].map(ref);
  const triangle = kind === 'triangle';
  const locate = triangle
    ? [
        letI('i', rem(row, i32(width))),
        letI(
          'start',
          add(mul(div(row, i32(width)), i32((width * (width + 1)) / 2)), div(mul(i, add(i, i32(1))), i32(2))),
        ),
      ]
    : [letI('start', mul(row, i32(width)))];
  return {
    rows,
    locate,
    below: triangle ? i : i32(width),
    diagonal: triangle,
    weight: triangle ? f32(2) : select(binary('eq', row, i32(1)), f32(2), f32(1)),
    visit: (col, weight) => {
      const at = ref('at');
      const [fresh, last, before, fromLast, fromBefore] = ['fresh', 'last', 'before', 'from_last', 'from_before'].map(
        ref,
      );
      const scaled = (v: Expr): Expr => (weight ? mul(weight, mul(v, v)) : mul(v, v));
      return [
        letI('at', add(start, col)),
        letF('fresh', load(x, at)),
        letF('last', load(a, at)),
        letF('before', load(b, at)),
        letF('from_last', sub(fresh, last)),
        letF('from_before', sub(fresh, before)),
        ...[fromLast, last, fromBefore, before].map(
          (v, k): Stmt => ({ kind: 'accumulate', name: square(k), op: 'add', value: scaled(v) }),
        ),
        store(nextB, at, last),
        store(nextA, at, fresh),
      ];
    },
    storeSquare: (k, value) => store(squares, add(mul(row, i32(SQUARES)), k), value),
  };
}

export const sums = (of: (k: number) => Stmt): Stmt[] => Array.from({ length: SQUARES }, (_, k) => of(k));

export function lowerHistory(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  const { rows, locate, below, diagonal, weight, visit, storeSquare } = historyRow(region, frame);
  const body: Stmt[] = [
    ...locate,
    ...sums((k) => ({ kind: 'var', name: square(k), type: 'f32', value: f32(0) })),
    loop('vector', 'col', below, visit(ref('col'))),
    ...sums((k) => ({ kind: 'set', name: square(k), value: mul(weight, ref(square(k))) })),
    ...(diagonal ? [loop('serial', 'last_col', add(below, i32(1)), visit(ref('last_col')), below)] : []),
    ...sums((k) => storeSquare(i32(k), ref(square(k)))),
  ];
  return finishKernel(frame, name, [loop('grid', 'row', rows, body)]);
}
