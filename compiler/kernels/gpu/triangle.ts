/**
 * The triangular index: which row and column of a lower triangle has a given number. A float square root is off by one for
 * some large numbers, so the integer result is corrected.
 */
import {
  add,
  div,
  type Expr,
  f32,
  i32,
  le,
  letI,
  lt,
  mul,
  ref,
  type Stmt,
  select,
  sub,
  unary,
} from '../../../ir/kernel.js';

const before = (row: Expr): Expr => div(mul(row, add(row, i32(1))), i32(2));

/** Registers `row` and `col <= row` of element `number`, counted row by row. Numbers up to 2^27. */
export function triangular(number: Expr, row: string, col: string): Stmt[] {
  const [guess, high] = [`${row}_guess`, `${row}_high`];
  const root = unary('sqrt', unary('toF32', add(mul(number, i32(8)), i32(1))));
  const estimate = unary('toI32', { kind: 'binary', op: 'mul', a: sub(root, f32(1)), b: f32(0.5) });
  const next = add(ref(high), i32(1));
  return [
    letI(guess, estimate),
    letI(high, select(lt(number, before(ref(guess))), sub(ref(guess), i32(1)), ref(guess))),
    letI(row, select(le(before(next), number), next, ref(high))),
    letI(col, sub(number, before(ref(row)))),
  ];
}
