/**
 * The inverse of a positive definite matrix, in place, in one sweep. Cholesky's L, its inverse X and X^T X are usually three
 * passes; here step k does its part of all three. With W = L_kk^-1, the block row R = W * (block row k) holds L^T to the
 * right of the diagonal and X to its left, and one update of rank `block` finishes the step on the whole lower triangle:
 *   rows below k:  C_ij -= R_i^T R_j   (the trailing matrix right of column k, minus L X left of it: what X will be made of)
 *   rows above k:  C_ij += R_i^T R_j   (the sum X^T X)
 * where row and column k themselves start from zero and R_k is W. Pivots and rounding are Cholesky's.
 */
import {
  add,
  and,
  div,
  type Expr,
  f32,
  i32,
  letI,
  load,
  loop,
  lt,
  min,
  mul,
  ref,
  type Stmt,
  select,
  store,
  sub,
  unary,
} from '../../ir/kernel.js';
import { alloc, roundUp, when } from './contraction-tile.js';

const MR = 4;
const NR = 8;

export interface Inversion {
  readonly memory: string;
  readonly allocs: readonly Stmt[];
  /** Offset of (i, j), j <= i. */
  readonly at: (i: Expr, j: Expr) => Expr;
  /** Sets the matrix to `element` plus `damping` on the diagonal. */
  readonly fill: (element: (i: Expr, j: Expr) => Expr, damping: Expr) => Stmt[];
  /** Inverts; sets the bool `good` to false on a pivot that is not positive and finite, and then leaves any values. */
  readonly invert: (good: string) => Stmt[];
}

/** Small blocks waste little on narrow panels, large ones pass less often over a matrix that no cache holds. */
const blockFor = (n: number): number => (n <= 96 ? 8 : n <= 384 ? 16 : n <= 1536 ? 32 : 64);

const zero = f32(0);

