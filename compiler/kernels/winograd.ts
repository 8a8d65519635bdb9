/**
 * Minimal filtering F(m, r) with m + r - 1 = 6: m outputs y[i] = sum over j < r of g[j] d[i + j] from six products instead of m r,
 * as y = A^T [(G g) * (B^T d)] (Winograd 1980; Lavin and Gray 2016, section 4). F(4, 3) computes four rows of a convolution, F(3, 4) three
 * taps of its weight gradient; both have half the products.
 *
 * B^T, G and A^T evaluate polynomials at 0, a, -a, b, -b and infinity and interpolate them again. Rounding errors grow with the
 * matrices' elements: a = 3/4 and b = 3/2, exact in binary, are near the best points (on the choice: Barabasz et al. 2020); with the
 * textbook's 1 and 2 errors are 1.4 times as large (test/kernels/winograd.test.ts has numbers).
 */
import { add, type Expr, f32, mul, sub } from '../../ir/kernel.js';
import type { Convolution } from './contraction-convolution.js';

/** Channels, in and out, and rows below which transforms take longer than the products that they save. */
const LEAST_CHANNELS = 8;
const LEAST_ROWS = 3;

/** Of convolutions and their gradients: a window with three rows side by side, over `rows` rows of results or of output gradients. */
export function isWorthwhile(
  { kernel, rows: { stride, dilation }, inputs, outputs }: Convolution,
  rows: number,
): boolean {
  const isPlain = kernel[0] === TAPS && stride === 1 && dilation === 1;
  return isPlain && rows >= LEAST_ROWS && Math.min(inputs, outputs) >= LEAST_CHANNELS;
}

/** F(4, 3), and F(3, 4) with both in the other's place: neighbouring rows, and rows of taps. */
export const ROWS = 4;
export const TAPS = 3;
/** Products, and elements of d. */
export const POINTS = ROWS + TAPS - 1;
const [A, B] = [3 / 4, 3 / 2];
const [AA, BB] = [A * A, B * B];

const times = (factor: number, e: Expr): Expr => (factor === 1 ? e : mul(f32(factor), e));
/** `x - factor y`. */
const less = (x: Expr, factor: number, y: Expr): Expr => sub(x, mul(f32(factor), y));
/** The values at p and -p of a polynomial with these even and odd parts. */
const mirrored = (even: Expr, odd: Expr): [Expr, Expr] => [add(even, odd), sub(even, odd)];

/** B^T d. */
export function transformData(d: readonly Expr[]): Expr[] {
  const ends = (x: number): Expr => add(less(d[x + 4], AA + BB, d[x + 2]), times(AA * BB, d[x]));
  return [
    ends(0),
    ...mirrored(less(d[4], BB, d[2]), times(A, less(d[3], BB, d[1]))),
    ...mirrored(less(d[4], AA, d[2]), times(B, less(d[3], AA, d[1]))),
    ends(1),
  ];
}

/** G g, for three or four taps g. */
export function transformFilter(g: readonly Expr[]): Expr[] {
  const at = (p: number, others: number): [Expr, Expr] => {
    // The product of p's distances from all other finite points.
    const distance = 2 * p * p * (p * p - others);
    const sum = (from: number): Expr =>
      g.reduce<Expr | undefined>((s, e, j) => {
        if (j % 2 !== from) return s;
        const term = times(p ** j / distance, e);
        return s ? add(s, term) : term;
      }, undefined)!;
    return mirrored(sum(0), sum(1));
  };
  return [times(1 / (AA * BB), g[0]), ...at(A, BB), ...at(B, AA), g[g.length - 1]];
}

/** A^T products: the first `count` = m outputs. */
export function transformProducts(products: readonly Expr[], count: number): Expr[] {
  const [zero, a, minusA, b, minusB, infinity] = products;
  const parts = [
    { a: add(a, minusA), b: add(b, minusB) },
    { a: sub(a, minusA), b: sub(b, minusB) },
  ];
  return Array.from({ length: count }, (_, i) => {
    const part = parts[i % 2];
    const inner = add(times(A ** i, part.a), times(B ** i, part.b));
    if (i === 0) return add(zero, inner);
    return i === count - 1 ? add(inner, infinity) : inner;
  });
}
