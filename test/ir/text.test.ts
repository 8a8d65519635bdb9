/** The text form: what it looks like, that it goes both ways exactly, and what it says when it cannot be read. */
import { describe, expect, it } from 'vitest';
import { UserError } from '../../ir/diagnostics/error.js';
import {
  parseKernel,
  parseKernels,
  parseModule,
  parseProgram,
  printKernel,
  printKernels,
  printModule,
  printProgram,
} from '../../ir/text/spn.js';
import { verifyKernel, verifyModule, verifyProgram } from '../../ir/verify.js';
import { Rng } from '../fuzz/rng.js';
import { randomKernel, randomModule, randomProgram } from './random-ir.js';

const graph = `module mlp level train

state {
  fc1.weight: f32[512,784]    parameter owner=all lifetime=training checkpoint=true init=weights                    # onnx:fc1.weight(Initializer)
  fc1.weight.A: sym[784]      factor    owner=all lifetime=training checkpoint=false init=0 of=fc1.weight           # curvature<onnx:/fc1/Gemm(Gemm)>
  "/fc1/Constant_1": i32[2]   constant  owner=all lifetime=artifact checkpoint=false init=weights                   # onnx:/fc1/Constant_1(Constant)
}

parameters {
  fc1.weight: trainable rule "kfac" why "weight of a fully connected layer"
}

train @train (
  x: f32[N,784] # onnx:x(Input)
  scale: f32[]  # model.ts:7:11
) {
  h1: f32[N,512]             = matmul x, fc1.weight {ta=false, tb=true}                          # onnx:/fc1/Gemm(Gemm)
  "/fc1/Relu_output": f32[N,512] = relu h1                                                       # onnx:/fc1/Relu(Relu)
  A: sym[784]                = second_moment x, scale {axis=1, ones=false} when due(fc1.weight.A) # curvature<onnx:/fc1/Gemm(Gemm)>
  A.new: sym[784]            = refresh A, fc1.weight.A                     when due(fc1.weight.A) # curvature<>
  return y = "/fc1/Relu_output"
  return gradient(fc1.weight) = fc1.weight
  update fc1.weight.A = A.new
}
`;

const kernel = `kernel k3_bias_relu (p0: f32[65536] read, p1: f32[512] read, p2: f32[65536] write) # onnx:/fc1/Gemm(Gemm)
workgroup=64 flops=131072 bytes=526336 {
  for i in 0..128 grid {
    var top: f32 = -inf
    for j in 0..512 vector {
      let t0: f32 = p0[i*512 + j] + p1[j]
      top max= t0
      p2[i*512 + j] = max(t0, 0.0)
    }
    if (top < 0.0) & (i == 3) {
      p2[(i + 1)*512 - 1] = select(i <= 4, -top, loadIf(i < 100, p0[i*512 + 700], 0)*0.1)
    } else {
      p2[i*512] = -(-(2.0))
    }
  }
}
`;

const tiles = `kernel k4_matmul (a: f32[100352] read, b: f32[401408] read, c: f32[65536] readwrite) # model.ts:12:3
workgroup=1 flops=102760448 bytes=2269184 {
  for i in 0..128 step 4 grid {
    group panel: f32[12544]
    for j in 0..512 step 16 serial {
      tile acc: f32[4,16]
      mma acc += a[i*784; row=784, k=1] * b[j; k=512, col=1], k < 784, f32
      each acc (r < min(4, 128 - i), q < 16) as v {
        c[(i + r)*512 + j + q] = max(v, 0.0)
      }
      tile acc = c[i*512 + j; row=512, col=1]
      c[i*512 + j; row=512, col=1] = tile acc
    }
  }
}
`;

const program = `program mlp target wasm peak=401664 liveBound=400000

memories {
  main: 401664 bytes
}

buffers {
  fc1.weight: f32[128,784] state     main + 0,      401408 bytes
  train.h1: f32[4,16]      transient main + 401408, 256 bytes
}

kernels {
  k_matmul        grid=32 scratch=0 access [read, readwrite] flops=102760448 bytes=2269184 cost=0.002 requires simd, memory >= 65536 computes [matmul, relu] source "onnx:/fc1/Gemm(Gemm)" stopped "the next op reduces"
  k_matmul_scalar grid=1 scratch=0  access [read, readwrite] flops=102760448 bytes=2269184 cost=0.02                                 computes [matmul]       source ""                     stopped ""
}

function @train (
  x = train.h1
) -> (
  gradient(fc1.weight) = fc1.weight
) {
  segment forward {
    s0: k_matmul else k_matmul_scalar [fc1.weight, train.h1] source "onnx:/fc1/Gemm(Gemm)"
  }
  segment curvature when due(fc1.weight.A) {
    s1: k_matmul [fc1.weight, train.h1] source ""
  }
}
`;