export function inversion(n: number, blockSize = blockFor(n)): Inversion {
  // Padded with the identity to whole tiles; rows keep off each other's cache lines.
  const padded = roundUp(n, NR);
  const ld = padded % 256 === 0 ? padded + 16 : padded;
  const block = Math.min(blockSize, padded);
  const memory = 'work';
  const at = (i: Expr, j: Expr): Expr => add(mul(i, i32(ld)), j);
  const [k0, m] = ['k0', 'm'].map(ref);
  const end = add(k0, m);

  /** W, row by row with row length `block`; zero right of the diagonal. */
  const w = (i: Expr, j: Expr): Expr => add(mul(i, i32(block)), j);
  const factor = (good: string): Stmt[] => {
    const [t, i, j] = ['t', 'i', 'j'].map(ref);
    const pivot = load('w', w(t, t));
    return [
      loop('group', 'i', m, [
        loop('vector', 'j', add(i, i32(1)), [store('w', w(i, j), load(memory, at(add(k0, i), add(k0, j))))]),
      ]),
      loop('serial', 't', m, [
        { kind: 'let', name: 'pivot', type: 'f32', value: pivot },
        {
          kind: 'set',
          name: good,
          value: and(ref(good), and(lt(zero, ref('pivot')), lt(ref('pivot'), f32(Number.POSITIVE_INFINITY)))),
        },
        { kind: 'let', name: 'root', type: 'f32', value: div(f32(1), unary('sqrt', ref('pivot'))) },
        // r: row t of X left of the diagonal, its diagonal element, column t of L below.
        loop('vector', 'j', t, [store('r', j, mul(load('w', w(t, j)), ref('root')))]),
        loop('serial', 'i', m, [store('r', i, mul(load('w', w(i, t)), ref('root')))], add(t, i32(1))),
        store('r', t, ref('root')),
        loop(
          'serial',
          'i',
          m,
          [
            { kind: 'let', name: 'l', type: 'f32', value: load('r', i) },
            store('w', w(i, t), zero),
            loop('vector', 'j', add(i, i32(1)), [
              store('w', w(i, j), sub(load('w', w(i, j)), mul(ref('l'), load('r', j)))),
            ]),
          ],
          add(t, i32(1)),
        ),
        loop('vector', 'j', add(t, i32(1)), [store('w', w(t, j), load('r', j))]),
        loop('vector', 'j', i32(block), [store('w', w(t, j), zero)], add(t, i32(1))),
      ]),
    ];
  };

  // panels[j / NR][u][NR]: block row k before (`before`) and after (`panels`) multiplication by W; `signed` has the sign of the update.
  const panel = (j: Expr): Expr => mul(j, i32(block));
  const collect = (): Stmt[] => {
    const [u, i, j] = ['u', 'i', 'j'].map(ref);
    const place = (column: Expr, lane: Expr): Expr => add(add(panel(column), mul(u, i32(NR))), lane);
    return [
      loop(
        'group',
        'i',
        k0,
        [
          loop('serial', 'u', m, [
            loop('vector', 'j', NR, [store('before', place(i, j), load(memory, at(add(k0, u), add(i, j))))]),
          ]),
        ],
        0,
        NR,
      ),
      loop(
        'group',
        'i',
        i32(padded),
        [
          loop('serial', 'j', NR, [
            loop('vector', 'u', m, [store('before', place(i, j), load(memory, at(add(i, j), add(k0, u))))]),
          ]),
        ],
        end,
        NR,
      ),
    ];
  };
  const multiply = (): Stmt[] => {
    const [i, t, u, j] = ['i', 't', 'u', 'j'].map(ref);
    const body: Stmt[] = [
      loop(
        'lane',
        't',
        m,
        [
          { kind: 'tileZero', tile: 'tile', rows: MR, cols: NR, accumulator: 'f32' },
          {
            kind: 'tileMma',
            tile: 'tile',
            operand: 'f32',
            depth: add(t, i32(MR)),
            a: { memory: 'w', index: w(t, i32(0)), row: block, depth: 1 },
            b: { memory: 'before', index: panel(i), depth: NR, col: 1 },
          },
          {
            kind: 'tileStore',
            tile: 'tile',
            memory: 'panels',
            index: add(panel(i), mul(t, i32(NR))),
            row: i32(NR),
            col: 1,
          },
        ],
        0,
        MR,
      ),
      { kind: 'let', name: 'sign', type: 'f32', value: select(lt(i, k0), f32(1), f32(-1)) },
      loop('vector', 'j', mul(m, i32(NR)), [
        store('signed', add(panel(i), j), mul(ref('sign'), load('panels', add(panel(i), j)))),
      ]),
    ];
    return [
      loop('group', 'i', k0, body, 0, NR),
      loop('group', 'i', i32(padded), body, end, NR),
      // R_k = W.
      loop(
        'group',
        'i',
        end,
        [
          loop('serial', 'u', m, [
            loop('vector', 'j', NR, [
              store('panels', add(add(panel(i), mul(u, i32(NR))), j), load('w', w(u, add(sub(i, k0), j)))),
              store('signed', add(add(panel(i), mul(u, i32(NR))), j), load('w', w(u, add(sub(i, k0), j)))),
            ]),
          ]),
        ],
        k0,
        NR,
      ),
    ];
  };

  /** Tiles of rows [i, i + MR) and columns [j, j + NR): loaded unless they lie in row or column block k. */
  const update = (): Stmt[] => {
    const [i, j] = ['i', 'j'].map(ref);
    const place = { tile: 'tile', memory, index: at(i, j), row: i32(ld), col: 1 } as const;
    const tile = (fresh: boolean): Stmt[] => [
      { kind: 'tileZero', tile: 'tile', rows: MR, cols: NR, accumulator: 'f32' },
      ...(fresh ? [] : [{ kind: 'tileLoad', ...place } as const]),
      {
        kind: 'tileMma',
        tile: 'tile',
        operand: 'f32',
        depth: m,
        // Rows i .. i + 3 are half of a panel of eight.
        a: { memory: 'signed', index: add(panel(ref('half')), sub(i, ref('half'))), row: 1, depth: NR },
        b: { memory: 'panels', index: panel(j), depth: NR, col: 1 },
      },
      { kind: 'tileStore', ...place },
    ];
    const rows = (lo: Expr, hi: Expr, columns: readonly Stmt[]): Stmt =>
      loop('lane', 'i', hi, [letI('half', mul(div(i, i32(NR)), i32(NR))), ...columns], lo, MR);
    const columns = (lo: Expr, hi: Expr, fresh: boolean): Stmt => loop('lane', 'j', hi, tile(fresh), lo, NR);
    const past = add(ref('half'), i32(NR));
    return [
      rows(i32(0), k0, [columns(i32(0), past, false)]),
      rows(k0, end, [columns(i32(0), past, true)]),
      rows(end, i32(padded), [columns(i32(0), k0, false), columns(k0, end, true), columns(end, past, false)]),
    ];
  };

  return {
    memory,
    at,
    allocs: [
      alloc(memory, padded * ld),
      alloc('w', block * block),
      alloc('r', block),
      alloc('before', padded * block),
      alloc('panels', padded * block),
      alloc('signed', padded * block),
    ],
    fill: (element, damping) => {
      const [i, j] = ['i', 'j'].map(ref);
      return [
        loop('group', 'i', n, [
          loop('vector', 'j', add(i, i32(1)), [store(memory, at(i, j), element(i, j))]),
          store(memory, at(i, i), add(element(i, i), damping)),
        ]),
        ...(padded > n
          ? [
              loop(
                'group',
                'i',
                padded,
                [loop('vector', 'j', i, [store(memory, at(i, j), zero)]), store(memory, at(i, i), f32(1))],
                n,
              ),
            ]
          : []),
      ];
    },
    invert: (good) => [
      loop(
        'serial',
        'k0',
        padded,
        [
          letI('m', min(i32(block), sub(i32(padded), k0))),
          ...factor(good),
          when(ref(good), [...collect(), ...multiply(), ...update()]),
        ],
        0,
        block,
      ),
    ],
  };
}
