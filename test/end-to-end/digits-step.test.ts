/**
 * Steps of the digits example against the float64 evaluator, at the batch of the example: the gradient of a convolution is
 * then summed in several stages, with the update behind the last, and written over the state that it reads.
 */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { both, inputsFor, load, relativeError } from './on-device.js';

const scalars = { lr: 0.1, momentum: 0.9, damping: 0.01, kl_bound: 1e-3, weight_decay: 1e-4 };
/** f32 sums of up to 64 * 64 products, and inverses of factors damped with 1e-2, as in step.test.ts. */
const TOLERANCE = 5e-4;

it.each(['sgd', 'spngd'] as const)('%s: all state after each of two steps', (optimizer) => {
  const bytes = readFileSync('examples/digits/digits.onnx');
  const on = load(bytes, 'digits.onnx', { optimizer, batch: 64, init: 'he-normal' });
  const train = on.stages.placed.functions.find((f) => f.name === 'train')!;
  for (let step = 0; step < 2; step++) {
    const { device, reference } = both(on, 'train', inputsFor(train, 10, scalars));
    for (const { state } of train.updates) {
      const error = relativeError(device.read(state) as Float32Array, reference.state[state], 1e-4);
      expect(error, `step ${step}: ${state}`).toBeLessThan(TOLERANCE);
    }
  }
});
