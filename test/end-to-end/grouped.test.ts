/**
 * A net of depthwise, dilated and grouped convolutions with a shuffle of channels between them, and one of rows, on the wasm
 * device against the float64 evaluator, from one state: every output and every state update.
 */
import { describe, expect, it } from 'vitest';
import { printType } from '../../ir/types.js';
import { floats, ints, node, onnxFile, valueInfo } from '../frontend/make-onnx.js';
import { noise } from '../nets.js';
import { both, inputsFor, load, outputBuffer, relativeError } from './on-device.js';

const scalars = { lr: 0.03, momentum: 0.9, damping: 0.01, kl_bound: 1e-3, weight_decay: 1e-4 };
/** f32 against f64, as for whole models: sums of some thousand products, inverses of factors damped with 1e-2. */
const TOLERANCE = 5e-4;
const FLOOR = 1e-4;

let key = 0;
const random = (name: string, dims: readonly number[], scale = 0.5) => {
  const size = dims.reduce((n, d) => n * d, 1);
  return floats(
    name,
    dims,
    [...noise(size, ++key)].map(Math.fround).map((v) => v * scale),
  );
};
const ones = (name: string, n: number) => floats(name, [n], new Array<number>(n).fill(1));
const zeros = (name: string, n: number) => floats(name, [n], new Array<number>(n).fill(0));

const shuffled = () =>
  onnxFile({
    inputs: [valueInfo('x', ['N', 6, 11, 9])],
    initializers: [
      random('depthwise.w', [6, 1, 3, 3]),
      random('depthwise.b', [6]),
      ...[ones('bn.scale', 6), zeros('bn.b', 6), zeros('bn.mean', 6), ones('bn.var', 6)],
      random('grouped.w', [9, 2, 3, 2]),
      random('twice.w', [18, 1, 2, 3]),
      random('point.w', [8, 9, 1, 1]),
      random('point.b', [8]),
      random('fc.w', [7, 8]),
      random('fc.b', [7]),
      ints('apart', [5], [-1, 3, 3, 6, 7]),
      ints('together', [4], [-1, 9, 6, 7]),
    ],
    nodes: [
      node('Conv', ['x', 'depthwise.w', 'depthwise.b'], ['a'], {
        ...{ group: 6, dilations: [2, 1], strides: [2, 1], pads: [2, 0, 3, 0] },
      }),
      node('BatchNormalization', ['a', 'bn.scale', 'bn.b', 'bn.mean', 'bn.var'], ['b']),
      node('Relu', ['b'], ['c']),
      node('Conv', ['c', 'grouped.w'], ['d'], { group: 3, pads: [1, 0, 1, 1] }),
      node('Reshape', ['d', 'apart'], ['e']),
      node('Transpose', ['e'], ['f'], { perm: [0, 2, 1, 3, 4] }),
      node('Reshape', ['f', 'together'], ['g']),
      node('Tanh', ['g'], ['h']),
      // Two outputs of each channel.
      node('Conv', ['h', 'twice.w'], ['i'], { group: 9, dilations: [1, 2], strides: [1, 2], pads: [0, 2, 1, 1] }),
      node('Relu', ['i'], ['j']),
      node('Conv', ['j', 'point.w', 'point.b'], ['k'], { group: 2 }),
      node('GlobalAveragePool', ['k'], ['l']),
      node('Flatten', ['l'], ['m']),
      node('Gemm', ['m', 'fc.w', 'fc.b'], ['y'], { transB: 1 }),
    ],
  });

/** Rows: depthwise and dilated, then two groups. */
const rows = () =>
  onnxFile({
    inputs: [valueInfo('x', ['N', 8, 13])],
    initializers: [
      random('depthwise.w', [8, 1, 5]),
      random('grouped.w', [6, 4, 3]),
      random('grouped.b', [6]),
      random('fc.w', [6 * 6, 7]),
    ],
    nodes: [
      node('Conv', ['x', 'depthwise.w'], ['a'], { group: 8, dilations: [2], pads: [4, 3] }),
      node('Tanh', ['a'], ['b']),
      node('Conv', ['b', 'grouped.w', 'grouped.b'], ['c'], { group: 2, strides: [2], pads: [1, 0] }),
      node('Relu', ['c'], ['d']),
      node('Flatten', ['d'], ['e']),
      node('MatMul', ['e', 'fc.w'], ['y']),
    ],
  });

describe('grouped convolutions on the device', () => {
  it.each([
    {
      name: 'shuffled.onnx',
      bytes: shuffled(),
      batched: ['sym[6,10]', 'sym[6,1]', 'sym[3,12]', 'sym[9,6]', 'sym[9,2]', 'sym[2,10]'],
    },
    { name: 'rows.onnx', bytes: rows(), batched: ['sym[8,5]', 'sym[8,1]', 'sym[2,13]', 'sym[2,3]'] },
  ])('$name follows the evaluator', ({ name, bytes, batched }) => {
    const on = load(bytes, name, { batch: 5 });
    const types = on.stages.train.state.map((s) => printType(s.type));
    for (const type of batched) expect(types).toContain(type);
    for (const p of on.stages.train.parameters) expect(p.rule, p.name).not.toBe('plain');
    for (let step = 0; step < 3; step++) {
      const train = on.stages.placed.functions.find((f) => f.name === 'train')!;
      const inputs = inputsFor(train, 7, scalars);
      // A partial batch: padding counts nowhere.
      inputs.valid.set([1, 1, 0, 1, step % 2]);
      const { device, reference, func } = both(on, 'train', inputs);
      const metrics = device.read(outputBuffer(on, 'train', 'metrics')) as Float32Array;
      expect(relativeError(metrics, reference.outputs.metrics)).toBeLessThan(TOLERANCE);
      expect(metrics[on.stages.metrics.train.indexOf('failed_inversions')]).toBe(0);
      for (const u of func.updates) {
        const error = relativeError(device.read(u.state) as Float32Array, reference.state[u.state], FLOOR);
        expect(error, `step ${step}: ${u.state}`).toBeLessThan(TOLERANCE);
      }
    }
  });
});
