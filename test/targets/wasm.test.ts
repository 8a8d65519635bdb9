/**
 * WebAssembly against the interpreter, one property at a time: lanes and tails at every length, reductions in several
 * copies, index forms, conditions that differ between lanes, integer quotients, modules of several kernels, ranges of the grid.
 */
import { describe, expect, it } from 'vitest';
import { printWasm } from '../../compiler/targets/wasm/print.js';
import {
  add,
  and,
  type Expr,
  f32,
  i32,
  type Kernel,
  le,
  letF,
  letI,
  load,
  loop,
  lt,
  mul,
  ref,
  type Stmt,
  store,
  sub,
  unary,
} from '../../ir/kernel.js';
import { type Buffers, bufferOf, kernelOf, param, randomFrom, runInterpreted, runWasm, when } from './run-wasm.js';

const LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 100];
const i = ref('i');

function filled(kernel: Kernel, seed = 1): Buffers {
  const next = randomFrom(seed);
  return Object.fromEntries(
    kernel.params.map((p) => {
      const b = bufferOf(p.type, p.length);
      for (let k = 0; k < b.length; k++)
        b[k] = p.type === 'bool' ? Math.round(next()) : p.type === 'f32' ? next() * 4 - 2 : Math.floor(next() * 200);
      return [p.name, b];
    }),
  );
}

function expectSame(kernel: Kernel, parts = 1): void {
  const buffers = filled(kernel);
  expect(runWasm(kernel, buffers, parts)).toEqual(runInterpreted(kernel, buffers));
}

const F = [param('x', 400), param('y', 400, 'f32', 'write')];

describe('vector loops', () => {
  for (const [name, source, target] of [
    ['contiguous', i, i],
    ['backwards', sub(i32(120), i), sub(i32(130), i)],
    ['every third', mul(i, i32(3)), mul(i, i32(2))],
    ['backwards by two', sub(i32(300), mul(i, i32(2))), i],
    ['one for all', i32(17), i],
    ['wrapped', { kind: 'binary', op: 'rem', a: mul(i, i32(7)), b: i32(13) }, i],
    [
      'folded',
      add(mul({ kind: 'binary', op: 'div', a: i, b: i32(6) }, i32(10)), { kind: 'binary', op: 'rem', a: i, b: i32(6) }),
      i,
    ],
  ] satisfies [string, Expr, Expr][])
    it(`${name}, all lengths and steps`, () => {
      for (const n of LENGTHS)
        for (const step of [1, 2, 3])
          for (const low of [0, 5])
            expectSame(
              kernelOf('k', F, [
                loop('vector', 'i', n, [store('y', target, add(load('x', source), f32(1)))], low, step),
              ]),
            );
    });

  it('in a serial loop, with index parts from all around', () => {
    const index = add(add(mul(ref('g'), i32(100)), mul(ref('s'), i32(33))), i);
    const body = store('y', index, mul(load('x', index), load('x', add(ref('s'), i))));
    expectSame(
      kernelOf('k', F, [
        loop('grid', 'g', 3, [loop('serial', 's', 3, [loop('vector', 'i', add(i32(29), ref('g')), [body])])]),
      ]),
      2,
    );
  });

  it('with a serial loop inside: a matrix times a vector, by columns', () => {
    const body: Stmt[] = [
      { kind: 'var', name: 'sum', type: 'f32', value: f32(0) },
      loop('serial', 'k', 9, [
        {
          kind: 'set',
          name: 'sum',
          value: add(ref('sum'), mul(load('a', add(mul(ref('k'), i32(37)), i)), load('x', ref('k')))),
        },
      ]),
      store('y', i, ref('sum')),
    ];
    expectSame(kernelOf('k', [...F, param('a', 9 * 37)], [loop('vector', 'i', 37, body)]));
  });

  it('bytes and bools, loaded, stored and converted', () => {
    const params = [
      param('u', 200, 'u8'),
      param('b', 200, 'bool'),
      param('v', 200, 'u8', 'write'),
      param('c', 200, 'bool', 'write'),
      param('y', 200, 'f32', 'write'),
    ];
    for (const n of LENGTHS)
      expectSame(
        kernelOf('k', params, [
          loop('vector', 'i', n, [
            letI('t', unary('toI32', load('u', add(i, i32(3))))),
            store('v', add(i, i32(1)), mul(ref('t'), i32(77))),
            store('c', add(i, i32(2)), and(lt(ref('t'), i32(100)), unary('not', load('b', i)))),
            store('y', i, add(unary('toF32', load('b', i)), unary('toF32', ref('t')))),
          ]),
        ]),
      );
  });

  it('quotients by constants on the whole range', () => {
    const x = Int32Array.from({ length: 400 }, (_, k) =>
      k < 40 ? 2 ** 31 - 1 - k : Math.floor(randomFrom(k)() * 2 ** 31),
    );
    for (const d of [
      1,
      2,
      3,
      5,
      6,
      7,
      9,
      10,
      11,
      25,
      64,
      100,
      125,
      625,
      641,
      1000,
      65535,
      65537,
      2 ** 30 - 1,
      2 ** 30,
      2 ** 31 - 1,
    ]) {
      const kernel = kernelOf(
        'k',
        [param('x', 400, 'i32'), param('q', 400, 'i32', 'write'), param('r', 400, 'i32', 'write')],
        [
          loop('vector', 'i', 400, [
            store('q', i, { kind: 'binary', op: 'div', a: load('x', i), b: i32(d) }),
            store('r', i, { kind: 'binary', op: 'rem', a: load('x', i), b: i32(d) }),
          ]),
        ],
      );
      const buffers = { x, q: new Int32Array(400), r: new Int32Array(400) };
      expect(runWasm(kernel, buffers)).toEqual(runInterpreted(kernel, buffers));
    }
  });

  it('padding on both sides, at the very ends of the memory', () => {
    const inside = (e: Expr): Expr => and(le(i32(0), e), lt(e, i32(50)));
    for (const by of [1, 2, -1])
      for (const from of [-7, -1, 0, 3]) {
        const at = add(mul(i, i32(by)), i32(by < 0 ? 49 - from : from));
        const value: Expr = { kind: 'loadIf', cond: inside(at), memory: 'x', index: at, otherwise: -3 };
        expectSame(
          kernelOf(
            'k',
            [param('x', 50), param('y', 64, 'f32', 'write')],
            [loop('vector', 'i', 61, [store('y', i, value)])],
          ),
        );
      }
  });

  it('conditions guard loads out of bounds and stores', () => {
    const at = sub(i, i32(20_000));
    const body: Stmt = when(
      lt(i32(20_010), i),
      [store('y', at, load('x', at))],
      [when(lt(i, i32(19_995)), [], [store('y', add(at, i32(100)), load('x', add(at, i32(200))))])],
    );
    expectSame(kernelOf('k', F, [loop('vector', 'i', 20_050, [body], 19_990)]));
  });
});

