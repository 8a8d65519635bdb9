/**
 * The history of a statistic, for adaptive staleness (SP-NGD section 4.3, Algorithm 2): the last two values that were built, and how
 * far the newest one lies from each.
 */
import { concrete, product, type TensorType, tensor, typeEquals } from '../types.js';
import { fail, type OpDef, real } from './declare.js';

/** How a statistic lies in memory, row by row. */
export interface HistoryRows {
  /** Rows of the lower triangles of symmetric matrices; or the three rows [aa, ab, bb] of 2x2 blocks. */
  readonly kind: 'triangle' | 'blocks';
  readonly rows: number;
  /** Rows of one matrix, and elements of a row of blocks. */
  readonly width: number;
}

export function historyRows(type: TensorType): HistoryRows {
  const shape = concrete(type.shape);
  const width = shape[shape.length - 1];
  if (type.layout === 'packed-lower') return { kind: 'triangle', rows: product(shape.slice(0, -1)), width };
  return { kind: 'blocks', rows: 3, width };
}

export const historyOps = {
  /**
   * (X, X_-1, X_-2) -> what becomes X_-1 and X_-2: X and X_-1; and squares f32[rows, 4], of which the sums over all rows are the
   * squared Frobenius norms of X - X_-1, X_-1, X - X_-2 and X_-2. What is stored once for two places counts twice.
   */
  shift_history: {
    arity: [3, 3],
    fuse: 'opaque',
    infer: ([fresh, last, before]) => {
      if (!typeEquals(fresh, last) || !typeEquals(fresh, before)) fail('all values must have one type');
      if (fresh.layout === 'dense' && (fresh.shape.length !== 2 || fresh.shape[0] !== 3))
        fail('the values must be symmetric, or 2x2 blocks as three rows');
      if (fresh.layout === 'dense') real(fresh, 'X');
      return [fresh, fresh, tensor('f32', [historyRows(fresh).rows, 4])];
    },
    evaluate: ([fresh, last, before]) => {
      const { kind, rows, width } = historyRows(fresh.type);
      const squares = new Float64Array(rows * 4);
      let at = 0;
      for (let row = 0; row < rows; row++) {
        const length = kind === 'triangle' ? (row % width) + 1 : width;
        for (let col = 0; col < length; col++, at++) {
          const twice = kind === 'triangle' ? col < length - 1 : row === 1;
          const [x, a, b] = [fresh.data[at], last.data[at], before.data[at]];
          [x - a, a, x - b, b].forEach((v, k) => {
            squares[row * 4 + k] += (twice ? 2 : 1) * v * v;
          });
        }
      }
      return [Float64Array.from(fresh.data), Float64Array.from(last.data), squares];
    },
    flops: ([fresh]) => {
      const { kind, rows, width } = historyRows(fresh);
      return 10 * rows * (kind === 'triangle' ? (width + 1) / 2 : width);
    },
  },
} satisfies Record<string, OpDef>;
