import { describe, expect, it } from 'vitest';
import type { Manifest } from '../../ir/artifact.js';
import type { Program } from '../../ir/program.js';
import type { Dataset } from '../../runtime/data/dataset.js';
import type { ArrayData, Device } from '../../runtime/devices/device.js';
import { evaluate, train } from '../../runtime/training/loop.js';
import type { EpochReport, StepReport } from '../../runtime/training/report.js';
import {
  type Overrides,
  presetMisfits,
  resolveSettings,
  settingsInFull,
  settingsRecord,
} from '../../runtime/training/settings.js';
import { initialise, readTrained } from '../../runtime/training/state.js';
import { tinyFiles, tinyManifest } from './tiny-artifact.js';
import { userError } from './user-error.js';

/** A device that remembers what it was given; `answer` makes the metrics of each call. */
class FakeDevice implements Device {
  readonly description = 'a fake';
  program: Program = manifest().programs[0];
  dispatches = 0;
  readonly submissions = 0;
  readonly calls: { name: string; inputs: Record<string, number[]> }[] = [];
  readonly buffers = new Map<string, ArrayData>();
  private pending: Record<string, number[]> = {};
  constructor(readonly answer: (name: string, inputs: Record<string, number[]>, call: number) => number[]) {}
  close(): void {}
  write(buffer: string, data: ArrayData): void {
    this.pending[buffer] = Array.from(data as Float32Array);
    this.buffers.set(buffer, data.slice());
  }
  async read(buffer: string): Promise<ArrayData> {
    return this.buffers.get(buffer)!;
  }
  async run(name: string): Promise<void> {
    const inputs = this.pending;
    this.pending = {};
    this.dispatches += 2;
    this.calls.push({ name, inputs });
    const metrics = this.answer(name, inputs, this.calls.filter((c) => c.name === name).length);
    this.buffers.set(`${name}.metrics`, Float32Array.from(metrics));
  }
}

/** A classifier on [2], batch 4 in training and 3 in evaluation, that takes every input there is. */
function manifest(change: Partial<Manifest> = {}): Manifest {
  const m = tinyManifest(tinyFiles());
  const scalars = ['lr', 'momentum', 'damping', 'kl_bound', 'weight_decay'];
  const inputs = (f: string, names: string[]) => names.map((name) => ({ name, buffer: `${f}.${name}` }));
  const func = (name: string, names: string[]) => ({
    name,
    inputs: inputs(name, names),
    outputs: [{ name: 'metrics', buffer: `${name}.metrics` }],
    segments: [],
  });
  return {
    ...m,
    batch: { train: 4, eval: 3 },
    inputs: [{ name: 'x', dtype: 'f32', shape: [4, 2] }],
    loss: { kind: 'softmax-cross-entropy', target: { dtype: 'i32', shape: [4], classes: 3 } },
    functions: {
      train: { metrics: ['loss', 'correct', 'count', 'kl_scale', 'failed_inversions'] },
      eval: { metrics: ['loss_sum', 'correct', 'count'] },
    },
    programs: [
      {
        ...m.programs[0],
        functions: [
          func('train', ['x', 'target', 'valid', 'rng', ...scalars]),
          func('eval', ['x', 'target', 'valid']),
          { ...func('init', []), outputs: [] },
        ],
      },
    ],
    ...change,
  };
}

/** Example i is [i, i], its class i % 3. */
function dataset(count: number): Dataset {
  return {
    ...{ count, shape: [2], targetWidth: 1 },
    gather: (rows, out) => {
      for (let r = 0; r < rows.length; r++) out.fill(rows[r], 2 * r, 2 * r + 2);
    },
    gatherTargets: (rows, out) => {
      for (let r = 0; r < rows.length; r++) out[r] = rows[r] % 3;
    },
  };
}

const sum = (x: number[]): number => x.reduce((a, b) => a + b, 0);
/** Loss 1 for each valid row, half of them correct. */
const steady = (name: string, { [`${name}.valid`]: valid = [] }: Record<string, number[]>): number[] => {
  const n = sum(valid);
  return name === 'train' ? [1, n / 2, n, 1, 1] : [n, n / 2, n];
};

