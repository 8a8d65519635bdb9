/**
 * Results of a device against the evaluator's.
 */
import type { Expected } from './problem.js';

/** What is not a number must be none, and infinities themselves; others are as near as the tolerance says. */
export function complaint({ name, values, flushed, tolerance }: Expected, got: ArrayLike<number>): string | undefined {
  if (got.length !== values.length) return `${name} has ${got.length} elements, not ${values.length}`;
  let largest = 0;
  for (const v of values) if (Number.isFinite(v)) largest = Math.max(largest, Math.abs(v));
  const { relative = 0, own = 0, absolute = 0 } = tolerance;
  const near = (x: number, want: number): boolean => {
    // What is beyond f32 is infinite there.
    const rounded = Math.fround(want);
    if (Object.is(x, rounded) || x === rounded) return true;
    // Nothing is near to an infinity, or to what is not a number.
    if (!Number.isFinite(rounded)) return false;
    return Math.abs(x - want) <= Math.max(absolute, relative * largest, own * Math.abs(want));
  };
  for (let i = 0; i < values.length; i++) {
    if (near(got[i], values[i]) || (flushed && near(got[i], flushed[i]))) continue;
    return `${name}[${i}] is ${got[i]}, not ${values[i]} (largest ${largest.toPrecision(3)})`;
  }
  return undefined;
}
