/**
 * WGSL that the printer writes, validated by Dawn on its null backend: a device that checks everything and runs nothing.
 * What the kernels mean is held by the interpreter, and barriers by looking at the text.
 */
import { describe, expect, it } from 'vitest';
import { lowerContraction } from '../../compiler/kernels/gpu/contraction.js';
import { subgroupMatrixGemm } from '../../compiler/kernels/gpu/subgroup-matrix.js';
import { printWgsl, workgroupsOf } from '../../compiler/targets/webgpu/print.js';
import { Builder } from '../../ir/builder.js';
import {
  add,
  f32,
  i32,
  type Kernel,
  letF,
  load,
  loop,
  max,
  mul,
  ref,
  type Stmt,
  store,
  unary,
} from '../../ir/kernel.js';
import { interpret } from '../../ir/kernel-interpret.js';
import { passLoc } from '../../ir/loc.js';
import { tensor } from '../../ir/types.js';
import { verifyKernel } from '../../ir/verify-kernel.js';
import { regionOf } from '../kernels/lowered.js';
import { packedGemm } from './packed-gemm.js';
import { randomKernel } from './random-kernel.js';
import { kernelOf, param, randomFrom, when } from './run-wasm.js';
import { complaints, limits } from './validate-wgsl.js';

async function expectValid(kernel: Kernel): Promise<string> {
  verifyKernel(kernel);
  const code = printWgsl(kernel);
  expect(await complaints(code), code).toEqual([]);
  return code;
}

/** C and its float64 reference on small whole numbers, for which f16 and f32 sums are exact. */
function product(kernel: Kernel, m: number, n: number, k: number): { found: Float32Array; expected: Float32Array } {
  const next = randomFrom(m + n + k);
  const whole = (length: number): Float32Array => Float32Array.from({ length }, () => Math.floor(next() * 9) - 4);
  const [A, B, C] = [whole(m * k), whole(k * n), new Float32Array(m * n).fill(-1)];
  interpret(kernel, { A, B, C });
  const expected = new Float32Array(m * n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) for (let p = 0; p < k; p++) expected[i * n + j] += A[i * k + p] * B[p * n + j];
  return { found: C, expected };
}

describe('validation itself', () => {
  it('refuses a barrier where threads diverge', async () => {
    const code = `@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) { if (lane == 3u) { workgroupBarrier(); } }`;
    expect((await complaints(code)).join()).toContain('uniform');
  });
});

describe('products', () => {
  it('group memory, f32', async () => {
    const b = new Builder('f', passLoc('test'));
    b.output('z', b.matmul(b.input('x', tensor('f32', [512, 512])), b.input('y', tensor('f32', [512, 512]))));
    const code = await expectValid(lowerContraction(regionOf(b.finish()), 'gemm'));
    // Before the next block overwrites what was read, and before it is read.
    expect(code.match(/workgroupBarrier/g)).toHaveLength(2);
  });

  it('subgroup matrices, f16 to f32', async () => {
    const code = await expectValid(subgroupMatrixGemm());
    expect(code).toContain('enable chromium_experimental_subgroup_matrix;');
    expect(code).toContain('subgroupMatrixMultiplyAccumulate');
    // One before the next block overwrites what was read, one before it is read, one before C is gathered.
    expect(code.match(/workgroupBarrier/g)).toHaveLength(3);
    await expectValid(subgroupMatrixGemm({ m: 70, n: 33, k: 21 }));
    const { found, expected } = product(subgroupMatrixGemm({ m: 18, n: 9, k: 40 }), 18, 9, 40);
    expect(found).toEqual(expected);
  });

  it('what is written for a CPU', async () => {
    await expectValid(packedGemm(37, 50, 300, 4, 8, 32, 16));
    await expectValid(packedGemm(37, 50, 300, 3, 5, 32, 16));
  });
});

describe('other kernels', () => {
  const n = 1000;
  it('pointwise with transcendental functions', async () => {
    const ops = ['exp', 'log', 'tanh', 'erf'] as const;
    const body = ops.map((op, j) => store('y', add(mul(ref('i'), i32(4)), i32(j)), unary(op, load('x', ref('i')))));
    const kernel = kernelOf(
      'pointwise',
      [param('x', n), param('y', 4 * n, 'f32', 'write')],
      [
        loop('grid', 'b', n / 100, [
          loop('vector', 'i', mul(add(ref('b'), i32(1)), i32(100)), body, mul(ref('b'), i32(100))),
        ]),
      ],
    );
    await expectValid(kernel);
  });

  it('a reduction that a workgroup shares', async () => {
    const total: Stmt[] = [
      { kind: 'alloc', name: 'parts', space: 'group', type: 'f32', size: 64 },
      loop('lane', 't', 64, [
        { kind: 'var', name: 'part', type: 'f32', value: f32(0) },
        loop(
          'serial',
          'i',
          i32(n),
          [{ kind: 'accumulate', name: 'part', op: 'add', value: load('x', ref('i')) }],
          ref('t'),
          64,
        ),
        store('parts', ref('t'), ref('part')),
      ]),
      { kind: 'var', name: 'sum', type: 'f32', value: f32(0) },
      loop('serial', 'j', 64, [{ kind: 'accumulate', name: 'sum', op: 'add', value: load('parts', ref('j')) }]),
      store('y', i32(0), ref('sum')),
      letF('again', load('y', i32(0))),
      store('y', i32(1), max(ref('again'), f32(0))),
    ];
    const kernel = kernelOf('total', [param('x', n), param('y', 2, 'f32', 'readwrite')], [loop('grid', 'g', 1, total)]);
    const code = await expectValid(kernel);
    expect(code.match(/workgroupBarrier/g)).toHaveLength(1);
    // Before all read y[0], and before one of them may write y again.
    expect(code.match(/storageBarrier/g)).toHaveLength(2);
  });

  it('more than 65,535 workgroups fold into two dimensions', async () => {
    const kernel = kernelOf(
      'wide',
      [param('y', 64, 'f32', 'write')],
      [
        loop('grid', 'g', 10_000_000, [
          when({ kind: 'binary', op: 'eq', a: ref('g'), b: i32(0) }, [store('y', i32(0), f32(1))]),
        ]),
      ],
    );
    expect(workgroupsOf(kernel)).toEqual([65_535, 3]);
    await expectValid(kernel);
  });

  it('random kernels', async () => {
    let count = 0;
    const most = (await limits()).maxStorageBuffersPerShaderStage;
    for (let seed = 0; seed < 300; seed++) {
      const { kernel } = randomKernel(seed);
      if (kernel.params.length > most) continue;
      await expectValid(kernel);
      count++;
    }
    expect(count).toBeGreaterThan(30);
  });
});
