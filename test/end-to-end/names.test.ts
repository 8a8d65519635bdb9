/**
 * Names that a model may have and that mean something here too: they change nothing, or end in an error that says so.
 */
import { expect, it } from 'vitest';
import { type CompileOptions, runPasses } from '../../compiler/compile.js';
import { noise } from '../frontend/forward.js';
import { floats, node, onnxFile } from '../frontend/make-onnx.js';
import { both, inputsFor, load, outputBuffer, relativeError } from './on-device.js';

const scalars = { lr: 0.03, momentum: 0.9, damping: 0.01, kl_bound: 1e-3, weight_decay: 1e-4 };

/** Two layers; `names` replace those of its values and weights. */
function net(names: Readonly<Record<string, string>>): Uint8Array {
  const of = (name: string): string => names[name] ?? name;
  return onnxFile({
    nodes: [
      node('Gemm', ['x', of('w'), of('b')], [of('h')]),
      node('Relu', [of('h')], ['r']),
      node('Gemm', ['r', 'v', 'c'], [of('y')]),
    ],
    outputs: [of('y')],
    initializers: [
      floats(of('w'), [4, 3], [...noise(12, 1)]),
      floats(of('b'), [3], [...noise(3, 2)]),
      floats('v', [3, 3], [...noise(9, 3)]),
      floats('c', [3], [...noise(3, 4)]),
    ],
  });
}

it.each([
  { w: 'train.x' },
  { w: 'train.x', b: "train.x'" },
  { h: 'target', y: 'valid' },
  { h: 'lr', y: 'metrics' },
  { w: 'due(w.A)', h: 'd.w' },
  { w: 'two words', b: 'a/b', h: 'new\nline', y: 'naïve 🙂' },
  { w: '__proto__', b: 'constructor', h: '0', y: 'return' },
  { w: 'matmul', b: 'f32', h: '%1', y: 'quote"d' },
] as Record<string, string>[])('%j: a step is that of the evaluator', (names) => {
  const on = load(net(names), 'names.onnx', { batch: 3 });
  const train = on.stages.placed.functions.find((f) => f.name === 'train')!;
  const { device, reference, func } = both(on, 'train', inputsFor(train, 3, scalars));
  const metrics = device.read(outputBuffer(on, 'train', 'metrics')) as Float32Array;
  // Rounding of f32 in a net of four by three by three: seen, 1e-6.
  expect(relativeError(metrics, reference.outputs.metrics)).toBeLessThan(1e-4);
  for (const u of func.updates)
    expect(relativeError(device.read(u.state) as Float32Array, reference.state[u.state], 1e-4), u.state).toBeLessThan(
      1e-4,
    );
});

it.each([
  [{ h: 'w.A' }, {}],
  [{ b: 'w.A' }, {}],
  [{ h: 'v.G.inverse' }, {}],
  [{ y: 'w.velocity' }, {}],
  [{ b: 'w.velocity' }, { optimizer: 'sgd' }],
] as [Record<string, string>, CompileOptions][])('%j: E207, since training keeps such a state', (names, options) => {
  expect(() => runPasses(net(names), 'names.onnx', { batch: 3, ...options })).toThrow(
    expect.objectContaining({ code: 207 }),
  );
});
