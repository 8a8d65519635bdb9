/**
 * cifar_resnet20 on every target against PyTorch's float64 numbers: loss, running statistics, raw factors, and natural
 * gradients (read off the first update: velocity = -lr * natural gradient while the clip is wide open).
 */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { allTargets, type Target } from '../../compiler/targets/targets.js';
import { goldenFactor } from '../golden/compare.js';
import { float64, readNpy, readNpz } from '../npy.js';
import { direction, goldenStep, type Stepped } from './golden-step.js';
import { relativeError } from './relative-error.js';

const models = '../shared/data/models/torch-small';
const golden = '../shared/data/golden/cifar_resnet20';

function step(target: Target, optimizer: 'spngd' | 'sgd', damping: number): Promise<Stepped> {
  const bytes = readFileSync(`${models}/cifar_resnet20_op15.onnx`);
  const [x, labels] = ['x', 'y'].map((f) => float64(readNpy(`${golden}/${f}.npy`)));
  const options = { batch: 8, optimizer, bnVariance: 'unbiased' } as const;
  return goldenStep(target, bytes, 'cifar_resnet20.onnx', options, { x, target: labels }, damping);
}

/** Relative to the largest element of each tensor; plain f32 sums of up to 8,192 products stay well under it. */
const RAW = 1e-4;
/**
 * Natural gradients carry the error of the float32 inverse: a plain one errs by up to 4e-6 (damping 1e-2) and 8e-5 (1e-4) by
 * the golden study, on top of RAW's for the gradient.
 */
const PRECONDITIONED: Record<string, number> = { '1e-2': 2e-4, '1e-4': 1e-3 };

/** A software GPU compiles hundreds of kernels first. */
vi.setConfig({ testTimeout: 600_000 });

describe.runIf(existsSync(golden)).each(allTargets)('cifar_resnet20 on %s', (target) => {
  it('loss, gradients and running statistics agree with PyTorch', async () => {
    const on = await step(target, 'sgd', 0);
    const metrics = on.read('metrics');
    const { loss } = JSON.parse(readFileSync(`${golden}/golden.json`, 'utf8'));
    expect(Math.abs(metrics[0] / loss - 1)).toBeLessThan(RAW);
    const gradients = readNpz(`${golden}/grads.npz`);
    expect(Object.keys(gradients).length).toBeGreaterThan(50);
    for (const [name, g] of Object.entries(gradients)) {
      expect(relativeError(direction(on, name), float64(g)), name).toBeLessThan(RAW);
    }
    for (const [name, v] of Object.entries(readNpz(`${golden}/bn_running_after_1step.npz`))) {
      if (name.includes('num_batches')) continue;
      expect(relativeError(on.read(name), float64(v)), name).toBeLessThan(1e-5);
    }
  });

  it.each(['1e-2', '1e-4'])('factors and natural gradients agree at damping %s', async (damping) => {
    const on = await step(target, 'spngd', Number(damping));
    const factors = readNpz(`${golden}/spngd_factors.npz`);
    let compared = 0;
    for (const [name, want] of Object.entries(factors)) {
      const got = goldenFactor(name, (state) => on.read(state));
      expect(relativeError(got, float64(want)), name).toBeLessThan(RAW);
      compared++;
    }
    expect(compared).toBe(64);
    for (const [name, want] of Object.entries(readNpz(`${golden}/spngd_precond_${damping}.npz`))) {
      expect(relativeError(direction(on, name), float64(want)), name).toBeLessThan(PRECONDITIONED[damping]);
    }
    const metrics = on.read('metrics');
    const names = on.stages.metrics.train;
    expect(metrics[names.indexOf('failed_inversions')]).toBe(0);
    expect(metrics[names.indexOf('nonfinite')]).toBe(0);
    expect(metrics[names.indexOf('kl_scale')]).toBe(1);
  });
});
