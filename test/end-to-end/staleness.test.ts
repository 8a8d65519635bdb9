/**
 * Staleness on devices: with alpha 0 a run is today's run bit for bit; what is not due is not dispatched; each step with only
 * some statistics due agrees with the float64 evaluator, on both targets; and digits learns as well with fewer refreshes.
 */
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadTrainingData } from '../../cli/train.js';
import { type CompileOptions, compile } from '../../compiler/compile.js';
import { MANIFEST, type Manifest, type Target, WEIGHTS } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import { evaluate } from '../../ir/evaluate.js';
import { SAMPLED } from '../../ir/fisher.js';
import { findFunction } from '../../ir/graph.js';
import { readSafetensors } from '../../ir/safetensors.js';
import type { Staleness } from '../../ir/staleness.js';
import { product } from '../../ir/types.js';
import { openDevice } from '../../runtime/devices/open.js';
import { train } from '../../runtime/training/loop.js';
import type { DoneReport, StartReport, StepReport } from '../../runtime/training/report.js';
import { type Overrides, resolveSettings } from '../../runtime/training/settings.js';
import { initialise } from '../../runtime/training/state.js';
import { useSwiftShader } from '../targets/swiftshader.mjs';
import { inputsFor, loadOn, outputBuffer, relativeError } from './on-device.js';

const model = readFileSync('examples/digits/digits.onnx');
const EPOCHS = 5;
const options = { init: 'he-normal', batch: 64 } as const;

interface Run {
  readonly manifest: Manifest;
  readonly start: StartReport;
  readonly steps: readonly StepReport[];
  readonly done: DoneReport;
  readonly dispatches: readonly number[];
  readonly parameters: ReadonlyMap<string, Uint8Array>;
}

const artifacts = new Map<Staleness, ReadonlyMap<string, Uint8Array>>();

function artifact(staleness: Staleness): { files: ReadonlyMap<string, Uint8Array>; manifest: Manifest } {
  const files =
    artifacts.get(staleness) ?? compile(model, 'digits.onnx', { ...options, staleness, targets: ['wasm'] }).files;
  artifacts.set(staleness, files);
  return { files, manifest: manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get(MANIFEST)))) };
}

async function digits(staleness: Staleness, overrides: Overrides): Promise<Run> {
  const { files, manifest } = artifact(staleness);
  const weights = readSafetensors(files.get(WEIGHTS)!, WEIGHTS);
  const data = loadTrainingData(manifest, { data: 'examples/digits/digits.csv.gz', split: 0.2, normalize: '0,16' });
  const device = await openDevice({ dir: '', manifest, files, weights }, 'cpu');
  await initialise(device, manifest, weights);
  const steps: StepReport[] = [];
  const dispatches: number[] = [];
  let start!: StartReport;
  let before = device.dispatches;
  const done = await train(device, manifest, data, resolveSettings(manifest, overrides, data.train.count), {
    start: (r) => {
      start = r;
    },
    step: (r) => {
      steps.push(r);
      dispatches.push(device.dispatches - before);
      before = device.dispatches;
    },
    epoch: () => {
      before = device.dispatches;
    },
  });
  const parameters = new Map<string, Uint8Array>();
  for (const { name, role } of manifest.state)
    if (role === 'parameter' || role === 'velocity')
      parameters.set(name, new Uint8Array(((await device.read(name)) as Float32Array).slice().buffer));
  return { manifest, start, steps, done, dispatches, parameters };
}

const accuracy = ({ done }: Run): number => done.epochs.at(-1)!.validation!.accuracy!;

