/**
 * The matrix product on subgroup matrices, `C[m,n] = A[m,k] B[k,n]`, row-major, any sizes: what tensor cores want. No program uses
 * it yet: it shows that the kernel IR can say it. A lane is one thread; the group loops inside of it are the workgroup's own, which
 * stage blocks of A and B in group memory for all lanes.
 */
import {
  add,
  and,
  div,
  type Expr,
  i32,
  type Kernel,
  type KernelType,
  letI,
  load,
  loop,
  lt,
  mul,
  ref,
  rem,
  type Stmt,
  store,
} from '../../../ir/kernel.js';
import { passLoc } from '../../../ir/loc.js';

export interface GemmSizes {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

const times = (e: Expr, by: number): Expr => mul(e, i32(by));

function gemmKernel(name: string, sizes: GemmSizes, operand: KernelType, workgroup: number, body: Stmt[]): Kernel {
  const { m, n, k } = sizes;
  const bytes = operand === 'f16' ? 2 : 4;
  return {
    name,
    params: [
      { name: 'A', type: operand, access: 'read', length: m * k },
      { name: 'B', type: operand, access: 'read', length: k * n },
      { name: 'C', type: 'f32', access: 'write', length: m * n },
    ],
    body,
    workgroup,
    flops: 2 * m * n * k,
    bytes: bytes * (m * k + k * n) + 4 * m * n,
    loc: passLoc('gemm'),
  };
}

/** `to[r * stride + c] = from[row0 + r, col0 + c]`, or transposed; zero outside of the matrix. */
function stage(
  to: string,
  from: string,
  block: { readonly rows: number; readonly cols: number; readonly stride: number; readonly transposed: boolean },
  matrix: { readonly rows: number; readonly cols: number; readonly row0: Expr; readonly col0: Expr },
): Stmt {
  const at = `${to}_i`;
  const [r, c] = [div(ref(at), i32(block.cols)), rem(ref(at), i32(block.cols))];
  const [row, col] = [add(matrix.row0, r), add(matrix.col0, c)];
  const place = block.transposed ? add(times(c, block.stride), r) : add(times(r, block.stride), c);
  return loop('group', at, block.rows * block.cols, [
    store(to, place, {
      kind: 'loadIf',
      cond: and(lt(row, i32(matrix.rows)), lt(col, i32(matrix.cols))),
      memory: from,
      index: add(times(row, matrix.cols), col),
      otherwise: 0,
    }),
  ]);
}

/**
 * f16 operands, f32 sums, on subgroup matrices: 4 subgroups of 32 threads, a block of 64 x 32, of which each subgroup has
 * 16 rows. Rows of the staged blocks are padded against bank conflicts. Sums reach C by way of group memory, since
 * a thread cannot look into a subgroup matrix.
 */
export function subgroupMatrixGemm(sizes: GemmSizes = { m: 512, n: 512, k: 512 }): Kernel {
  const { m, n, k } = sizes;
  const [ROWS, COLS, DEPTH] = [64, 32, 32];
  const [SUBGROUP, OWN] = [32, 16];
  const STRIDE = DEPTH + 8;
  const threads = (ROWS / OWN) * SUBGROUP;
  const [row0, col0] = [times(ref('block_row'), ROWS), times(ref('block_col'), COLS)];
  const [row, col] = [add(row0, div(ref('e'), i32(COLS))), add(col0, rem(ref('e'), i32(COLS)))];
  return gemmKernel(`gemm_matrix_${m}_${n}_${k}`, sizes, 'f16', threads, [
    loop('grid', 'block_row', Math.ceil(m / ROWS), [
      loop('grid', 'block_col', Math.ceil(n / COLS), [
        { kind: 'alloc', name: 'A_block', space: 'group', type: 'f16', size: ROWS * STRIDE },
        { kind: 'alloc', name: 'B_block', space: 'group', type: 'f16', size: DEPTH * STRIDE },
        { kind: 'alloc', name: 'C_block', space: 'group', type: 'f32', size: ROWS * COLS },
        loop('lane', 't', threads, [
          letI('own_row', times(div(ref('t'), i32(SUBGROUP)), OWN)),
          { kind: 'tileZero', tile: 'sums', rows: OWN, cols: COLS, accumulator: 'f32' },
          loop(
            'serial',
            'k0',
            k,
            [
              stage(
                'A_block',
                'A',
                { rows: ROWS, cols: DEPTH, stride: STRIDE, transposed: false },
                { rows: m, cols: k, row0, col0: ref('k0') },
              ),
              stage(
                'B_block',
                'B',
                { rows: DEPTH, cols: COLS, stride: STRIDE, transposed: false },
                { rows: k, cols: n, row0: ref('k0'), col0 },
              ),
              {
                kind: 'tileMma',
                tile: 'sums',
                operand: 'f16',
                depth: i32(DEPTH),
                a: { memory: 'A_block', index: times(ref('own_row'), STRIDE), row: STRIDE, depth: 1 },
                b: { memory: 'B_block', index: i32(0), depth: STRIDE, col: 1 },
              },
            ],
            0,
            DEPTH,
          ),
          {
            kind: 'tileStore',
            tile: 'sums',
            memory: 'C_block',
            index: times(ref('own_row'), COLS),
            row: i32(COLS),
            col: 1,
          },
          loop('group', 'e', ROWS * COLS, [
            {
              kind: 'if',
              cond: and(lt(row, i32(m)), lt(col, i32(n))),
              // biome-ignore lint/suspicious/noThenProperty: the statement's own field
              then: [store('C', add(times(row, n), col), load('C_block', ref('e')))],
              else: [],
            },
          ]),
        ]),
      ]),
    ]),
  ]);
}