describe('accumulation', () => {
  const sums = (n: number, make: (op: 'add' | 'max' | 'min') => Stmt[], ops: ('add' | 'max' | 'min')[]): Kernel =>
    kernelOf(
      'k',
      [param('x', 2000), param('n', 2000, 'i32'), param('y', 4, 'f32', 'readwrite'), param('m', 4, 'i32', 'readwrite')],
      [
        ...ops.flatMap((op): Stmt[] => [
          { kind: 'var', name: `f_${op}`, type: 'f32', value: load('y', i32(0)) },
          { kind: 'var', name: `i_${op}`, type: 'i32', value: load('m', i32(0)) },
        ]),
        loop('vector', 'i', n, ops.flatMap(make)),
        ...ops.flatMap((op, k): Stmt[] => [store('y', i32(k), ref(`f_${op}`)), store('m', i32(k), ref(`i_${op}`))]),
      ],
    );
  const both = (op: 'add' | 'max' | 'min'): Stmt[] => [
    { kind: 'accumulate', name: `f_${op}`, op, value: mul(load('x', i), load('x', i)) },
    { kind: 'accumulate', name: `i_${op}`, op, value: load('n', i) },
  ];
  const one = (op: 'add' | 'max' | 'min'): Stmt[] => [{ kind: 'accumulate', name: `f_${op}`, op, value: load('x', i) }];
  const masked = (op: 'add' | 'max' | 'min'): Stmt[] => [when(lt(f32(0), load('x', i)), both(op))];
  for (const [name, make] of [
    ['one', one],
    ['two at once', both],
    ['under a condition', masked],
  ] as const)
    it(`${name}, all lengths`, () => {
      for (const n of [...LENGTHS, 1999])
        for (const ops of [['add'], ['max'], ['min'], ['add', 'max', 'min']] as ('add' | 'max' | 'min')[][]) {
          const kernel = sums(n, make, ops);
          const buffers = filled(kernel, n);
          const found = runWasm(kernel, buffers);
          const expected = runInterpreted(kernel, buffers);
          expect(found.m).toEqual(expected.m);
          for (const [k, op] of ops.entries())
            if (op !== 'add') expect(found.y[k]).toBe(expected.y[k]);
            // At most 2000 terms below 4: either order is off by at most n roundings of a sum below 4n.
            else expect(Math.abs(found.y[k] - expected.y[k])).toBeLessThanOrEqual(2 * n * 4 * n * 2 ** -24);
        }
    });

  it('softmax: three passes over rows that are no multiple of four', () => {
    const at = add(mul(ref('r'), i32(37)), i);
    const kernel = kernelOf(
      'softmax',
      [param('x', 5 * 37), param('y', 5 * 37, 'f32', 'write')],
      [
        loop('grid', 'r', 5, [
          { kind: 'var', name: 'most', type: 'f32', value: f32(Number.NEGATIVE_INFINITY) },
          loop('vector', 'i', 37, [{ kind: 'accumulate', name: 'most', op: 'max', value: load('x', at) }]),
          { kind: 'var', name: 'total', type: 'f32', value: f32(0) },
          loop('vector', 'i', 37, [
            { kind: 'accumulate', name: 'total', op: 'add', value: unary('exp', sub(load('x', at), ref('most'))) },
          ]),
          letF('scale', { kind: 'binary', op: 'div', a: f32(1), b: ref('total') }),
          loop('vector', 'i', 37, [store('y', at, mul(unary('exp', sub(load('x', at), ref('most'))), ref('scale')))]),
        ]),
      ],
    );
    const buffers = filled(kernel);
    const { y } = runWasm(kernel, buffers, 3);
    for (let r = 0; r < 5; r++) {
      const row = [...buffers.x.slice(37 * r, 37 * r + 37)].map(Math.exp);
      const total = row.reduce((a, b) => a + b);
      // Three roundings, 1.5 ulp of exp twice, a sum of 37 terms: well below 50 roundings.
      row.forEach((e, c) => {
        expect(Math.abs(y[37 * r + c] / (e / total) - 1)).toBeLessThan(50 * 2 ** -24);
      });
    }
  });
});

