/**
 * The short versions of the proofs in test/prove: one seed, a hundred steps; 15 steps of a large batch.
 */
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { data, inOnnxruntime, model, trainOnce } from './mnist-run.js';

describe.runIf(existsSync(model) && existsSync(data))('MNIST', () => {
  it('learns in 100 steps, and onnxruntime agrees with the exported model', async () => {
    const { accuracy, onnx } = trainOnce(1, ['--steps', '100']);
    // A hundred steps are a fifth of an epoch; the study's nets are above 95% there.
    expect(accuracy).toBeGreaterThan(0.95);
    expect(await inOnnxruntime(onnx, 10_000)).toBeCloseTo(accuracy, 3);
  });

  it('learns at batch 4,096, by accumulation, in the 15 steps of an epoch', () => {
    // The study's net has 98% at step 24 of 75; here the learning rate has fallen by a fifteenth each step.
    expect(trainOnce(1, ['--steps', '15'], [256, 16]).accuracy).toBeGreaterThan(0.93);
  });
});
