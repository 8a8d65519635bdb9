/**
 * Whole functions on the wasm device against the float64 evaluator, from one state, for real models: every output and every
 * state update. What fusion, tiles, the memory plan and in-place updates could get wrong shows here.
 */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { CompileOptions } from '../../compiler/compile.js';
import { both, inputsFor, load, outputBuffer, relativeError } from './on-device.js';

const models = '../shared/data/models';
const scalars = { lr: 0.03, momentum: 0.9, damping: 0.01, kl_bound: 1e-3, weight_decay: 1e-4 };

/**
 * f32 against f64. Gradients pass through sums of up to batch * positions * channels products: 1e-4 of the largest element
 * leaves a factor of about 20 over what was seen. Inverses of factors damped with 1e-2 amplify by their condition (some 1e2),
 * sp-ngd golden notes: 4e-6 to 8e-5 for a plain float32 inverse; updates inherit both.
 */
const TOLERANCE = 5e-4;
const FLOOR = 1e-4;

const cases: readonly { file: string; name: string; options: CompileOptions; classes: number }[] = [
  { name: 'MLP', file: 'onnxruntime/test_training_model.onnx', options: { batch: 5 }, classes: 10 },
  { name: 'MNIST net', file: 'onnxruntime/cnn_mnist_pytorch.onnx', options: { batch: 4 }, classes: 10 },
  {
    name: 'MNIST net, SGD',
    file: 'onnxruntime/cnn_mnist_pytorch.onnx',
    options: { batch: 4, optimizer: 'sgd' },
    classes: 10,
  },
  { name: 'MNIST net with BatchNorm', file: 'trained/burn_mnist_bn.onnx', options: { batch: 3 }, classes: 10 },
];

describe.runIf(existsSync(models))('a step on the device', () => {
  it.each(cases)('$name', ({ file, options, classes }) => {
    const on = load(readFileSync(`${models}/${file}`), file, options);
    for (let step = 0; step < 3; step++) {
      const inputs = inputsFor(on.stages.placed.functions.find((f) => f.name === 'train')!, classes, scalars);
      const { device, reference, func } = both(on, 'train', inputs);
      expect(
        relativeError(device.read(outputBuffer(on, 'train', 'metrics')) as Float32Array, reference.outputs.metrics),
      ).toBeLessThan(TOLERANCE);
      for (const u of func.updates) {
        const error = relativeError(device.read(u.state) as Float32Array, reference.state[u.state], FLOOR);
        expect(error, `step ${step}: ${u.state}`).toBeLessThan(TOLERANCE);
      }
    }
    for (const name of ['eval', 'predict']) {
      const func = on.stages.placed.functions.find((f) => f.name === name)!;
      const { device, reference } = both(on, name, inputsFor(func, classes));
      for (const [output, want] of Object.entries(reference.outputs)) {
        expect(
          relativeError(device.read(outputBuffer(on, name, output)) as Float32Array, want),
          `${name} ${output}`,
        ).toBeLessThan(TOLERANCE);
      }
    }
  });

  it('gives the same bytes for the same input', async () => {
    const { compile } = await import('../../compiler/compile.js');
    const bytes = readFileSync(`${models}/${cases[1].file}`);
    const [a, b] = [0, 1].map(() => compile(bytes, 'm.onnx', { batch: 8, init: 'he-normal', seed: 3 }).files);
    expect([...a.keys()]).toEqual([...b.keys()]);
    for (const [path, data] of a) expect(Buffer.compare(data, b.get(path)!), path).toBe(0);
  });
});