describe('modules', () => {
  const twice = (name: string, n: number): Kernel =>
    kernelOf(name, F, [loop('grid', 'g', n, [store('y', ref('g'), mul(load('x', ref('g')), f32(2)))])]);
  const wasm = (bytes: Uint8Array): WebAssembly.Module => new WebAssembly.Module(bytes as BufferSource);

  it('export each kernel and say what it needs', () => {
    const staged = kernelOf('staged', F, [
      loop(
        'grid',
        'g',
        7,
        [
          { kind: 'alloc', name: 'a', space: 'group', type: 'f32', size: 3 },
          when(lt(ref('g'), i32(3)), [{ kind: 'alloc', name: 'b', space: 'register', type: 'u8', size: 5 }]),
          { kind: 'alloc', name: 'c', space: 'register', type: 'i32', size: 9 },
        ],
        0,
        2,
      ),
    ]);
    const { bytes, info } = printWasm([twice('one', 10), staged, kernelOf('none', F, [store('y', i32(0), f32(1))])]);
    expect(info).toEqual([
      { name: 'one', grid: 10, scratch: 0 },
      { name: 'staged', grid: 4, scratch: 64 },
      { name: 'none', grid: 1, scratch: 0 },
    ]);
    expect(WebAssembly.Module.exports(wasm(bytes)).map((e) => e.name)).toEqual(['one', 'staged', 'none']);
  });

  it('run exactly the range of the grid that is asked for', () => {
    for (const parts of [1, 2, 3, 7, 20]) expectSame(twice('k', 10), parts);
  });

  it('take a shared memory when asked to', () => {
    const { bytes } = printWasm([twice('k', 4)], { shared: true, maximumPages: 16 });
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 16, shared: true });
    const { exports } = new WebAssembly.Instance(wasm(bytes), { env: { memory } });
    new Float32Array(memory.buffer).set([1, 2, 3, 4]);
    (exports.k as (...a: number[]) => void)(0, 64, 1024, 1, 3);
    expect([...new Float32Array(memory.buffer, 64, 4)]).toEqual([0, 4, 6, 0]);
  });

  it('are the same bytes for the same kernels', () => {
    expect(printWasm([twice('k', 4)]).bytes).toEqual(printWasm([twice('k', 4)]).bytes);
  });

  it('refuse f16 parameters', () => {
    const kernel = kernelOf('half', [param('x', 4, 'f16', 'write')], [store('x', i32(0), f32(1))]);
    expect(() => printWasm([kernel])).toThrow('no f16 memory');
  });
});

describe('the interpreter', () => {
  it('refuses an index out of bounds', () => {
    for (const at of [-1, 400])
      expect(() =>
        runInterpreted(kernelOf('k', F, [store('y', i32(at), f32(1))]), filled(kernelOf('k', F, []))),
      ).toThrow('which has 400 elements');
  });
});