describe('digits', () => {
  let always: Run;
  beforeAll(async () => {
    always = await digits('off', { epochs: EPOCHS });
  }, 400_000);

  it('with alpha 0 is the run that refreshes everything in each step, bit for bit', async () => {
    const zero = await digits('adaptive', { epochs: EPOCHS, alpha: 0 });
    expect(zero.steps.map((s) => s.loss)).toEqual(always.steps.map((s) => s.loss));
    for (const [name, bytes] of always.parameters)
      expect(Buffer.compare(bytes, zero.parameters.get(name)!), name).toBe(0);
    expect(zero.done.refreshedShares?.all).toBe(1);
  });

  it('with adaptive staleness is as accurate with at most three quarters of the elements refreshed', async () => {
    for (const choice of [{}, { bounded: true, lag: 1, reinvert: true }]) {
      const stale = await digits('adaptive', { epochs: EPOCHS, ...choice });
      // 359 examples validate: two of them, either way.
      expect(Math.abs(accuracy(stale) - accuracy(always)), JSON.stringify(choice)).toBeLessThanOrEqual(2.5 / 359);
      expect(stale.done.refreshedShares!.all).toBeLessThan(0.75);
      const [most, all] = [Math.max(...stale.dispatches), stale.dispatches.reduce((n, d) => n + d, 0)];
      expect(all).toBeLessThan(most * stale.steps.length);
    }
  });

  it('tells how stale each statistic is in each step', async () => {
    const { start, steps, manifest, done } = await digits('adaptive', { steps: 30 });
    const names = manifest.state.filter((s) => s.role === 'factor').map((s) => s.name);
    expect(start.statistics?.map((s) => s.name)).toEqual(names);
    expect(Object.keys(steps[0].metrics).filter((n) => n.startsWith('change'))).toEqual([]);
    let refreshed = 0;
    steps.forEach(({ staleness, refreshed: now, step }, i) => {
      names.forEach((name, k) => {
        const due = now!.some((r) => r.name === name);
        if (due) refreshed += start.statistics![k].elements;
        expect(staleness![k], `${name} in step ${step}`).toBe(due ? 0 : steps[i - 1].staleness![k] + 1);
      });
      for (const { name, change, interval } of now!) {
        expect(interval, name).toBeGreaterThan(0);
        expect(Number.isFinite(change![0]), name).toBe(step > 1);
      }
    });
    const all = start.statistics!.reduce((n, s) => n + s.elements, 0);
    expect(done.refreshedShares!.all).toBeCloseTo(refreshed / all / steps.length, 12);
  });

  it('dispatches none of the guarded segments where nothing is due', async () => {
    const { dispatches, manifest } = await digits('fixed', { steps: 12, interval: 4 });
    const { segments } = manifest.programs[0].functions.find((f) => f.name === 'train')!;
    const count = (guarded: boolean) =>
      segments.filter((s) => (s.guard !== undefined) === guarded).reduce((n, s) => n + s.steps.length, 0);
    // Each statistic is built, and each inverse made, under a guard of its own.
    const guarded = manifest.state.filter((s) => s.role === 'factor' || s.role === 'inverse').length;
    expect(guarded).toBeGreaterThan(10);
    expect(count(true)).toBeGreaterThanOrEqual(guarded);
    dispatches.forEach((n, i) => {
      expect(n, `step ${i + 1}`).toBe(count(false) + (i % 4 === 0 ? count(true) : 0));
    });
  });

  it('reports the memory of the history', () => {
    const { state } = artifact('adaptive').manifest;
    const sizes = (role: string) => state.filter((s) => s.role === role).reduce((n, s) => n + product(s.shape), 0);
    const factors = sizes('factor');
    const count = state.filter((s) => s.role === 'factor').length;
    const pairs = state.filter((s) => s.name.endsWith('.pi')).length;
    expect(sizes('history')).toBe(factors + 2 * count + pairs);
  });
});

/** f32 against f64: as for whole steps (step.test.ts). */
const TOLERANCE = 5e-4;
const FLOOR = 1e-4;

// A software driver takes a second or more for each kernel of digits.
const models: readonly (readonly [Target, string, CompileOptions, number])[] = [
  ['wasm', 'examples/digits/digits.onnx', { init: 'he-normal' }, 10],
  ['wasm', 'examples/digits/digits.onnx', { init: 'he-normal', fisher: '1mc' }, 10],
  ['webgpu', 'docs/example/tiny.onnx', { fisher: '1mc' }, 2],
];

describe.each(models)('steps with some statistics due on %s, %s %j', (target, file, own, classes) => {
  it('agree with the evaluator', async () => {
    useSwiftShader();
    const on = await loadOn(target, readFileSync(file), file, { ...own, batch: 6, staleness: 'adaptive' });
    const { device } = on;
    const func = findFunction(on.stages.placed, 'train');
    const metricNames = on.stages.metrics.train;
    const layers = [...new Set(func.reads.filter((v) => v.name.endsWith('.pi')).map((v) => v.name.slice(0, -3)))];
    const x = func.inputs.find((v) => v.type.shape.length > 1)!.name;
    const inputs = { ...inputsFor(func, classes, { lr: 0.03, momentum: 0.9, damping: 0.01, kl_bound: 1e-3 }) };
    const dueIn: ((guard: string) => boolean)[] = [
      () => true,
      () => true,
      // A of each layer, with its inverse; then G of every second layer, both inverses and pi.
      (g) => /\.A(\.inverse)?\)$/.test(g),
      (g) => g === SAMPLED || layers.some((l, i) => i % 2 === 0 && g.startsWith(`due(${l}.`) && !g.endsWith('.A)')),
      () => false,
    ];
    for (const [step, due] of dueIn.entries()) {
      inputs[x] = Float32Array.from(inputs[x], (v, i) => v + 0.1 * Math.sin(i + step));
      const state: Record<string, Float64Array> = {};
      for (const v of func.reads) state[v.name] = Float64Array.from((await device.read(v.name)) as Float32Array);
      const reference = evaluate(func, inputs, state, due);
      for (const i of device.program.functions.find((f) => f.name === 'train')!.inputs)
        device.write(i.buffer, inputs[i.name]);
      await device.run('train', due);
      const metrics = (await device.read(outputBuffer(on, 'train', 'metrics'))) as Float32Array;
      for (const [i, want] of reference.outputs.metrics.entries()) {
        const error = Number.isFinite(want) ? Math.abs(metrics[i] - want) / Math.max(FLOOR, Math.abs(want)) : 0;
        expect(error, `step ${step}: ${metricNames[i]}`).toBeLessThan(TOLERANCE);
        if (!Number.isFinite(want)) expect(metrics[i], `step ${step}: ${metricNames[i]}`).toBe(want);
      }
      for (const u of func.updates) {
        if (u.state.endsWith('.change')) continue;
        const error = relativeError((await device.read(u.state)) as Float32Array, reference.state[u.state], FLOOR);
        expect(error, `step ${step}: ${u.state}`).toBeLessThan(TOLERANCE);
      }
    }
    device.close();
  }, 400_000);
});
