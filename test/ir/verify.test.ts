/** Each rule of the verifiers, broken once. */
import { describe, expect, it } from 'vitest';
import { Builder } from '../../ir/builder.js';
import type { Func, Module } from '../../ir/graph.js';
import { admits, firstLevel } from '../../ir/levels.js';
import { passLoc } from '../../ir/loc.js';
import { opNames } from '../../ir/ops/table.js';
import { parseKernel, parseModule, parseProgram } from '../../ir/text/spn.js';
import { tensor } from '../../ir/types.js';
import { verifyKernel, verifyModule, verifyProgram } from '../../ir/verify.js';

/** `text` with `from` replaced once; the replacement must be there to be made. */
function altered(text: string, from: string, to: string): string {
  if (!text.includes(from)) throw new Error(`the example has no ${from}`);
  return text.replace(from, () => to);
}

describe('verifyModule', () => {
  const good = `module m level train
state {
  w: f32[4,3] parameter owner=all lifetime=training checkpoint=true init=weights # onnx:w(Gemm)
  A: sym[4] factor owner=all lifetime=training checkpoint=true init=0 of=w # onnx:w(Gemm)
  c: f32[] constant owner=all lifetime=artifact checkpoint=false init=weights # onnx:c(Constant)
}
parameters {}
train @train (
  x: f32[N,4]
) {
  y: f32[N,3] = matmul x, w {ta=false, tb=false}
  M: sym[4] = second_moment x, c {axis=1, ones=false} when due(A)
  twice: sym[4] = add M, M when due(A)
  A.new: sym[4] = refresh twice, A when due(A)
  later: sym[4] = neg A.new
  p: f32[N,3] = softmax y {axis=1}
  return y = y
  return p = p
  update A = A.new
}
`;

  it('accepts the example', () => verifyModule(parseModule(good)));

  it('lets what is due read the second backward pass, which runs wherever something is due that reads it', () =>
    verifyModule(parseModule(altered(good, 'ones=false} when due(A)', 'ones=false} when sampled'))));

  it.each([
    ['matmul x, w {ta=false, tb=false}', 'matmul x {ta=false, tb=false}', 'y = matmul: has 1 operands, needs 2'],
    ['matmul x, w {ta=false, tb=false}', 'matmul x, w {ta=false}', 'y = matmul: attribute tb is missing'],
    ['matmul x, w {ta=false, tb=false}', 'matmul x, w {ta=false, tb=0}', 'attribute tb = 0 is not of kind flag'],
    ['matmul x, w {ta=false, tb=false}', 'matmul x, w {ta=false, tb=false, tc=true}', 'has no attribute tc'],
    ['matmul x, w {ta=false, tb=false}', 'matmul x, w {ta=true, tb=false}', 'y = matmul: matmul: inner dimensions'],
    ['y: f32[N,3]', 'y: f32[N,4]', 'y = matmul: type f32[N,4] is not f32[N,3]'],
    ['y: f32[N,3]', 'y: f32[N,3], z: f32[]', 'has 2 results, the op has 1'],
    ['y: f32[N,3]', 'y: f32[N,3]@owner(1)', 'has an owner at level train'],
    ['add M, M when due(A)', 'add M, M', 'reads M, which exists only when due(A), in steps when always'],
    ['add M, M when due(A)', 'add M, M when due(B)', 'reads M, which exists only when due(A), in steps when due(B)'],
    ['add M, M when due(A)', 'add M, M when sampled', 'reads M, which exists only when due(A), in steps when sampled'],
    ['refresh twice, A when due(A)', 'refresh twice, A', 'A.new = refresh: refresh needs a guard'],
    ['refresh twice, A when due(A)', 'refresh A, twice when due(A)', 'the stored value twice exists only when due(A)'],
    ['neg A.new', 'neg A.new when ""', 'its guard has no name'],
    ['return y = y', 'return y = M', 'output y is M, which exists only when due(A)'],
    ['return p = p', 'return y = p', 'two outputs are named y'],
    ['update A = A.new', 'update A = twice', 'update of A is twice, which exists only when due(A)'],
    ['update A = A.new', 'update A = A.new\n  update A = A', 'updates state A twice'],
    ['update A = A.new', 'update B = A.new', 'updates state B, which is not in the state table'],
    ['update A = A.new', 'update w = A.new', 'update of state w: type sym[4] is not f32[4,3]'],
    ['update A = A.new', 'update c = c', 'updates state c, whose lifetime is artifact'],
    [
      'of=w',
      'of=w\n  w: f32[] counter owner=all lifetime=training checkpoint=true init=0',
      'state w is declared twice',
    ],
    ['of=w', 'of=v', 'state A is of v, which is not in the state table'],
    ['w: f32[4,3] parameter owner=all', 'w: f32[4,3] parameter owner=2', 'state w has owner 2 at level train'],
    ['w: f32[4,3] parameter', 'w: f32[N,3] parameter', 'state w: f32[N,3] has no fixed size'],
    ['later: sym[4]', '"": sym[4]', 'a value has no name'],
    ['x: f32[N,4]', 'x: f32[N,4]\n  v: sym[N]', 'a packed type needs two equal last dimensions'],
  ])('%s -> %s', (from, to, message) => {
    expect(() => verifyModule(parseModule(altered(good, from, to)))).toThrow(message);
  });

  it('holds each level to its vocabulary', () => {
    const at = (level: string): Module =>
      parseModule(good.replace('level train', `level ${level}`).replace('train @', `${level} @`));
    expect(() => verifyModule(at('model'))).toThrow('M = second_moment: level model does not admit this op');
    expect(() => verifyModule(at('placed'))).toThrow('p = softmax: level placed does not admit this op');
    const guarded = good
      .replace(/ {2}(M|twice|A\.new|later):.*\n/g, '')
      .replace('update A = A.new', '')
      .replace('{axis=1}', '{axis=1} when due(A)');
    expect(() =>
      verifyModule(parseModule(guarded.replace('level train', 'level model').replace('train @', 'model @'))),
    ).toThrow('level model admits no guards');
    expect(Object.keys(firstLevel).sort()).toEqual([...opNames].sort());
    for (const op of opNames) expect(admits('train', op)).toBe(true);
  });

  it('tells apart what text cannot', () => {
    const module = parseModule(good);
    const [train] = module.functions;
    const broken = (func: Partial<Func>, more: Partial<Module> = {}): Module => ({
      ...module,
      functions: [{ ...train, ...func }],
      ...more,
    });
    const [first, ...rest] = train.nodes;
    expect(() => verifyModule(broken({ nodes: rest }))).toThrow('p = softmax reads y before it is defined');
    expect(() => verifyModule(broken({ nodes: [first, first, ...rest] }))).toThrow('y is defined twice');
    const other = { ...first, operands: [{ ...first.operands[0] }, first.operands[1]] };
    expect(() => verifyModule(broken({ nodes: [other, ...rest] }))).toThrow(
      'reads another x than the one that is defined here',
    );
    const lost = { ...first, loc: undefined } as unknown as typeof first;
    expect(() => verifyModule(broken({ nodes: [lost, ...rest] }))).toThrow('y = matmul has no location');
    const unknown = { ...first, op: 'matmull' } as unknown as typeof first;
    expect(() => verifyModule(broken({ nodes: [unknown, ...rest] }))).toThrow('y = matmull: no such op');
    const half = { ...train.inputs[0], type: tensor('f32', [1.5, 4]) };
    expect(() => verifyModule(broken({ inputs: [half] }))).toThrow('x: f32[1.5,4] has a dimension of 1.5');
    const [w, ...others] = train.reads;
    const turned = { ...w, type: tensor('f32', [3, 4]) };
    expect(() => verifyModule(broken({ reads: [turned, ...others] }))).toThrow(
      'state w: type f32[3,4] is not f32[4,3]',
    );
    expect(() => verifyModule(broken({ reads: [...train.reads, { ...w, name: 'v' }] }))).toThrow(
      'reads state v, which is not in the state table',
    );
    expect(() => verifyModule(broken({}, { functions: [train, train] }))).toThrow('two functions are named train');
  });

  it('takes a graph of 3000 nodes without running out of stack', () => {
    const b = new Builder('train', passLoc('test'));
    let x = b.input('x', tensor('f32', [32, 64, 56, 56]));
    const w = b.input('w', tensor('f32', [64, 64, 3, 3]));
    const attrs = { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 };
    for (let i = 0; i < 1000; i++) x = b.add(b.node('relu', [x]), b.node('conv', [x, w], { attrs }));
    b.output('y', x);
    const module: Module = {
      name: 'm',
      level: 'train',
      state: [],
      functions: [b.finish()],
      weights: new Map(),
      parameters: [],
    };
    expect(() => verifyModule(module)).not.toThrow();
  });
});

