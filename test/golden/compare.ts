/**
 * Our float64 numbers beside PyTorch's: unpacked factors and blocks in the form of the golden files, and what differs by more
 * than it may.
 */
import { expect } from 'vitest';
import { float64, type NpyArray } from '../npy.js';

export const DATA = '../shared/data';
export type Arrays = Record<string, NpyArray>;

/**
 * Both sides compute in float64 from the same float32 weights; golden arrays are stored as float32 (half a unit in the last
 * place: 6e-8 relative), so errors beyond this are faults.
 */
export const TOLERANCE = 5e-7;

/** Frobenius norm of the difference over that of `b`. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let [difference, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    size += b[i] ** 2;
  }
  return Math.sqrt(difference / size);
}

export function expectAll(golden: Arrays, ours: (name: string) => ArrayLike<number>, tolerance = TOLERANCE): void {
  const wrong = Object.entries(golden)
    .map(([name, a]) => ({ name, error: relativeError(ours(name), float64(a)) }))
    .filter((e) => !(e.error < tolerance));
  expect(wrong).toEqual([]);
}

/** Both triangles of a packed symmetric matrix. */
function full(packed: ArrayLike<number>): Float64Array {
  const n = (Math.sqrt(8 * packed.length + 1) - 1) / 2;
  const at = (i: number, j: number) => packed[(Math.max(i, j) * (Math.max(i, j) + 1)) / 2 + Math.min(i, j)];
  return Float64Array.from({ length: n * n }, (_, k) => at(Math.floor(k / n), k % n));
}

/** Rows [gamma gamma, gamma beta, beta beta] of every channel as 2x2 blocks. */
function blocks(rows: ArrayLike<number>): Float64Array {
  const c = rows.length / 3;
  return Float64Array.from({ length: 4 * c }, (_, i) => rows[[0, c, c, 2 * c][i % 4] + Math.floor(i / 4)]);
}

/**
 * The factor that a golden file calls `name`, from the state that holds it: a matrix `<weight>.A` or `.G`, of wide ones the
 * `.diag` or `.rowsum` alone; without either the blocks of a normalisation.
 */
export function goldenFactor(name: string, state: (name: string) => ArrayLike<number>): ArrayLike<number> {
  const [, factor, part] = /^(.*\.[AG])(?:\.(diag|rowsum))?$/.exec(name) ?? [];
  if (!factor) return blocks(state(`${name}.F`));
  const m = full(state(factor));
  const n = Math.sqrt(m.length);
  if (part === 'diag') return Float64Array.from({ length: n }, (_, i) => m[i * n + i]);
  if (part === 'rowsum')
    return Float64Array.from({ length: n }, (_, i) => m.slice(i * n, i * n + n).reduce((a, b) => a + b));
  return m;
}