describe('examples', () => {
  it('reads a module and prints it in columns', () => {
    const module = parseModule(graph);
    verifyModule(module);
    const [h1, relu, moment] = module.functions[0].nodes;
    expect(h1).toMatchObject({
      op: 'matmul',
      attrs: { ta: false, tb: true },
      loc: { kind: 'onnx', node: '/fc1/Gemm' },
    });
    expect(relu.operands[0]).toBe(h1.results[0]);
    expect(moment).toMatchObject({
      guard: 'due(fc1.weight.A)',
      results: [{ type: { layout: 'packed-lower', shape: [784, 784] } }],
    });
    const text = printModule(module);
    expect(printModule(parseModule(text))).toBe(text);
    expect(parseModule(text)).toEqual(module);
    expect(text.split('\n').map((l) => l.replace(/ +/g, ' '))).toEqual(
      graph.split('\n').map((l) => l.replace(/ +/g, ' ')),
    );
  });

  it.each([
    ['pointwise', kernel],
    ['tiles', tiles],
  ])('kernel text is canonical: %s', (_, text) => {
    const k = parseKernel(text);
    verifyKernel(k);
    expect(printKernel(k)).toBe(text);
  });

  it('reads a program', () => {
    const p = parseProgram(program);
    verifyProgram(p);
    expect(p.functions[0].segments[0].steps[0]).toEqual({
      slot: 's0',
      args: ['fc1.weight', 'train.h1'],
      source: 'onnx:/fc1/Gemm(Gemm)',
      variants: ['k_matmul', 'k_matmul_scalar'],
    });
    expect(p.kernels).toMatchObject([
      { name: 'k_matmul', cost: 0.002, requires: { features: ['simd'], limits: { memory: 65536 } } },
      { name: 'k_matmul_scalar', cost: 0.02, requires: { features: [], limits: {} } },
    ]);
    const text = printProgram(p);
    expect(parseProgram(text)).toEqual(p);
    expect(printProgram(parseProgram(text))).toBe(text);
  });

  it('gives a line without a location its own place in the text', () => {
    const m = parseModule(
      'module m level model state {} parameters {}\nmodel @f (x: f32[3]) {\n  y: f32[3] = neg x\n}',
      'm.spn',
    );
    expect(m.functions[0].nodes[0].loc).toEqual({ kind: 'file', file: 'm.spn', line: 3, column: 3 });
  });

  it('groups operators as arithmetic does', () => {
    const value = (text: string): string => {
      const k = parseKernel(`kernel k () workgroup=1 flops=0 bytes=0 { x = ${text} }`);
      return printKernel(k).split('\n')[2].slice('  x = '.length);
    };
    for (const text of [
      'a - b - c',
      'a - (b - c)',
      'a*b/c',
      'a*(b/c)',
      '(a + b)*c',
      'a + b << 2',
      'a & b | c',
      '(a < b) & (c < d)',
      '(a == b) == c',
      '-a*b',
      '-(a*b)',
      '-(3)',
      '-3',
      '-(-a)',
      'a*-1',
    ])
      expect(value(text)).toBe(text);
    expect(value('a+b  *c')).toBe('a + b*c');
  });
});

describe('round trips', () => {
  const seeds = Array.from({ length: 150 }, (_, i) => i);

  // An absent `guard`, `of` or `from` may be a missing or an undefined key: toEqual takes them as equal.
  it('modules', () => {
    for (const seed of seeds) {
      const m = randomModule(new Rng(seed));
      const text = printModule(m);
      const back = parseModule(text);
      expect(back).toEqual(m);
      expect(printModule(back)).toBe(text);
    }
  });

  it('keeps values that are one value one value', () => {
    for (const seed of seeds) {
      for (const f of parseModule(printModule(randomModule(new Rng(seed)))).functions) {
        const known = new Set([...f.inputs, ...f.reads, ...f.nodes.flatMap((n) => n.results)]);
        for (const v of [
          ...f.nodes.flatMap((n) => n.operands),
          ...f.outputs.map((o) => o.value),
          ...f.updates.map((u) => u.value),
        ])
          expect(known.has(v)).toBe(true);
      }
    }
  });

  it('kernels', () => {
    const kernels = seeds.map((seed) => randomKernel(new Rng(seed)));
    for (const k of kernels) {
      const text = printKernel(k);
      expect(parseKernel(text)).toEqual(k);
      expect(printKernel(parseKernel(text))).toBe(text);
    }
    expect(parseKernels(printKernels(kernels.slice(0, 5)))).toEqual(kernels.slice(0, 5));
  });

  it('programs', () => {
    for (const seed of seeds) {
      const p = randomProgram(new Rng(seed));
      const text = printProgram(p);
      expect(parseProgram(text)).toEqual(p);
      expect(printProgram(parseProgram(text))).toBe(text);
    }
  });
});