describe('verifyKernel', () => {
  const good = `kernel k (a: f32[64] read, n: i32[64] read, u: u8[64] read, h: f16[64] read, y: f32[64] write, z: u8[64] readwrite)
workgroup=64 flops=0 bytes=0 {
  for i in 0..8 grid {
    var s: f32 = 0.0
    var t: i32 = 0
    for j in 0..8 vector {
      let x: f32 = a[i*8 + j]*h[j]
      s += x
      t max= n[j]
      y[i*8 + j] = select(x < 0.0, toF32(u[j]), loadIf(j < 4, a[j], 0))
      z[j] = toI32(x) & 255
    }
    s = sqrt(s)
    register r: f32[8]
    r[0] = s
    tile acc: f32[4,4]
    mma acc += a[0; row=4, k=1] * r[0; k=1, col=1], k < 4, f32
    tile acc = a[0; row=4, col=1]
    y[0; row=4, col=1] = tile acc
    each acc (p < 4, q < i + 1) as v {
      y[p*4 + q] = v
    }
    if not(i == 3) {
      y[0] = 1.0
    } else {
      y[1] = uToF32(t ^ 1)
    }
  }
}
`;
  it('accepts the example', () => verifyKernel(parseKernel(good)));

  it.each([
    ['kernel k ', 'kernel "k 1" ', 'its name is no identifier'],
    ['a: f32[64]', 'a: f32[0]', 'parameter a has 0 elements'],
    ['n: i32', 'a: i32', 'a is defined where another a is visible'],
    ['let x: f32', 'let "x 1": f32', '"x 1" is no identifier'],
    ['let x: f32', 'let i: f32', 'i is defined where another i is visible'],
    ['s += x', 's += q', 'reads q, which is not defined here'],
    ['s += x', 's += a', 'reads a, which is a memory'],
    ['s += x', 's += toF32(n[x])', 'index into n is f32, not i32'],
    ['s += x', 's += b[0]', 'loads from b, which is not defined here'],
    ['s += x', 's += y[0]', 'loads from y, which is only written'],
    ['s += x', 's += n[0]', 'value of s is i32, not f32'],
    ['s += x', 's += x + 1', 'add of f32 and i32'],
    ['s += x', 's += x % x', 'rem of f32, needs i32'],
    ['s += x', 's += sqrt(2)', 'sqrt of i32, needs f32'],
    ['s += x', 's += select(1, x, x)', 'condition of select is i32, not bool'],
    ['s += x', 's += select(true, x, 1)', 'select between f32 and i32'],
    ['s += x', 's = x', 'sets s, which lies outside the vector loop'],
    ['s += x', 'x += 1.0', 'accumulates into x, which is a let'],
    ['s += x', 'a[0] = x', 'stores to a, which is only read'],
    ['s += x', 'y[0] = 1', 'stores i32 to y, which holds f32'],
    ['s = sqrt(s)', 's = true', 'value of s is bool, not f32'],
    ['s = sqrt(s)', 's = x', 'reads x, which is not defined here'],
    ['s = sqrt(s)', 'for j in 0..4 lane { s += 1.0 }', 'accumulates into s, which lies outside the lane loop'],
    ['for i in 0..8 grid', 'for i in 0..8.5 grid', 'upper bound of i is f32, not i32'],
    ['for i in 0..8 grid', 'for i in true..8 grid', 'lower bound of i is bool, not i32'],
    ['for i in 0..8 grid', 'for i in 0..8 step 0 grid', 'loop i has step 0'],
    ['var t: i32', 'var t: bool', 'value of t is i32, not bool'],
    ['var t: i32 = 0', 'var t: bool = true', 'accumulates into t, which is bool'],
    ['register r: f32[8]', 'register r: f32[0]', 'r has 0 elements'],
    ['tile acc: f32[4,4]', 'tile acc: f32[0,4]', 'tile acc is 0 x 4'],
    ['tile acc: f32[4,4]', 'tile bcc: f32[4,4]', 'uses tile acc, which is not defined here'],
    ['* r[0;', '* n[0;', 'mma of n, which is not floating point'],
    ['k < 4,', 'k < 4.0,', 'depth of mma is f32, not i32'],
    ['tile acc = a[0; row=4', 'tile acc = a[0; row=4.0', 'row stride is f32, not i32'],
    ['tile acc = a[0', 'tile acc = n[0', 'tile of n, which is not floating point'],
    ['y[0; row', 'z[0; row', 'tile to z, which is not floating point'],
    ['(p < 4', '(p < 4.0', 'row limit is f32, not i32'],
    ['y[p*4 + q] = v', 's += v', 'accumulates into s, which lies outside the each loop'],
    ['if not(i == 3)', 'if i', 'condition of if is i32, not bool'],
  ])('%s -> %s', (from, to, message) => {
    expect(() => verifyKernel(parseKernel(altered(good, from, to)))).toThrow(message);
  });

  it('holds constants to their types', () => {
    const k = parseKernel(good);
    const value = { kind: 'const', type: 'f32', value: 0.1 } as const;
    expect(() => verifyKernel({ ...k, body: [{ kind: 'let', name: 'c', type: 'f32', value }] })).toThrow(
      'constant 0.1 is not an f32',
    );
    expect(() =>
      verifyKernel({ ...k, body: [{ kind: 'let', name: 'c', type: 'i32', value: { ...value, type: 'i32' } }] }),
    ).toThrow('constant 0.1 is not an i32');
    expect(() =>
      verifyKernel({ ...k, body: [{ kind: 'let', name: 'c', type: 'bool', value: { ...value, type: 'bool' } }] }),
    ).toThrow('constant 0.1 is not a bool');
  });
});

