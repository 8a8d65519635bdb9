/**
 * cifar_resnet20 on every target against PyTorch's float64 numbers: loss, running statistics, raw factors, and natural
 * gradients (read off the first update: velocity = -lr * natural gradient while the clip is wide open).
 */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Target } from '../../ir/artifact.js';
import { float64, readNpy, readNpz } from '../npy.js';
import { loadOn, type OnDevice, outputBuffer } from './on-device.js';
import { relativeError } from './relative-error.js';

const models = '../shared/data/models/torch-small';
const golden = '../shared/data/golden/cifar_resnet20';

async function step(on: Target, optimizer: 'spngd' | 'sgd', damping: number): Promise<OnDevice> {
  const loaded = await loadOn(on, readFileSync(`${models}/cifar_resnet20_op15.onnx`), 'cifar_resnet20.onnx', {
    batch: 8,
    optimizer,
    bnVariance: 'unbiased',
  });
  const x = Float32Array.from(float64(readNpy(`${golden}/x.npy`)));
  const target = Int32Array.from(float64(readNpy(`${golden}/y.npy`)));
  const scalars: Record<string, number> = { lr: 1, momentum: 0, damping, kl_bound: 3e38, weight_decay: 0 };
  const program = loaded.device.program.functions.find((f) => f.name === 'train')!;
  for (const { name, buffer } of program.inputs) {
    if (name === 'x') loaded.device.write(buffer, x);
    else if (name === 'target') loaded.device.write(buffer, target);
    else if (name === 'valid') loaded.device.write(buffer, new Float32Array(8).fill(1));
    else loaded.device.write(buffer, Float32Array.of(scalars[name]));
  }
  await loaded.device.run('train');
  return loaded;
}

/** Unpacks lower triangles to full matrices, as the golden files have them. */
function full(packed: Float32Array, n: number): Float64Array {
  const out = new Float64Array(n * n);
  for (let i = 0, k = 0; i < n; i++)
    for (let j = 0; j <= i; j++, k++) {
      out[i * n + j] = packed[k];
      out[j * n + i] = packed[k];
    }
  return out;
}

/** Rows [gamma gamma, gamma beta, beta beta] of every channel as 2x2 blocks. */
function blocks(rows: Float32Array): Float64Array {
  const c = rows.length / 3;
  return Float64Array.from({ length: 4 * c }, (_, i) => rows[[0, c, c, 2 * c][i % 4] + Math.floor(i / 4)]);
}

const read = async (on: OnDevice, name: string): Promise<Float32Array> => (await on.device.read(name)) as Float32Array;

/** Relative to the largest element of each tensor; plain f32 sums of up to 8,192 products stay well under it. */
const RAW = 1e-4;
/**
 * Natural gradients carry the error of the float32 inverse: a plain one errs by up to 4e-6 (damping 1e-2) and 8e-5 (1e-4) by
 * the golden study, on top of RAW's for the gradient.
 */
const PRECONDITIONED: Record<string, number> = { '1e-2': 2e-4, '1e-4': 1e-3 };

describe.runIf(existsSync(golden)).each(['wasm', 'webgpu'] as const)('cifar_resnet20 on %s', (target) => {
  it('loss, gradients and running statistics agree with PyTorch', async () => {
    const on = await step(target, 'sgd', 0);
    const metrics = await read(on, outputBuffer(on, 'train', 'metrics'));
    const { loss } = JSON.parse(readFileSync(`${golden}/golden.json`, 'utf8'));
    expect(Math.abs(metrics[0] / loss - 1)).toBeLessThan(RAW);
    const gradients = readNpz(`${golden}/grads.npz`);
    expect(Object.keys(gradients).length).toBeGreaterThan(50);
    for (const [name, g] of Object.entries(gradients)) {
      const velocity = (await read(on, `${name}.velocity`)).map((v) => -v);
      expect(relativeError(velocity, float64(g)), name).toBeLessThan(RAW);
    }
    for (const [name, v] of Object.entries(readNpz(`${golden}/bn_running_after_1step.npz`))) {
      if (name.includes('num_batches')) continue;
      expect(relativeError(await read(on, name), float64(v)), name).toBeLessThan(1e-5);
    }
  });

  it.each(['1e-2', '1e-4'])('factors and natural gradients agree at damping %s', async (damping) => {
    const on = await step(target, 'spngd', Number(damping));
    const factors = readNpz(`${golden}/spngd_factors.npz`);
    let compared = 0;
    for (const [name, want] of Object.entries(factors)) {
      // Five A are too wide to be shipped whole: their diagonals and row sums stand for them.
      const [base, part] = name.split(/\.(?=diag$|rowsum$)/);
      const unit = want.shape.length === 3;
      const n = want.shape[0];
      let got = unit ? blocks(await read(on, `${name}.F`)) : full(await read(on, base), n);
      if (part === 'diag') got = Float64Array.from({ length: n }, (_, k) => got[k * n + k]);
      if (part === 'rowsum')
        got = Float64Array.from({ length: n }, (_, k) => got.subarray(k * n, (k + 1) * n).reduce((a, b) => a + b, 0));
      expect(relativeError(got, float64(want)), name).toBeLessThan(RAW);
      compared++;
    }
    expect(compared).toBe(64);
    for (const [name, want] of Object.entries(readNpz(`${golden}/spngd_precond_${damping}.npz`))) {
      const velocity = (await read(on, `${name}.velocity`)).map((v) => -v);
      expect(relativeError(velocity, float64(want)), name).toBeLessThan(PRECONDITIONED[damping]);
    }
    const metrics = await read(on, outputBuffer(on, 'train', 'metrics'));
    const names = on.stages.metrics.train;
    expect(metrics[names.indexOf('failed_inversions')]).toBe(0);
    expect(metrics[names.indexOf('nonfinite')]).toBe(0);
    expect(metrics[names.indexOf('kl_scale')]).toBe(1);
  });
});
