/**
 * Gradients of views: the same movement of elements, backwards.
 */
import { dims } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import { intsOf, numberOf } from '../../ir/ops/declare.js';
import type { NoGradient, Rule, Site } from './rule.js';

const source: NoGradient = { none: 'it has no operands' };

export function inversePermutation(perm: readonly number[]): number[] {
  const inverse = new Array<number>(perm.length);
  perm.forEach((p, i) => {
    inverse[p] = i;
  });
  return inverse;
}

/** Puts dy back where the slice was taken. A step of s is s - 1 zeros behind each element: padding of an axis of one. */
function unslice(s: Site): Value {
  const { b, attrs } = s;
  const size = dims(s.x[0]);
  const [starts, steps] = [intsOf(attrs, 'starts'), intsOf(attrs, 'steps')];
  let dy = s.dy;
  if (steps.some((step) => step > 1)) {
    const taken = dims(dy);
    const zeros = steps.flatMap((step) => [0, step - 1]);
    const apart = b.reshape(
      dy,
      taken.flatMap((n) => [n, 1]),
    );
    const spread = b.node('pad', [apart], { attrs: { low: zeros.map(() => 0), high: zeros, value: 0 } });
    const joined = b.reshape(
      spread,
      taken.map((n, i) => n * steps[i]),
    );
    // The zeros behind the last element may lie beyond the end.
    const ends = dims(joined).map((n, i) => Math.min(n, size[i] - starts[i]));
    dy = cut(s, joined, ends);
  }
  const high = dims(dy).map((n, i) => size[i] - starts[i] - n);
  if ([...starts, ...high].every((n) => n === 0)) return dy;
  return b.node('pad', [dy], { attrs: { low: starts, high, value: 0 } });
}

/** The first `ends` elements of each axis. */
function cut(s: Site, x: Value, ends: readonly number[]): Value {
  if (dims(x).every((n, i) => n === ends[i])) return x;
  return s.b.node('slice', [x], { attrs: { starts: ends.map(() => 0), ends, steps: ends.map(() => 1) } });
}

export const viewGradients = {
  reshape: (s) => [() => s.b.reshape(s.dy, s.x[0].type.shape)],
  transpose: (s) => [() => s.b.transpose(s.dy, inversePermutation(intsOf(s.attrs, 'perm')))],
  // The pass sums the gradient down to the operand's shape.
  broadcast: (s) => [() => s.dy],
  slice: (s) => [() => unslice(s)],
  concat: (s) => {
    const axis = numberOf(s.attrs, 'axis');
    let end = 0;
    return s.x.map((x) => {
      const start = end;
      end += dims(x)[axis];
      const until = end;
      return () => (s.x.length === 1 ? s.dy : s.b.sliceAxis(s.dy, axis, start, until));
    });
  },
  pad: (s) => [
    () => {
      const low = intsOf(s.attrs, 'low');
      const ends = dims(s.x[0]).map((n, i) => n + low[i]);
      return s.b.node('slice', [s.dy], { attrs: { starts: low, ends, steps: low.map(() => 1) } });
    },
  ],
  fill: source,
  iota: source,
} satisfies Record<string, Rule | NoGradient>;
