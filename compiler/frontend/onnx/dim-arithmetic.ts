/**
 * Arithmetic on the elements of known tensors: numbers and multiples of the batch. Exact, or undefined where the result would be
 * neither.
 */
import { type Dim, dimDiv, dimEquals, dimMul } from '../../../ir/types.js';

/** `integer`: the operands are integers, so that a quotient is truncated. */
export type Binary = (a: Dim, b: Dim, integer: boolean) => Dim | undefined;

export const isNumber = (d: Dim): d is number => typeof d === 'number';

export const add: Binary = (a, b) => {
  if (isNumber(a) && isNumber(b)) return a + b;
  if (isNumber(a) || isNumber(b)) return a === 0 ? b : b === 0 ? a : undefined;
  return a.symbol === b.symbol ? { symbol: a.symbol, factor: a.factor + b.factor } : undefined;
};
export const negated = (d: Dim): Dim => (isNumber(d) ? -d : { symbol: d.symbol, factor: -d.factor });
export const sub: Binary = (a, b, i) => {
  const d = add(a, negated(b), i);
  return d === undefined || isNumber(d) || d.factor !== 0 ? d : 0;
};
export const mul: Binary = (a, b) => {
  const d = dimMul(a, b);
  return d === undefined || isNumber(d) || Number.isInteger(d.factor) ? d : undefined;
};
export const div: Binary = (a, b, integer) => {
  if (isNumber(a) && isNumber(b)) return integer ? (b === 0 ? undefined : Math.trunc(a / b)) : a / b;
  return dimDiv(a, b);
};

/** A comparison that holds or fails for every batch size >= 1; undefined where it depends on it. */
export const equal: Binary = (a, b) => {
  if (isNumber(a) && isNumber(b)) return a === b ? 1 : 0;
  if (isNumber(a) || isNumber(b)) return (isNumber(a) ? a : (b as number)) <= 0 ? 0 : undefined;
  return dimEquals(a, b) ? 1 : 0;
};
export const onNumbers =
  (f: (a: number, b: number) => number): Binary =>
  (a, b) =>
    isNumber(a) && isNumber(b) ? f(a, b) : undefined;
/** The greater or the smaller; equal multiples of the batch are both. */
export const extreme =
  (f: (a: number, b: number) => number): Binary =>
  (a, b) =>
    isNumber(a) && isNumber(b) ? f(a, b) : dimEquals(a, b) ? a : undefined;
export const less: Binary = (a, b) => {
  if (isNumber(a) && !isNumber(b) && a <= 0) return 1;
  if (!isNumber(a) && isNumber(b) && b <= 1) return 0;
  return isNumber(a) && isNumber(b) ? (a < b ? 1 : 0) : undefined;
};