describe('the training loop', () => {
  it('feeds every example once an epoch, padding the last batch with rows that are not valid', async () => {
    const device = new FakeDevice(steady);
    const m = manifest();
    const settings = resolveSettings(m, { epochs: 2 }, 10);
    const done = await train(device, m, { train: dataset(10) }, settings);
    expect(done.steps).toBe(6);
    expect(done.dispatches).toBe(12);
    expect(done.perStep).toEqual({ dispatches: 2, submissions: 0 });
    expect(device.calls.map((c) => sum(c.inputs['train.valid']))).toEqual([4, 4, 2, 4, 4, 2]);
    for (const epoch of [0, 3]) {
      const rows = device.calls.slice(epoch, epoch + 3).flatMap(({ inputs }) => {
        const valid = inputs['train.valid'];
        valid.forEach((v, r) => {
          if (v === 1) expect(inputs['train.target'][r]).toBe(inputs['train.x'][2 * r] % 3);
          else
            expect([inputs['train.x'][2 * r], inputs['train.x'][2 * r + 1], inputs['train.target'][r]]).toEqual([
              0, 0, 0,
            ]);
        });
        return inputs['train.x'].filter((_, i) => i % 2 === 0 && valid[i / 2] === 1);
      });
      expect(rows.sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
    expect(device.calls[0].inputs['train.x']).not.toEqual(device.calls[3].inputs['train.x']);
  });

  it('sets learning rate, momentum and the KL bound for each step, and counts steps for the random numbers', async () => {
    const device = new FakeDevice(steady);
    const m = manifest();
    const settings = resolveSettings(m, { steps: 4, lr: 0.1, momentum: 0.8, klClip: 1e-3, damping: 0.02, seed: 9 }, 10);
    await train(device, m, { train: dataset(10) }, settings);
    const column = (name: string): number[] => device.calls.map((c) => c.inputs[`train.${name}`][0]);
    // Linear decay over the whole run of 4 steps: 1, 3/4, 1/2, 1/4 of the first value; the bound with its square.
    [1, 0.75, 0.5, 0.25].forEach((f, step) => {
      expect(column('lr')[step]).toBeCloseTo(0.1 * f, 7);
      expect(column('momentum')[step]).toBeCloseTo(0.8 * f, 6);
      expect(column('kl_bound')[step]).toBeCloseTo(1e-3 * f * f, 9);
      expect(device.calls[step].inputs['train.rng']).toEqual([9, step, 0]);
    });
    expect(column('damping')).toEqual(Array(4).fill(Math.fround(0.02)));
  });

  it('gives a finite bound where nothing is clipped', async () => {
    const device = new FakeDevice(steady);
    const m = manifest();
    await train(device, m, { train: dataset(4) }, resolveSettings(m, { steps: 1, klClip: 0 }, 4));
    const bound = device.calls[0].inputs['train.kl_bound'][0];
    expect(Number.isFinite(bound) && bound > 1e38).toBe(true);
  });

  it('writes only the inputs that the function lists', async () => {
    const device = new FakeDevice(steady);
    const m = manifest();
    const [f, ...others] = m.programs[0].functions;
    const few = { ...f, inputs: f.inputs.filter((i) => ['x', 'valid', 'lr'].includes(i.name)) };
    device.program = { ...m.programs[0], functions: [few, ...others] };
    const sgd = { ...m, programs: [device.program] };
    await train(device, sgd, { train: dataset(4) }, resolveSettings(sgd, { steps: 1 }, 4));
    expect(Object.keys(device.calls[0].inputs).sort()).toEqual(['train.lr', 'train.valid', 'train.x']);
  });

  it('reports steps and epochs, weighting batches by their examples', async () => {
    // Loss = step number: epoch 1 has batches of 4, 4, 2 with losses 1, 2, 3.
    const device = new FakeDevice((name, inputs, call) =>
      name === 'train' ? [call, 1, sum(inputs['train.valid']), 0.5, call === 2 ? 3 : 0] : steady(name, inputs),
    );
    const m = manifest();
    const steps: StepReport[] = [];
    const epochs: EpochReport[] = [];
    await train(device, m, { train: dataset(10), validation: dataset(7) }, resolveSettings(m, { epochs: 1 }, 10), {
      step: (r) => steps.push(r),
      epoch: (r) => epochs.push(r),
    });
    expect(steps.map((s) => s.step)).toEqual([1, 2, 3]);
    expect(steps[2]).toMatchObject({ epoch: 1, loss: 3, accuracy: 0.5, metrics: { kl_scale: 0.5 } });
    expect(epochs).toHaveLength(1);
    expect(epochs[0].train.loss).toBeCloseTo((1 * 4 + 2 * 4 + 3 * 2) / 10, 6);
    expect(epochs[0].train.accuracy).toBeCloseTo(0.3, 6);
    expect(epochs[0].failedInversions).toBe(3);
    expect(epochs[0].notFinite).toBe(0);
    expect(epochs[0].validation).toMatchObject({ loss: 1, accuracy: 0.5, count: 7 });
    expect(device.calls.slice(3).map((c) => sum(c.inputs['eval.valid']))).toEqual([3, 3, 1]);
    // Evaluation goes in the order of the set.
    expect(device.calls[3].inputs['eval.x']).toEqual([0, 0, 1, 1, 2, 2]);
  });

  it('stops at the first loss that is not finite, saying where and what to try', async () => {
    const device = new FakeDevice((name, inputs, call) =>
      call === 5 ? [Number.NaN, 0, 4, 1, 0] : steady(name, inputs),
    );
    const m = manifest();
    const run = train(device, m, { train: dataset(10) }, resolveSettings(m, { epochs: 9 }, 10));
    const error = await run.catch((e) => e);
    expect(
      userError(() => {
        throw error;
      }).code,
    ).toBe(501);
    expect(error.what).toContain('step 5 (epoch 2)');
    expect(error.hint).toContain('lr 0.5, momentum 0.9, damping 0.01, kl-clip 0.001');
    expect(device.calls).toHaveLength(5);
  });

  it('has top-5 where the program counts it', async () => {
    const device = new FakeDevice((_, { 'eval.valid': rows }) => [sum(rows), 1, 2, sum(rows)]);
    const { train: trained } = manifest().functions;
    const m = manifest({ functions: { train: trained, eval: { metrics: ['loss_sum', 'correct', 'top5', 'count'] } } });
    expect(await evaluate(device, m, dataset(7))).toEqual({ loss: 1, accuracy: 3 / 7, top5: 6 / 7, count: 7 });
    expect((await evaluate(new FakeDevice(steady), manifest(), dataset(7))).top5).toBeUndefined();
  });

  it('has no accuracy where nothing is classified', async () => {
    const device = new FakeDevice(() => [2, 1]);
    const m = manifest({
      functions: { train: { metrics: ['loss', 'count'] }, eval: { metrics: ['loss_sum', 'count'] } },
    });
    expect((await evaluate(device, m, dataset(3))).accuracy).toBeUndefined();
  });
});

describe('settings', () => {
  it("are the artifact's, unless the user says otherwise", () => {
    const m = manifest();
    expect(resolveSettings(m, {}, 10)).toMatchObject({
      totalSteps: 6,
      stepsPerEpoch: 3,
      damping: { value: 0.01, warmup: 0 },
      klClip: 1e-3,
      seed: 3,
    });
    expect(resolveSettings(m, { epochs: 0.5 }, 10).totalSteps).toBe(2);
    expect(resolveSettings(m, { steps: 5 }, 10).schedule.end).toBeCloseTo(5 / 3, 12);
  });

  it('are those of a preset where one is named; what is part of the graph stays', () => {
    const m = manifest();
    const s = resolveSettings(m, { preset: 'sp-ngd-32k', momentum: 0.5 }, 10);
    expect(s).toMatchObject({
      ...{ preset: 'sp-ngd-32k', totalSteps: 45 * 3, momentum: 0.5, damping: { value: 2e-4 } },
      schedule: { lr: 3e-2, power: 3.5, start: 1.5, end: 49.5 },
      ...{ klClip: Infinity, weightRescaling: 'off' },
    });
    // A longer run ends the schedule where it ends, unless an end is given.
    expect(resolveSettings(m, { preset: 'sp-ngd-32k', epochs: 60 }, 10).schedule.end).toBe(60);
    expect(resolveSettings(m, { preset: 'sp-ngd-32k', epochs: 60, lrEnd: 5 }, 10).schedule.end).toBe(5);
    expect(presetMisfits(m, 'sp-ngd-32k')).toHaveLength(3);
    expect(presetMisfits(m, 'default')).toHaveLength(0);
    const plain = manifest({ defaults: { ...m.defaults, kl_clip: 0 } });
    expect(resolveSettings(plain, { preset: 'default', klClip: 1 }, 10).klClip).toBe(Infinity);
    expect(presetMisfits(plain, 'default')).toHaveLength(1);
  });

  it('are printed in full', () => {
    const lines = settingsInFull(resolveSettings(manifest(), { warmup: 1, warmupFrom: 0.1 }, 10), 'spngd').join('\n');
    for (const text of [
      'lr 0.5: polynomial, power 1, from epoch 0 to 2, warm-up 1 epochs from 0.1',
      'momentum 0.9 (tied), weight decay off',
      'damping 0.01 (constant), KL clip 0.001, decaying',
      'weight rescaling off',
    ])
      expect(lines).toContain(text);
  });

  it('are recorded by the option that sets each, so that a run continued with another one can say which', () => {
    const m = manifest();
    const defaults = {
      ...m.defaults,
      accumulate: 1,
      weight_decay: 1e-4,
      staleness: 'adaptive',
      staleness_alpha: 0.1,
    } as const;
    const record = (overrides: Overrides) => settingsRecord(resolveSettings({ ...m, defaults }, overrides, 10));
    const others: Readonly<Record<string, Overrides>> = {
      ...{ '--lr': { lr: 2 }, '--lr-schedule': { lrSchedule: 'constant' }, '--lr-power': { lrPower: 2 } },
      ...{ '--lr-start': { lrStart: 1 }, '--lr-end': { lrEnd: 7 }, '--warmup': { warmup: 1 } },
      ...{ '--warmup-from': { warmupFrom: 0.5 }, '--momentum': { momentum: 0.5 }, '--seed': { seed: 8 } },
      ...{ '--momentum-rule': { momentumRule: 'corrected' }, '--damping': { damping: 1 } },
      ...{ '--damping-from': { dampingFrom: 1 }, '--damping-warmup': { dampingWarmup: 1 }, '--kl-clip': { klClip: 1 } },
      ...{ '--kl-decay': { klDecay: false }, '--weight-decay': { weightDecay: 1 } },
      ...{ '--trust-coefficient': { trustCoefficient: 1 }, '--epochs or --steps': { steps: 2 } },
      ...{ '--alpha': { alpha: 1 }, '--bounded': { bounded: true }, '--lag': { lag: 1 } },
      ...{ '--reinvert': { reinvert: true } },
    };
    const before = record({});
    for (const [option, overrides] of Object.entries(others)) {
      const after = record(overrides);
      expect(Object.keys(after).filter((name) => after[name] !== before[name])).toEqual([option]);
    }
    // What is not given by one option alone.
    const rest = ['--preset', '--accumulate', '--interval', 'refreshes', 'weight rescaling'];
    const ofData = ['steps in an epoch', 'batches in an epoch'];
    expect(Object.keys(before).sort()).toEqual([...Object.keys(others), ...rest, ...ofData].sort());
    expect(record({ accumulate: 3 })).toMatchObject({ '--accumulate': '3', 'steps in an epoch': '1' });
    expect(record({ interval: 5 })).toMatchObject({ '--interval': '5', refreshes: 'fixed' });
    expect(record({ preset: 'sp-ngd-4k' })['--preset']).toBe('sp-ngd-4k');
  });
});

describe('state', () => {
  it('is set from weights before the device fills the rest', async () => {
    const device = new FakeDevice(() => []);
    const m = manifest();
    const weights = new Map([
      ['w', { type: { ...m.state[0], placement: { kind: 'replicated' as const } }, data: Float32Array.of(7) }],
    ]);
    await initialise(device, m, weights);
    expect(device.calls).toEqual([{ name: 'init', inputs: { w: [7] } }]);
    expect((await readTrained(device, m)).get('w')?.data).toEqual(Float32Array.of(7));
  });
  it('that is not finite is not given out', async () => {
    const device = new FakeDevice(() => []);
    device.write('w', Float32Array.of(Number.NaN));
    const error = await readTrained(device, manifest()).catch((e) => e);
    expect(error.code).toBe(502);
  });
});
