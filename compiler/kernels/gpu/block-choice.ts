/**
 * How a workgroup's product is cut, and its inner loop: blocks of both factors are staged in group memory, a few terms at a time, and
 * each thread adds their products to its register tile.
 */
import { type Expr, i32, loop, ref, type Stmt } from '../../../ir/kernel.js';

/** A block of `rows x cols` results, `tile x tile` for a thread, `depth` terms at a time. */
export interface BlockChoice {
  readonly rows: number;
  readonly cols: number;
  readonly tile: number;
  readonly depth: number;
}

/**
 * The register tile `sums` of the thread whose results begin at `tile_row`, `tile_col`, over `terms` terms. `stage` fills
 * `a_block[k][row]` and `b_block[k][col]` with the next `depth` terms, from `counter` on.
 */
export function stagedSum(
  { rows, cols, tile, depth }: BlockChoice,
  terms: Expr | number,
  stage: readonly Stmt[],
  counter = 'k0',
): Stmt[] {
  return [
    { kind: 'tileZero', tile: 'sums', rows: tile, cols: tile, accumulator: 'f32' },
    loop(
      'serial',
      counter,
      terms,
      [
        ...stage,
        {
          kind: 'tileMma',
          tile: 'sums',
          operand: 'f32',
          depth: i32(depth),
          a: { memory: 'a_block', index: ref('tile_row'), row: 1, depth: rows },
          b: { memory: 'b_block', index: ref('tile_col'), depth: cols, col: 1 },
        },
      ],
      0,
      depth,
    ),
  ];
}
