/**
 * Transformers as PyTorch exported them, on the wasm device, against PyTorch's float64 numbers: loss and the gradient of every
 * parameter (read off the first update: velocity = -lr * gradient). Images with a class token; characters, each of which is
 * classified.
 */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { float64, readNpy, readNpz } from '../npy.js';
import { type Data, load, outputBuffer } from './on-device.js';
import { relativeError } from './relative-error.js';

const models = '../shared/data/models/torch-small';
const golden = '../shared/data/golden';

/** Relative to the largest element of each tensor: f32 sums, through three blocks of attention. */
const TOLERANCE = 1e-4;

describe.runIf(existsSync(golden)).each([
  { file: 'vit_micro_c10_op15.onnx', numbers: 'vit_micro_c10', batch: 8, parameters: 44 },
  { file: 'torch_transformer_encoder_op15.onnx', numbers: 'torch_transformer_encoder', batch: 4, parameters: 27 },
])('$numbers on the device', ({ file, numbers, batch, parameters }) => {
  it('loss and gradients agree with PyTorch', () => {
    const on = load(readFileSync(`${models}/${file}`), file, { batch, optimizer: 'sgd', dropout: false });
    const array = (name: string) => float64(readNpy(`${golden}/${numbers}/${name}.npy`));
    const scalars = { lr: 1, momentum: 0, damping: 0, kl_bound: 3e38, weight_decay: 0 };
    const data: Data = {
      x: file.startsWith('vit') ? Float32Array.from(array('x')) : Int32Array.from(array('x')),
      target: Int32Array.from(array('y')),
      valid: new Float32Array(batch).fill(1),
      ...Object.fromEntries(Object.entries(scalars).map(([name, v]) => [name, Float32Array.of(v)])),
    };
    for (const { name, buffer } of on.stages.program.functions.find((f) => f.name === 'train')!.inputs)
      on.device.write(buffer, data[name]);
    on.device.run('train');

    const [loss] = on.device.read(outputBuffer(on, 'train', 'metrics')) as Float32Array;
    const want = JSON.parse(readFileSync(`${golden}/${numbers}/golden.json`, 'utf8')).loss;
    expect(Math.abs(loss / want - 1)).toBeLessThan(TOLERANCE);
    const gradients = readNpz(`${golden}/${numbers}/grads.npz`);
    expect(Object.keys(gradients)).toHaveLength(parameters);
    for (const [name, g] of Object.entries(gradients)) {
      const velocity = (on.device.read(`${name}.velocity`) as Float32Array).map((v) => -v);
      expect(relativeError(velocity, float64(g)), name).toBeLessThan(TOLERANCE);
    }
  });
});
