/**
 * A matrix product as a CPU wants it: A in panels of 4 rows, B in panels of 8 columns, a 4x8 register tile, blocks of the
 * depth that keep a panel of B in the first-level cache.
 */
import {
  add,
  and,
  div,
  type Expr,
  eq,
  i32,
  type Kernel,
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
} from '../../ir/kernel.js';
import { kernelOf, param } from './run-wasm.js';

/** `C[m,n] = A[m,k] B[k,n]`, row-major; any sizes; blocks of `KC` of the depth and at most `most` rows. */
export function packedGemm(m: number, n: number, k: number, rows = 4, cols = 8, KC = 256, most = 128): Kernel {
  const MC = Math.floor(most / rows) * rows;
  const panelsB = Math.ceil(n / cols);
  const at = (r: Expr, c: Expr, width: number): Expr => add(mul(r, i32(width)), c);
  const padded = (memory: string, r: Expr, c: Expr, height: number, width: number): Expr => ({
    kind: 'loadIf',
    cond: and(lt(r, i32(height)), lt(c, i32(width))),
    memory,
    index: at(r, c, width),
    otherwise: 0,
  });
  const kk = add(ref('p0'), ref('p'));
  const packB: Stmt = loop('group', 'jp', panelsB, [
    loop('group', 'p', ref('kc'), [
      loop('vector', 'j', cols, [
        store(
          'packedB',
          add(mul(add(mul(ref('jp'), i32(KC)), ref('p')), i32(cols)), ref('j')),
          padded('B', kk, add(mul(ref('jp'), i32(cols)), ref('j')), k, n),
        ),
      ]),
    ]),
  ]);
  const row = add(add(ref('i0'), mul(ref('ip'), i32(rows))), ref('i'));
  const packA: Stmt = loop('group', 'ip', ref('panels'), [
    loop('group', 'p', ref('kc'), [
      loop('vector', 'i', rows, [
        store(
          'packedA',
          add(mul(add(mul(ref('ip'), i32(KC)), ref('p')), i32(rows)), ref('i')),
          padded('A', row, kk, m, k),
        ),
      ]),
    ]),
  ]);
  const c = at(add(add(ref('i0'), mul(ref('ip'), i32(rows))), ref('r')), add(mul(ref('jp'), i32(cols)), ref('c')), n);
  const tiles: Stmt = loop('group', 'jp', panelsB, [
    loop('group', 'ip', ref('panels'), [
      { kind: 'tileZero', tile: 't', rows, cols, accumulator: 'f32' },
      {
        kind: 'tileMma',
        tile: 't',
        operand: 'f32',
        depth: ref('kc'),
        a: { memory: 'packedA', index: mul(ref('ip'), i32(KC * rows)), row: 1, depth: rows },
        b: { memory: 'packedB', index: mul(ref('jp'), i32(KC * cols)), depth: cols, col: 1 },
      },
      {
        kind: 'tileEach',
        tile: 't',
        row: 'r',
        col: 'c',
        element: 'x',
        rowLimit: sub(i32(m), add(ref('i0'), mul(ref('ip'), i32(rows)))),
        colLimit: sub(i32(n), mul(ref('jp'), i32(cols))),
        body: [
          store(
            'C',
            c,
            add(select(eq(ref('p0'), i32(0)), { kind: 'const', type: 'f32', value: 0 }, load('C', c)), ref('x')),
          ),
        ],
      },
    ]),
  ]);
  return kernelOf(
    `gemm_${m}_${n}_${k}`,
    [param('A', m * k), param('B', k * n), param('C', m * n, 'f32', 'readwrite')],
    [
      loop('grid', 'ic', Math.ceil(m / MC), [
        letI('i0', mul(ref('ic'), i32(MC))),
        letI('panels', div(add(min(i32(MC), sub(i32(m), ref('i0'))), i32(rows - 1)), i32(rows))),
        { kind: 'alloc', name: 'packedA', space: 'group', type: 'f32', size: MC * KC },
        { kind: 'alloc', name: 'packedB', space: 'group', type: 'f32', size: panelsB * cols * KC },
        loop('serial', 'pc', Math.ceil(k / KC), [
          letI('p0', mul(ref('pc'), i32(KC))),
          letI('kc', min(i32(KC), sub(i32(k), ref('p0')))),
          packB,
          packA,
          tiles,
        ]),
      ]),
    ],
  );
}
