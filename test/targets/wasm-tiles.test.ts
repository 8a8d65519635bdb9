/**
 * Tiles on WebAssembly: shapes that live in registers and in memory, strides of every sign, limits inside of the tile.
 * Sums keep the interpreter's order, so everything is equal bit for bit; the products are also held against float64.
 */
import { describe, expect, it } from 'vitest';
import {
  add,
  div,
  type Expr,
  f32,
  i32,
  letI,
  load,
  loop,
  lt,
  max,
  min,
  mul,
  ref,
  rem,
  type Stmt,
  select,
  store,
  sub,
} from '../../ir/kernel.js';
import { packedGemm } from './packed-gemm.js';
import { type Buffers, kernelOf, param, randomFrom, runInterpreted, runWasm, when } from './run-wasm.js';

function random(length: number, seed: number): Float32Array {
  const next = randomFrom(seed);
  return Float32Array.from({ length }, () => next() * 2 - 1);
}

function expectSame(kernel: Parameters<typeof runWasm>[0], buffers: Buffers, parts = 1): Buffers {
  const found = runWasm(kernel, buffers, parts);
  expect(found).toEqual(runInterpreted(kernel, buffers));
  return found;
}

describe('tiles', () => {
  it('400 random tile kernels agree with the interpreter', () => {
    const shapes = [1, 2, 3, 4, 5, 8, 12, 16, 20];
    for (let seed = 0; seed < 400; seed++) {
      const next = randomFrom(seed);
      const int = (n: number): number => Math.floor(next() * n);
      const pick = <T>(from: readonly T[]): T => from[int(from.length)];
      const rows = pick([1, 2, 3, 4, 5, 8]);
      const cols = pick(shapes);
      const depth = int(9);
      const stride = (): number => pick([0, 1, 1, 2, 3, -1, -2, 17]);
      const a = { row: stride(), depth: stride() };
      const b = { depth: stride(), col: pick([1, 1, 1, 0, 2, -1, -3]) };
      const lowest = (...terms: number[]): number => -terms.reduce((s, t) => s + Math.min(0, t), 0);
      const last = Math.max(0, depth - 1);
      const origin = pick([0, 3]);
      const out = { row: pick([cols, cols + 3, 24]), col: 1 };
      const [g, x] = [ref('g'), ref('x')];
      const at = add(add(mul(g, i32(400)), mul(ref('r'), i32(out.row))), ref('c'));
      const epilogues: Stmt[][] = [
        [store('out', at, add(x, f32(1)))],
        [store('out', at, max(add(load('old', at), mul(x, load('bias', ref('c')))), f32(0)))],
        [
          { kind: 'let', name: 'k', type: 'f32', value: select(lt(ref('r'), i32(2)), x, load('bias', ref('r'))) },
          when(lt(f32(0), ref('k')), [store('out', at, ref('k'))], [store('out', at, f32(-7))]),
        ],
        [
          when(lt(i32(0), ref('r')), [store('out', at, load('old', add(at, i32(-out.row))))]),
          loop('serial', 'q', ref('r'), [store('other', add(mul(at, i32(8)), ref('q')), x)]),
        ],
      ];
      const body: Stmt[] = [
        { kind: 'tileZero', tile: 't', rows, cols, accumulator: 'f32' },
        ...(next() < 0.4
          ? [
              {
                kind: 'tileLoad' as const,
                tile: 't',
                memory: 'old',
                index: add(mul(g, i32(2)), i32(60)),
                row: i32(pick([cols, 1, 0])),
                col: pick([1, 2, -1, 0]),
              },
            ]
          : []),
        {
          kind: 'tileMma',
          tile: 't',
          operand: 'f32',
          depth: next() < 0.5 ? i32(depth) : min(add(g, i32(depth)), i32(depth)),
          a: { memory: 'a', index: add(g, i32(origin + lowest((rows - 1) * a.row, last * a.depth))), ...a },
          b: { memory: 'b', index: add(g, i32(origin + lowest((cols - 1) * b.col, last * b.depth))), ...b },
        },
        {
          kind: 'tileStore',
          tile: 't',
          memory: 'stored',
          index: add(mul(g, i32(600)), i32(0)),
          row: next() < 0.5 ? i32(cols) : add(i32(cols), g),
          col: 1,
        },
        {
          kind: 'tileEach',
          tile: 't',
          row: 'r',
          col: 'c',
          element: 'x',
          rowLimit: pick([i32(rows), i32(rows + 3), i32(rows - 1), add(g, i32(rows - 1))]),
          colLimit: pick([i32(cols), i32(cols + 3), i32(cols - 1), add(g, i32(cols - 1)), i32(0)]),
          body: pick(epilogues),
        },
      ];
      const kernel = kernelOf(
        `tile${seed}`,
        [
          param('a', 400),
          param('b', 400),
          param('old', 1400),
          param('bias', 64),
          param('out', 1400, 'f32', 'write'),
          param('other', 9000, 'f32', 'write'),
          param('stored', 2000, 'f32', 'write'),
        ],
        [loop('grid', 'g', 3, body)],
      );
      const buffers = Object.fromEntries(
        kernel.params.map((p, i) => [
          p.name,
          p.access === 'read' ? random(p.length, seed + i) : new Float32Array(p.length),
        ]),
      );
      const found = runWasm(kernel, buffers, 1 + (seed % 3));
      const expected = runInterpreted(kernel, buffers);
      for (const p of kernel.params)
        for (let i = 0; i < p.length; i++)
          if (!Object.is(found[p.name][i], expected[p.name][i]))
            expect.fail(`seed ${seed}: ${p.name}[${i}] is ${found[p.name][i]}, not ${expected[p.name][i]}`);
    }
  });

  it('an epilogue puts rows in another order: each copy of its body has a quotient and a remainder of its own', () => {
    const [rows, cols] = [8, 4];
    const row = add(mul(ref('g'), i32(rows)), ref('r'));
    const kernel = kernelOf(
      'turned',
      [param('a', 2 * rows), param('b', cols), param('bias', 16), param('out', 2 * rows * cols, 'f32', 'write')],
      [
        loop('grid', 'g', 2, [
          { kind: 'tileZero', tile: 't', rows, cols, accumulator: 'f32' },
          {
            kind: 'tileMma',
            tile: 't',
            operand: 'f32',
            depth: i32(1),
            a: { memory: 'a', index: mul(ref('g'), i32(rows)), row: 1, depth: 0 },
            b: { memory: 'b', index: i32(0), depth: 0, col: 1 },
          },
          {
            kind: 'tileEach',
            tile: 't',
            row: 'r',
            col: 'c',
            element: 'x',
            rowLimit: i32(rows),
            colLimit: i32(cols),
            body: [
              letI('at', add(add(mul(rem(row, i32(4)), i32(16)), mul(div(row, i32(4)), i32(4))), ref('c'))),
              store('out', ref('at'), add(ref('x'), load('bias', rem(row, i32(16))))),
            ],
          },
        ]),
      ],
    );
    expectSame(kernel, { a: random(16, 1), b: random(4, 2), bias: random(16, 3), out: new Float32Array(64) });
  });

  it('guards of an epilogue hold for each row, also where the first row would lie before the memory', () => {
    const above = add(mul(sub(ref('r'), i32(2)), i32(1000)), ref('c'));
    const guarded: Expr = { kind: 'loadIf', cond: lt(i32(1), ref('r')), memory: 'x', index: above, otherwise: 5 };
    const kernel = kernelOf(
      'guarded',
      [param('x', 1008), param('y', 1008, 'f32', 'write'), param('z', 32, 'f32', 'write')],
      [
        { kind: 'tileZero', tile: 't', rows: 4, cols: 8, accumulator: 'f32' },
        {
          kind: 'tileEach',
          tile: 't',
          row: 'r',
          col: 'c',
          element: 'e',
          rowLimit: i32(4),
          colLimit: i32(8),
          body: [
            store('z', add(mul(ref('r'), i32(8)), ref('c')), add(ref('e'), guarded)),
            when(lt(i32(1), ref('r')), [store('y', above, load('x', above))]),
          ],
        },
      ],
    );
    expectSame(kernel, { x: random(1008, 3), y: new Float32Array(1008), z: new Float32Array(32) });
  });

  for (const [m, n, k] of [
    [1, 1, 1],
    [4, 8, 16],
    [7, 13, 5],
    [130, 37, 261],
    [129, 64, 300],
  ])
    for (const [rows, cols] of [
      [4, 8],
      [2, 16],
      [3, 5],
    ])
      it(`packed product of ${m}x${k} and ${k}x${n}, tile ${rows}x${cols}`, () => {
        const kernel = packedGemm(m, n, k, rows, cols);
        const [a, b] = [random(m * k, 1), random(k * n, 2)];
        const { C } = expectSame(kernel, { A: a, B: b, C: new Float32Array(m * n) }, 2);
        for (let i = 0; i < m; i++)
          for (let j = 0; j < n; j++) {
            let sum = 0;
            for (let p = 0; p < k; p++) sum += a[i * k + p] * b[p * n + j];
            // k + 1 roundings of partial sums that are below k: gamma_k |a||b|, with |a|, |b| <= 1.
            expect(Math.abs(C[i * n + j] - sum)).toBeLessThanOrEqual((k + 1) * 2 ** -24 * k);
          }
      });
});
