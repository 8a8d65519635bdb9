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
/** The smaller; a number is where it is no more than the multiple is for a batch of one. */
export const least: Binary = (a, b) => {
  if (isNumber(a) && isNumber(b)) return Math.min(a, b);
  if (isNumber(a) || isNumber(b)) return ordered(a, b)?.[0];
  return a.symbol === b.symbol ? (a.factor < b.factor ? a : b) : undefined;
};
/** The greater, likewise. */
export const greatest: Binary = (a, b) => {
  if (isNumber(a) && isNumber(b)) return Math.max(a, b);
  if (isNumber(a) || isNumber(b)) return ordered(a, b)?.[1];
  return a.symbol === b.symbol ? (a.factor > b.factor ? a : b) : undefined;
};
/** A number and a multiple of the batch in their order, where that is one for all batches. */
function ordered(a: Dim, b: Dim): readonly [Dim, Dim] | undefined {
  const [number, multiple] = isNumber(a) ? [a, b] : [b as number, a];
  return !isNumber(multiple) && multiple.factor >= number ? [number, multiple] : undefined;
}
export const less: Binary = (a, b) => {
  if (isNumber(a) && !isNumber(b) && a <= 0) return 1;
  if (!isNumber(a) && isNumber(b) && b <= 1) return 0;
  return isNumber(a) && isNumber(b) ? (a < b ? 1 : 0) : undefined;
};