describe('verifyProgram', () => {
  const good = `program p target wasm peak=2048 liveBound=1024
memories {
  main: 2048 bytes
}
buffers {
  w: f32[16] state main + 0, 64 bytes
  x: f32[16] input main + 256, 64 bytes
  t: f32[16] transient main + 512, 64 bytes
  t2: f32[16] transient main + 512, 512 bytes
}
kernels {
  k grid=1 scratch=0 access [read, readwrite] flops=0 bytes=0 cost=1 computes [] source "" stopped ""
}
function @f (x = x) -> (y = t) {
  segment main {
    s0: k [w, t] source ""
    s1: k [t, t2] source ""
  }
}
`;
  const k = parseKernel('kernel k (a: f32[16] read, b: f32[16] write) workgroup=1 flops=0 bytes=0 { b[0] = a[0] }');
  it('accepts the example', () => verifyProgram(parseProgram(good), [k]));

  it.each([
    ['t2: f32', 't: f32', 'two buffers are named t'],
    ['w: f32[16] state main', 'w: f32[16] state mine', 'buffer w lies in mine, which is no memory'],
    ['main + 256', 'main + 252', 'buffer x begins at 252, which is no multiple of 256'],
    ['main + 256', 'main + 0', 'buffers w and x overlap, one of which must last'],
    ['main + 0, 64', 'main + 512, 64', 'overlap, one of which must last'],
    ['x: f32[16] input main + 256, 64', 'x: f32[16] input main + 0, 512', 'overlap, one of which must last'],
    ['512, 512 bytes', '512, 2048 bytes', 'buffer t2 ends at 2560, memory main has 2048 bytes'],
    ['512, 512 bytes', '512, 32 bytes', 'buffer t2 has 32 bytes, its type needs 64'],
    ['(x = x)', '(x = z)', 'f: x is z, which is no buffer'],
    ['(x = x)', '(x = x x = t)', 'two inputs of f are named x'],
    ['s0: k [w, t]', 's0: k [w, z]', 'f: s0 takes z, which is no buffer'],
    ['s0: k [w, t]', 's0: q [w, t]', 'f: s0 runs q, which is not in the kernel table'],
    ['s1: k', 's0: k', 'f: two steps have slot s0'],
    ['s0: k [w, t]', 's0: k [w, t, x]', 'gives 3 buffers to k, which has 2 parameters'],
    ['  segment main {', '  batch g = z [h]\n  segment main {', 'f: the batch g is told by z, which is no buffer'],
    ['  segment main {', '  batch g = w [h]\n  segment main {', 'f: the batch g has 1 guards, w has other elements'],
    ['segment main {', 'segment main repeat 0 {', 'f: segment main is repeated 0 times'],
    ['w: f32[16]', 'w: i32[16]', 'gives w (i32) for parameter a (f32) of k'],
    ['w: f32[16]', 'w: f32[15]', 'gives w with 15 elements for parameter a of k, which has 16'],
    ['peak=2048', 'peak=4096', "the plan's peak is 4096, its memories have 2048 bytes"],
    ['liveBound=1024', 'liveBound=4096', "the plan's live-set bound 4096 exceeds its peak"],
  ])('%s -> %s', (from, to, message) => {
    expect(() => verifyProgram(parseProgram(altered(good, from, to)), [k])).toThrow(message);
  });

  it('asks for the code of each kernel, if any is given', () => {
    const p = parseProgram(good);
    expect(() => verifyProgram(p, [{ ...k, name: 'other' }])).toThrow('runs k, which has no code');
    const [f] = p.functions;
    const [segment] = f.segments;
    const none = { ...segment, steps: [{ ...segment.steps[0], variants: [] }] };
    expect(() => verifyProgram({ ...p, functions: [{ ...f, segments: [none] }] })).toThrow('f: s0 has no variant');
  });
});
