/**
 * A layer whose input factor is wider than one workgroup inverts, beside narrow factors, on a GPU: what is due in a step is inverted,
 * in the repeated dispatches of wide ones too, and nothing else is dispatched or touched.
 */
import { expect, it } from 'vitest';
import { evaluate } from '../../ir/evaluate.js';
import { findFunction } from '../../ir/graph.js';
import { dispatchesOf } from '../../ir/program.js';
import { noise } from '../frontend/forward.js';
import { floats, node, onnxFile, valueInfo } from '../frontend/make-onnx.js';
import { inputsFor, loadOn, relativeError } from './on-device.js';

const WIDE = 259;
const scalars = { lr: 0.03, momentum: 0.9, damping: 0.1, kl_bound: 1e-3 };

const model = onnxFile({
  nodes: [node('Gemm', ['x', 'w', 'b'], ['h']), node('Relu', ['h'], ['r']), node('Gemm', ['r', 'v', 'c'], ['y'])],
  inputs: [valueInfo('x', ['N', WIDE])],
  initializers: [
    floats(
      'w',
      [WIDE, 5],
      [...noise(WIDE * 5, 1)].map((e) => e / 8),
    ),
    floats('b', [5], [...noise(5, 2)]),
    floats('v', [5, 3], [...noise(15, 3)]),
    floats('c', [3], [...noise(3, 4)]),
  ],
});

it('steps with all, some or none of the inverses due', async () => {
  const on = await loadOn('webgpu', model, 'wide.onnx', { batch: 6, staleness: 'fixed' });
  const { device } = on;
  const func = findFunction(on.stages.placed, 'train');
  const program = device.program.functions.find((f) => f.name === 'train')!;
  // The factor of 260 in blocks of 64: five turns in each of six attempts.
  expect(program.segments.filter((s) => s.repeat !== undefined).map((s) => s.repeat)).toEqual(Array(6).fill(5));
  expect(program.batches!.map((b) => b.of.length)).toEqual([1, 3]);
  const steps: readonly (readonly [(guard: string) => boolean, number])[] = [
    [() => true, 2],
    [(g) => /^due\(w\.A(\.inverse)?\)$/.test(g), 1],
    [(g) => /^due\(v\.[AG](\.inverse)?\)$/.test(g), 1],
    [() => false, 0],
  ];
  for (const [step, [due, batches]] of steps.entries()) {
    const inputs = inputsFor(func, 3, scalars);
    inputs.x = Float32Array.from(inputs.x, (e, i) => e + 0.3 * Math.sin(i + step));
    const state: Record<string, Float64Array> = {};
    for (const v of func.reads) state[v.name] = Float64Array.from((await device.read(v.name)) as Float32Array);
    const want = evaluate(func, inputs, state, due).state;
    for (const i of program.inputs) device.write(i.buffer, inputs[i.name]);
    const before = device.dispatches;
    await device.run('train', due);
    const told = program.batches!.filter((b) => b.of.some(due)).map((b) => b.guard);
    expect(told, `step ${step}`).toHaveLength(batches);
    const segments = program.segments.filter((s) => !s.guard || due(s.guard) || told.includes(s.guard));
    // No guard of a single statistic is on because that of a batch is.
    const run = segments.filter((s) => !s.guard?.startsWith('due(inverses') || told.includes(s.guard));
    expect(device.dispatches - before, `step ${step}`).toBe(dispatchesOf({ ...program, segments: run }));
    for (const u of func.updates) {
      const got = (await device.read(u.state)) as Float32Array;
      // f32 with inverses whose condition is about 10^3, the largest eigenvalue over the shift: as whole steps elsewhere.
      expect(relativeError(got, want[u.state], 1e-4), `step ${step}: ${u.state}`).toBeLessThan(5e-4);
    }
  }
  device.close();
}, 300_000);
