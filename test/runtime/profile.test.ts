/**
 * Profiles: sums and rates of made-up runs, by hand; and of a real device on two threads: all steps are there, spans nest, layers
 * have the names of the model, and the results are those of a run without a profile.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { RunProfile } from '../../cli/run-profile.js';
import { compile } from '../../compiler/compile.js';
import { MANIFEST, WEIGHTS } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import type { Program } from '../../ir/program.js';
import { readSafetensors } from '../../ir/safetensors.js';
import type { Device } from '../../runtime/devices/device.js';
import { measureCeilings } from '../../runtime/devices/wasm/ceilings.js';
import { WasmDevice } from '../../runtime/devices/wasm/device.js';
import type { ProfiledRun } from '../../runtime/devices/wasm/records.js';
import { layerOf, Profile } from '../../runtime/profile/profile.js';
import { Trace } from '../../runtime/profile/trace.js';
import { initialise } from '../../runtime/training/state.js';
import { residualNet, threadModule } from './thread-nets.js';
import { tinyFiles, tinyManifest } from './tiny-artifact.js';

/** Two steps of one kernel and one of another, with costs that are easy to divide. */
function made(): Program {
  const { programs } = tinyManifest(tinyFiles());
  const [program] = programs;
  const step = (slot: string, kernel: string, source: string) => ({ slot, variants: [kernel], args: [], source });
  const kernel = { ...program.kernels[0], computes: ['conv', 'relu'] };
  const steps = [step('s0', 'a', 'onnx:/one(Conv)'), step('s1', 'a', 'onnx:/two (2)(Conv)'), step('s2', 'b', '')];
  return {
    ...program,
    kernels: [
      { ...kernel, name: 'a', flops: 4000, bytes: 100 },
      { ...kernel, name: 'b', flops: 0, bytes: 3000 },
    ],
    functions: [{ name: 'train', inputs: [], outputs: [], segments: [{ name: 'all', steps }] }],
  };
}

/** Nanoseconds from `at` on: step 0 in two shares, the others in one each. */
const run = (at: number, slower = 1): ProfiledRun => ({
  ...{ func: 'train', begin: at, end: at + 2000 * slower },
  shares: [
    { step: 0, kernel: 'a', thread: 0, begin: at, end: at + 500 * slower },
    { step: 0, kernel: 'a', thread: 1, begin: at, end: at + 500 * slower },
    { step: 1, kernel: 'a', thread: 1, begin: at + 500 * slower, end: at + 1500 * slower },
    { step: 2, kernel: 'b', thread: 0, begin: at + 500 * slower, end: at + 1500 * slower },
  ],
});

describe('sums', () => {
  // 4 GFLOP/s and 6 GB/s.
  const ceilings = { flops: 4e9, bytes: 6e9 };

  it('are rates of one thread, without the first run', () => {
    const profile = new Profile(made(), 2, ceilings);
    profile.add(run(0, 1000));
    profile.add(run(1e7));
    profile.add(run(2e7));
    const { functions, busy, kernels, threads } = profile.report();
    expect(threads).toBe(2);
    expect(functions).toEqual([{ name: 'train', runs: 2, seconds: 4e-6 }]);
    // 3000 of 2 x 2000 nanoseconds.
    expect(busy).toBeCloseTo(0.75, 12);
    expect(kernels.map((k) => k.kernel)).toEqual(['a', 'b']);
    const [a, b] = kernels;
    expect(a).toMatchObject({ calls: 4, layers: ['/one', '/two (2)'], bound: 'flops' });
    // Four calls of 4000 operations in 4 microseconds.
    expect([a.seconds, a.share, a.flops, a.bytes, a.reached].map((v) => +v.toPrecision(9))).toEqual([
      ...[4e-6, +(2 / 3).toPrecision(9), 4e9, 1e8, 1],
    ]);
    expect(b).toMatchObject({ calls: 2, layers: [], bound: 'bytes', flops: 0 });
    expect(b.reached).toBeCloseTo(0.5, 12);
  });

  it('have the first run where there is no other, and nothing where there is none', () => {
    const profile = new Profile(made(), 1, ceilings);
    expect(profile.report()).toMatchObject({ functions: [], busy: 0, kernels: [] });
    profile.add(run(0));
    expect(profile.report().functions).toEqual([{ name: 'train', runs: 1, seconds: 2e-6 }]);
  });

  it.each([
    ['onnx:/layer1/conv/Conv(Conv)', '/layer1/conv/Conv'],
    ['onnx:name (of a node)(Gemm)', 'name (of a node)'],
    ['net.ts:3:4', 'net.ts:3:4'],
    ['', ''],
  ])('the layer of %j', (source, layer) => {
    expect(layerOf(source)).toBe(layer);
  });
});

interface Span {
  readonly ph: string;
  readonly tid: number;
  readonly name: string;
  readonly cat: string;
  readonly ts: number;
  readonly dur: number;
  readonly args: Readonly<Record<string, unknown>>;
}

