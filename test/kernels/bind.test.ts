import { describe, expect, it } from 'vitest';
import { bindShared } from '../../compiler/kernels/bind.js';
import {
  add,
  f32,
  i32,
  type Kernel,
  type KernelParam,
  letF,
  load,
  loop,
  lt,
  min,
  mul,
  ref,
  type Stmt,
  store,
  unary,
} from '../../ir/kernel.js';
import { interpret } from '../../ir/kernel-interpret.js';
import { printKernel } from '../../ir/text/print-kernel.js';
import { verifyKernel } from '../../ir/verify-kernel.js';

const params: readonly KernelParam[] = [
  { name: 'a', type: 'f32', access: 'read', length: 64 },
  { name: 's', type: 'f32', access: 'read', length: 1 },
  { name: 'out', type: 'f32', access: 'readwrite', length: 64 },
];

/** The body's lines after binding, without indentation and closing braces. It must still compute the same. */
function bound(body: readonly Stmt[]): string[] {
  const kernelOf = (b: readonly Stmt[]): Kernel => ({
    name: 'k',
    params,
    body: b,
    workgroup: 1,
    flops: 0,
    bytes: 0,
    loc: { kind: 'pass', pass: 'test' },
  });
  const run = (kernel: Kernel): number[] => {
    verifyKernel(kernel);
    const out = Float32Array.from({ length: 64 }, (_, i) => i * 0.5);
    interpret(kernel, { a: Float32Array.from({ length: 64 }, (_, i) => i + 1), s: Float32Array.of(3), out });
    return [...out];
  };
  const after = kernelOf(bindShared(body, params));
  expect(run(after)).toEqual(run(kernelOf(body)));
  const lines = printKernel(after).split('\n').slice(2);
  return lines.map((l) => l.trim()).filter((l) => l !== '' && l !== '}');
}

const row = mul(ref('i'), i32(8));
const at = add(row, ref('j'));

describe('bindShared', () => {
  it('computes an expression once, and before the loops that do not change it', () => {
    const e = load('a', at);
    const stored = store('out', at, mul(mul(e, e), unary('sqrt', load('s', i32(0)))));
    expect(bound([loop('grid', 'i', 8, [loop('vector', 'j', 8, [stored])])])).toEqual([
      'let t2: f32 = sqrt(s[0])',
      'for i in 0..8 grid {',
      'let t0: i32 = i*8',
      'for j in 0..8 vector {',
      'let t1: f32 = a[t0 + j]',
      'out[t0 + j] = t1*t1*t2',
    ]);
  });

  it('keeps loads inside a block that might not run, and moves arithmetic out of it', () => {
    const last = load('a', add(ref('i'), i32(60)));
    const body: Stmt[] = [
      loop('serial', 'i', 8, [
        // biome-ignore lint/suspicious/noThenProperty: the statement's own field
        { kind: 'if', cond: lt(ref('i'), i32(4)), then: [store('out', ref('i'), mul(last, last))], else: [] },
      ]),
    ];
    expect(bound(body)).toEqual([
      'for i in 0..8 serial {',
      'let t0: i32 = i + 60',
      'if i < 4 {',
      'let t1: f32 = a[t0]',
      'out[i] = t1*t1',
    ]);
  });

  it('hoists loads from a loop that ends at a min, not from one with any other end', () => {
    const nest = (hi: Parameters<typeof loop>[2]): Stmt[] => [
      loop('grid', 'i', 8, [loop('vector', 'j', hi, [store('out', at, load('a', ref('i')))])]),
    ];
    expect(bound(nest(min(add(ref('i'), i32(1)), i32(8))))).toContain('let t1: f32 = a[i]');
    expect(bound(nest(ref('i')))).toContain('out[t0 + j] = a[i]');
  });

  it('never shares what memory or a variable may have changed', () => {
    const old = load('out', i32(0));
    const body: Stmt[] = [
      { kind: 'var', name: 'v', type: 'f32', value: f32(1) },
      store('out', i32(0), add(old, ref('v'))),
      { kind: 'set', name: 'v', value: add(ref('v'), f32(1)) },
      store('out', i32(0), add(old, ref('v'))),
      store('out', i32(1), add(ref('v'), f32(1))),
    ];
    expect(bound(body).filter((l) => l.startsWith('let'))).toEqual([]);
  });

  it('a name that comes back at another depth means another thing', () => {
    const square = mul(ref('x'), ref('x'));
    const body: Stmt[] = [
      loop('serial', 'i', 4, [letF('x', load('a', ref('i'))), store('out', ref('i'), add(square, square))]),
      loop('serial', 'k', 4, [
        loop('serial', 'i', 2, [
          letF('x', load('a', add(mul(ref('k'), i32(2)), ref('i')))),
          store('out', add(add(mul(ref('k'), i32(2)), ref('i')), i32(8)), add(square, square)),
        ]),
      ]),
    ];
    expect(bound(body).filter((l) => l.includes('x_') || l.includes('i_')).length).toBeGreaterThan(0);
  });
});