describe('errors', () => {
  const thrown = (f: () => unknown): UserError => {
    try {
      f();
    } catch (e) {
      if (e instanceof UserError) return e;
      throw e;
    }
    throw new Error('nothing was thrown');
  };
  const line = (text: string, needle: string): string => {
    const before = text.slice(0, text.indexOf(needle));
    return `m.spn:${before.split('\n').length}:${before.length - before.lastIndexOf('\n')}`;
  };

  it.each([
    ['= relu h1', '= relu3 h1', 'relu3', 452, 'no op is named "relu3"'],
    ['= relu h1', '= relu h2', 'h2', 452, 'no value before this line is named "h2"'],
    ['A.new: sym', 'h1: sym', 'h1: sym', 453, '"h1" is defined twice'],
    ['factor    owner', 'faktor owner', 'faktor', 451, 'expected parameter or constant'],
    ['{\n  h1', 'reads {\n  h1', 'reads {', 451, 'expected "{", found "reads"'],
    ['refresh A, fc1.weight.A', 'refresh A, fc2.weight.A', 'fc2.weight.A', 452, 'no value before this line is named'],
    ['  A: sym[784]', '  fc1.weight: sym[784]', 'fc1.weight: sym', 453, '"fc1.weight" is defined twice'],
    ['h1: f32[N', 'h1: f33[N', 'f33', 451, 'expected f32 or f16'],
    ['return y =', 'return y', '"/fc1/Relu_output"\n  return g', 451, 'expected "=", found'],
    ['train @train', 'model @train', 'model @train', 451, 'expected train, found "model"'],
    ['"/fc1/Relu_output": f32', '"/fc1/Relu_output: f32', '"/fc1/Relu_output: f32', 450, 'unexpected'],
    ['"/fc1/Relu_output": f32', '"\\q": f32', '"\\q"', 451, 'expected a string with JSON escapes'],
    ['# onnx:/fc1/Relu(Relu)', '# onnx:/fc1/Relu', '  A: sym', 451, 'expected'],
    ['model.ts:7:11', 'model.ts:x:11', 'x:11', 451, 'expected an integer, found "x"'],
  ])('%s -> %s', (from, to, place, code, message) => {
    const text = graph.replace(from, to);
    const e = thrown(() => parseModule(text, 'm.spn'));
    expect(e.code).toBe(code);
    expect(e.what).toContain(message);
    if (code !== 450 && !place.startsWith('  ')) expect(e.loc).toBe(line(text, place));
  });

  it('names the end of a text that stops too early', () => {
    expect(thrown(() => parseModule(graph.trimEnd().slice(0, -1))).what).toMatch(
      /expected .* found the end of the text/,
    );
    expect(thrown(() => parseModule('')).what).toBe('text.spn:1:1: expected "module", found the end of the text');
    expect(thrown(() => parseModule(`${graph}}`)).what).toMatch(/expected .*the end of the text, found "}"/);
  });

  it('kernels and programs', () => {
    expect(thrown(() => parseKernel(kernel.replace('max(t0, 0.0)', 'max(t0)'))).what).toContain(
      'expected 2 arguments of max',
    );
    expect(thrown(() => parseKernel(kernel.replace('max(t0, 0.0)', 'maxi(t0)'))).what).toContain(
      'no function is named "maxi"',
    );
    expect(thrown(() => parseKernel(kernel.replace('..128', '..3000000000'))).what).toContain(
      'expected an integer of 32 bits',
    );
    expect(thrown(() => parseKernel(kernel.replace('128 grid', '128 grit'))).what).toContain('expected grid or group');
    expect(thrown(() => parseKernel(tiles.replace('; row=512, col=1] = tile acc', '] = tile acc'))).what).toContain(
      'expected a tile where',
    );
    expect(thrown(() => parseKernel(kernel + tiles)).code).toBe(454);
    expect(thrown(() => parseProgram(program.replace('wasm', 'cuda'))).what).toContain('expected wasm or webgpu');
    expect(thrown(() => parseProgram(program.replace('[4,16]', '[N,16]'))).what).toContain('dimensions are numbers');
  });
});
