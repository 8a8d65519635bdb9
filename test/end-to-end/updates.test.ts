/**
 * All forms of the update, and evaluation with its ranks, on the processor and, as WGSL, on a software GPU: three steps of a small
 * net of a convolution, a BatchNorm and a dense layer against the float64 evaluator, each from the device's state.
 */
import { describe, expect, it } from 'vitest';
import type { CompileOptions } from '../../compiler/compile.js';
import type { Target } from '../../ir/artifact.js';
import { findFunction } from '../../ir/graph.js';
import { floats, node, onnxFile, random, valueInfo } from '../frontend/make-onnx.js';
import { follows, inputsFor, loadOn } from './on-device.js';

const CLASSES = 8;

const constant = (name: string, n: number, value: number) => floats(name, [n], new Array<number>(n).fill(value));

const net = onnxFile({
  inputs: [valueInfo('x', ['N', 2, 5, 5])],
  initializers: [
    random('conv.w', [4, 2, 3, 3], 1),
    random('conv.b', [4], 2),
    ...[constant('bn.scale', 4, 1), constant('bn.b', 4, 0), constant('bn.mean', 4, 0), constant('bn.var', 4, 1)],
    random('fc.w', [CLASSES, 100], 3),
    random('fc.b', [CLASSES], 4),
  ],
  nodes: [
    node('Conv', ['x', 'conv.w', 'conv.b'], ['a'], { pads: [1, 1, 1, 1] }),
    node('BatchNormalization', ['a', 'bn.scale', 'bn.b', 'bn.mean', 'bn.var'], ['b']),
    node('Relu', ['b'], ['c']),
    node('Flatten', ['c'], ['d']),
    node('Gemm', ['d', 'fc.w', 'fc.b'], ['y'], { transB: 1 }),
  ],
});

const scalars = { lr: 0.05, momentum: 0.8, damping: 0.01, kl_bound: 1e-3, weight_decay: 0.02, trust_coefficient: 0.05 };

const forms: Record<string, CompileOptions> = {
  sgd: { optimizer: 'sgd' },
  lars: { optimizer: 'lars' },
  'lars without decay': { optimizer: 'lars', weightDecay: false },
  'spngd of the paper': { preset: 'sp-ngd-4k', staleness: 'off' },
  'spngd with decay, shrinking': { weightDecay: true, weightRescaling: 'shrink' },
};

/** A software driver takes long to compile kernels: there, forms that no other one contains. */
const covering = ['lars', 'spngd of the paper', 'spngd with decay, shrinking'];
const runs: readonly { target: Target; names: readonly string[] }[] = [
  { target: 'wasm', names: Object.keys(forms) },
  { target: 'webgpu', names: covering },
];

describe.each(runs)('on $target', ({ target, names }) => {
  it.each(names)(
    '%s',
    async (form) => {
      const on = await loadOn(target, net, `${form}.onnx`, { batch: 6, ...forms[form] });
      const inputs = inputsFor(findFunction(on.stages.placed, 'train'), CLASSES, scalars);
      inputs.valid.set([1, 1, 0, 1, 1, 1]);
      for (let step = 0; step < 3; step++) await follows(on, 'train', inputs);
      const { top5, correct, count } = await follows(on, 'eval', inputs);
      expect(count).toBe(5);
      expect(top5).toBeGreaterThanOrEqual(correct);
      on.device.close();
    },
    400_000,
  );
});
