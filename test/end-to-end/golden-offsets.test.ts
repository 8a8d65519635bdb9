/**
 * Factors of cifar_resnet20 on wasm, every window of more than one tap by offset correlations, without and with Winograd's rows,
 * also where other forms are as quick: against PyTorch's float64 numbers.
 */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import type { Node } from '../../ir/graph.js';
import { goldenFactor } from '../golden/compare.js';
import { float64, readNpy, readNpz } from '../npy.js';
import { goldenStep } from './golden-step.js';
import { relativeError } from './relative-error.js';

const lowered = vi.hoisted(() => ({ offsets: new Set<string>(), winograd: new Set<string>(), allowWinograd: false }));
vi.mock('../../compiler/kernels/contraction-offset-cost.js', async () => {
  const { planWinogradMoment } = await import('../../compiler/kernels/contraction-winograd-moment-plan.js');
  return {
    offsetsPay: (node: Node): boolean => {
      const { kernel } = node.attrs as { kernel?: readonly number[] };
      const forced = node.op === 'patch_second_moment' && kernel![0] * kernel![1] > 1;
      if (forced) lowered.offsets.add(node.results[0].name);
      return forced;
    },
    winogradMomentPays: (node: Node): boolean => {
      const forced = lowered.allowWinograd && planWinogradMoment(node) !== undefined;
      if (forced) lowered.winograd.add(node.results[0].name);
      return forced;
    },
  };
});

const models = '../shared/data/models/torch-small';
const golden = '../shared/data/golden/cifar_resnet20';

describe.runIf(existsSync(golden))('cifar_resnet20 by offset correlations', () => {
  // 19 convolutions of six kinds, two of them with stride 2: equal ones share a kernel.
  it.each([
    { rows: 'all products', offsets: 6, winograd: 0 },
    { rows: "Winograd's rows", offsets: 2, winograd: 4 },
  ])(
    'has the factors of PyTorch with $rows',
    async (want) => {
      lowered.allowWinograd = want.winograd > 0;
      lowered.offsets.clear();
      const [x, target] = ['x', 'y'].map((f) => float64(readNpy(`${golden}/${f}.npy`)));
      const bytes = readFileSync(`${models}/cifar_resnet20_op15.onnx`);
      const options = { batch: 8, optimizer: 'spngd', bnVariance: 'unbiased' } as const;
      // Under a name of its own, a model is compiled anew.
      const on = await goldenStep('wasm', bytes, `cifar_resnet20.${want.winograd}.onnx`, options, { x, target }, 1e-2);
      expect([lowered.offsets.size, lowered.winograd.size]).toEqual([want.offsets, want.winograd]);
      // The bound is that of the direct form.
      let largest = 0;
      for (const [name, factor] of Object.entries(readNpz(`${golden}/spngd_factors.npz`))) {
        const error = relativeError(
          goldenFactor(name, (state) => on.read(state)),
          float64(factor),
        );
        largest = Math.max(largest, error);
        expect(error, name).toBeLessThan(1e-4);
      }
      console.info(`largest relative error of a factor: ${largest.toExponential(1)}`);
    },
    600_000,
  );
});