const spansOf = (json: string): Span[] =>
  (JSON.parse(json) as { traceEvents: Span[] }).traceEvents.filter((e) => e.ph === 'X');

/** On each track, two spans do not meet, or one lies in the other. */
function expectNested(spans: readonly Span[]): void {
  for (const tid of new Set(spans.map((s) => s.tid))) {
    const open: Span[] = [];
    const track = spans.filter((s) => s.tid === tid).sort((a, b) => a.ts - b.ts || b.dur - a.dur);
    for (const s of track) {
      expect(s.dur).toBeGreaterThanOrEqual(0);
      // A nanosecond: times are fractions of microseconds.
      while (open.length > 0 && open[open.length - 1].ts + open[open.length - 1].dur <= s.ts + 1e-3) open.pop();
      const outer = open[open.length - 1];
      if (outer) expect(s.ts + s.dur).toBeLessThanOrEqual(outer.ts + outer.dur + 1e-3);
      open.push(s);
    }
  }
}

it('a trace has a track for each thread, and ends where it would become too large', () => {
  const trace = new Trace(made(), 2);
  for (let n = 0; n < 60_000; n++) trace.add(run(1e6 + 3000 * n));
  const spans = spansOf(trace.json());
  expect(spans.length).toBeLessThan(200_000);
  expect(trace.left).toBe(60_000 - spans.length / 5);
  expectNested(spans.slice(0, 500));
  expect(spans[0]).toMatchObject({ tid: 0, name: 'train', ts: 0, dur: 2 });
  expect(spans.slice(1, 5).map((s) => [s.tid, s.name, s.ts, s.dur])).toEqual([
    [0, '/one a', 0, 0.5],
    [1, '/one a', 0, 0.5],
    [1, '/two (2) a', 0.5, 1],
    [0, 'b', 0.5, 1],
  ]);
});

describe('on a device', () => {
  let file: URL;
  beforeAll(async () => {
    file = await threadModule();
  });

  it.each([1, 2])('%i threads: all steps, the model’s names, the same results', async (threads) => {
    const { files } = compile(residualNet(), 'net.onnx', { targets: ['wasm'], batch: 4 });
    const manifest = manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get(MANIFEST))));
    const artifact = { dir: '', manifest, files, weights: readSafetensors(files.get(WEIGHTS)!, WEIGHTS) };
    const runs: ProfiledRun[] = [];
    const states: string[] = [];
    for (const profile of [undefined, (r: ProfiledRun) => void runs.push(r)]) {
      const device = await WasmDevice.open(artifact, { threads, threadModule: file, profile });
      await initialise(device, manifest, artifact.weights);
      for (const { name, buffer } of device.program.functions.find((f) => f.name === 'train')!.inputs) {
        const data = device.read(buffer) as Float32Array;
        device.write(buffer, data.fill(name === 'valid' || name === 'x' ? 1 : 0));
      }
      for (let n = 0; n < 3; n++) device.run('train', (guard) => !guard.includes('s1'));
      states.push(manifest.state.map(({ name }) => device.read(name).join()).join('\n'));
      device.close();
    }
    expect(states[0]).toBe(states[1]);

    expect(runs.map((r) => r.func)).toEqual(['init', 'train', 'train', 'train']);
    const [program] = manifest.programs;
    const segments = program.functions.find((f) => f.name === 'train')!.segments;
    const expected = segments.flatMap((s) => s.steps.map(() => s.guard === undefined || !s.guard.includes('s1')));
    const trace = new Trace(program, threads);
    for (const r of runs) {
      trace.add(r);
      if (r.func !== 'train') continue;
      const seen = new Set(r.shares.map((s) => s.step));
      expect(expected.map((_, i) => seen.has(i))).toEqual(expected);
      for (const s of r.shares) {
        expect(s.begin).toBeGreaterThanOrEqual(r.begin);
        expect(s.end).toBeLessThanOrEqual(r.end);
      }
    }
    const spans = spansOf(trace.json());
    expectNested(spans);
    const layers = new Set(spans.map((s) => layerOf(`${s.args.source ?? ''}`)));
    for (const name of ['Conv_stem', 'Conv_s2.b', 'Gemm_logits']) expect(layers, name).toContain(name);
  });

  it.each([1, 2])('what the machine reaches is measured on %i threads', async (threads) => {
    const [program] = tinyManifest(tinyFiles()).programs;
    const { flops, bytes } = await measureCeilings(program, { threads, threadModule: file });
    // In operations and bytes a second: however slow or fast the machine, not in thousands or millions of them.
    for (const rate of [flops, bytes]) {
      expect(rate).toBeGreaterThan(1e6);
      expect(rate).toBeLessThan(1e14);
    }
  });

  it('is for the processor only, and says so', async () => {
    const said: string[] = [];
    const gpu = { description: 'a GPU' } as Device;
    expect(await RunProfile.begin(gpu, (text) => said.push(text))).toBeUndefined();
    expect(said).toEqual(['--profile times the kernels of the processor only, and this run is on a GPU']);
  });
});
