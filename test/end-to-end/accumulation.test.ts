/**
 * Steps of several micro-batches: without batch statistics they are steps of one batch, in exact arithmetic; each function agrees
 * with the float64 evaluator on both targets; and a run takes the batches that an epoch has.
 */
import { describe, expect, it } from 'vitest';
import { type CompileOptions, runPasses } from '../../compiler/compile.js';
import { evaluate, type Tensors } from '../../ir/evaluate.js';
import { SAMPLED } from '../../ir/fisher.js';
import { type Func, findFunction, type Module } from '../../ir/graph.js';
import { storedCount } from '../../ir/types.js';
import { floats, node, onnxFile, random, valueInfo } from '../frontend/make-onnx.js';
import { follows, inputsFor, loadOn, relativeError } from './on-device.js';

const CLASSES = 7;
/** A grouped convolution, a layer normalisation, dropout, two dense layers: every rule of curvature but that of BatchNorm. */
const net = onnxFile({
  opset: 17,
  inputs: [valueInfo('x', ['N', 4, 5, 5])],
  initializers: [
    ...[random('conv.w', [4, 2, 3, 3], 1), random('conv.b', [4], 2), random('ln.w', [16], 3), random('ln.b', [16], 4)],
    ...[
      random('fc1.w', [16, 36], 5),
      random('fc1.b', [16], 6),
      random('fc2.w', [16, CLASSES], 7),
      floats('p', [], [0.2]),
    ],
  ],
  nodes: [
    node('Conv', ['x', 'conv.w', 'conv.b'], ['a'], { group: 2 }),
    node('Relu', ['a'], ['b']),
    node('Flatten', ['b'], ['c']),
    node('Gemm', ['c', 'fc1.w', 'fc1.b'], ['d'], { transB: 1 }),
    node('LayerNormalization', ['d', 'ln.w', 'ln.b'], ['e']),
    node('Dropout', ['e', 'p'], ['f']),
    node('Gemm', ['f', 'fc2.w'], ['y']),
  ],
});

const scalars = { lr: 0.05, momentum: 0.8, damping: 0.01, kl_bound: 1e-3, weight_decay: 0.02, trust_coefficient: 0.05 };
const forms: Record<string, CompileOptions> = {
  spngd: { staleness: 'adaptive', preset: 'sp-ngd-4k', labels: 'index', klClip: true },
  'spngd by drawn labels': { fisher: '1mc' },
  sgd: { optimizer: 'sgd' },
  lars: { optimizer: 'lars' },
};
const given = (func: Func, from: Tensors) => Object.fromEntries(func.inputs.map((v) => [v.name, from[v.name]]));

function firstState(module: Module): Tensors {
  return Object.fromEntries(
    module.state.map((s) => [
      s.name,
      s.init.kind === 'weights'
        ? Float64Array.from(module.weights.get(s.name)!.data as Float32Array)
        : new Float64Array(storedCount(s.type)).fill(s.role === 'accumulator' ? Number.NaN : s.init.value),
    ]),
  );
}

/** Sums in another order, and a division by n in another place: rounding of float64, through an inverse damped with 1e-2. */
function expectEqual(got: ArrayLike<number>, want: ArrayLike<number>, what: string): void {
  const [g, w] = [Array.from(got), Array.from(want)];
  // The change of a statistic without history is infinite.
  expect(g.map(Number.isFinite), what).toEqual(w.map(Number.isFinite));
  expect(relativeError(g.filter(Number.isFinite), w.filter(Number.isFinite), 1e-9), what).toBeLessThan(1e-9);
}

describe.each(Object.entries(forms))('%s in float64', (_, options) => {
  const [BATCH, PARTS] = [12, 3];
  const part = BATCH / PARTS;
  const whole = runPasses(net, 'net.onnx', { ...options, batch: BATCH, targets: ['wasm'] }).placed;
  const split = runPasses(net, 'net.onnx', { ...options, batch: part, accumulate: PARTS, targets: ['wasm'] }).placed;
  const train = findFunction(whole, 'train');
  const [accumulate, update] = [findFunction(split, 'accumulate'), findFunction(split, 'train')];

  it('is one batch, whatever the sums hold before, with short batches and with statistics that are not due', () => {
    let one = firstState(whole);
    let several = firstState(split);
    const due = [
      () => true,
      () => true,
      (g: string) => /\.A(\.inverse)?\)$/.test(g),
      (g: string) => g === SAMPLED || g.startsWith('due(fc1.w') || g.startsWith('due(ln'),
      () => false,
    ];
    due.forEach((on, step) => {
      const inputs: Record<string, Float64Array | Int32Array | Float32Array> = inputsFor(train, CLASSES, scalars);
      inputs.x = Float64Array.from(inputs.x, (v, i) => v + 0.3 * Math.sin(i + step));
      // A short last batch of the epoch: of three parts, the last one has one row.
      if (step === 1) inputs.valid.fill(0, 9);
      inputs.rng = Int32Array.of(7, step, 0);
      const reference = evaluate(train, given(train, inputs), one, on);
      for (let p = 0; p < PARTS; p++) {
        const rows = (name: string, width: number) => inputs[name].subarray(p * part * width, (p + 1) * part * width);
        const own: Tensors = {
          ...{ x: rows('x', 100), target: rows('target', 1), valid: rows('valid', 1) },
          ...{ rng: [7, step, p * part], carry: [p === 0 ? 0 : 1] },
        };
        several = evaluate(accumulate, given(accumulate, own), several, on).state;
      }
      const result = evaluate(update, given(update, inputs), several, on);
      one = reference.state;
      several = result.state;
      expectEqual(result.outputs.metrics, reference.outputs.metrics, `step ${step}: metrics`);
      for (const { name } of whole.state) expectEqual(several[name], one[name], `step ${step}: ${name}`);
    });
  });

  it('gives train no examples', () => {
    expect(update.inputs.map((v) => v.name).filter((n) => !(n in scalars))).toEqual([]);
    expect(split.state.filter((s) => s.role === 'accumulator').every((s) => !s.checkpoint)).toBe(true);
  });
});

describe.each(['wasm', 'webgpu'] as const)('on %s', (target) => {
  it('agrees with the evaluator', async () => {
    const on = await loadOn(target, net, 'net.onnx', { batch: 5, accumulate: 2 });
    const [accumulate, update] = ['accumulate', 'train'].map((f) => findFunction(on.stages.placed, f));
    for (let step = 0; step < 2; step++) {
      for (const carry of [0, 1]) {
        const inputs = inputsFor(accumulate, CLASSES, { carry });
        inputs.x = Float32Array.from(inputs.x, (v, i) => v + 0.3 * Math.sin(i + carry + 2 * step));
        if (carry === 1) inputs.valid.set([1, 1, 0, 0, 0]);
        await follows(on, 'accumulate', inputs);
      }
      const { count } = await follows(on, 'train', inputsFor(update, CLASSES, scalars));
      expect(count).toBe(7);
    }
    on.device.close();
  }, 400_000);
});
