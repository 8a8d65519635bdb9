/**
 * Checkpoints in one process: on every target a run that is cut off and continued on a fresh device takes the same course; and no
 * file but the right one, whole, is taken.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type CompileOptions, compile } from '../../compiler/compile.js';
import { MANIFEST, type Target } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import { readSafetensors } from '../../ir/safetensors.js';
import type { Artifact } from '../../runtime/artifact.js';
import { bindDataset } from '../../runtime/data/dataset.js';
import { chooseNormalization } from '../../runtime/data/normalize.js';
import type { Device } from '../../runtime/devices/device.js';
import { openDevice } from '../../runtime/devices/open.js';
import { Checkpoints } from '../../runtime/training/checkpoints.js';
import { type TrainingData, train } from '../../runtime/training/loop.js';
import { MetricsLog } from '../../runtime/training/metrics-log.js';
import type { RefreshShares } from '../../runtime/training/refreshes.js';
import { type Overrides, resolveSettings, settingsRecord } from '../../runtime/training/settings.js';
import { initialise } from '../../runtime/training/state.js';
import { node, onnxFile, valueInfo } from '../frontend/make-onnx.js';
import { Rng } from '../fuzz/rng.js';
import { useSwiftShader } from '../targets/swiftshader.mjs';
import { temporaryFolder } from './tiny-artifact.js';

beforeAll(() => useSwiftShader());

/** 6 -> 5 -> 3, with dropout between: the random counters must go on as well. On a software GPU, which is slow, 6 -> 3. */
function artifactOf(target: Target, options: CompileOptions = {}): Artifact {
  const hidden = [
    node('Gemm', ['x', 'w0', 'b0'], ['h'], { transB: 1 }),
    node('Relu', ['h'], ['r']),
    node('Dropout', ['r'], ['d']),
  ];
  const deep = target === 'wasm';
  const width = deep ? 5 : 6;
  const model = onnxFile({
    nodes: [...(deep ? hidden : []), node('Gemm', [deep ? 'd' : 'x', 'w1', 'b1'], ['logits'], { transB: 1 })],
    inputs: [
      valueInfo('x', ['N', 6]),
      ...(deep ? [valueInfo('w0', [5, 6]), valueInfo('b0', [5])] : []),
      ...[valueInfo('w1', [3, width]), valueInfo('b1', [3])],
    ],
    outputs: ['logits'],
  });
  const { files } = compile(model, 'mlp.onnx', { batch: 4, init: 'he-normal', targets: [target], ...options });
  const manifest = manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get(MANIFEST))));
  return { dir: '', manifest, files, weights: readSafetensors(files.get('weights.safetensors')!, 'w') };
}

/** 10 examples for training, 5 to validate: batches of 4, 4 and 2. */
function dataFor({ manifest }: Artifact): TrainingData {
  const rng = new Rng(5);
  const set = (count: number) => {
    const examples = {
      ...{ source: 'made', count, shape: [6], targetWidth: 1 },
      features: Float32Array.from({ length: 6 * count }, () => rng.real() - 0.5),
      targets: Int32Array.from({ length: count }, () => rng.int(0, 2)),
    };
    return bindDataset(examples, manifest, chooseNormalization('none', examples, [6]));
  };
  return { train: set(10), validation: set(5) };
}

interface Life {
  readonly artifact: Artifact;
  readonly out: string;
  readonly resume?: boolean;
  /** The process ends in the middle of this step's report. */
  readonly diesAt?: number;
  readonly overrides?: Overrides;
  readonly every?: number | 'epoch';
  readonly keep?: number;
}

interface Ended {
  readonly state: ReadonlyMap<string, string>;
  readonly curve: readonly object[];
  readonly refreshedShares?: RefreshShares;
  readonly notices: readonly string[];
}

const specOf = { wasm: 'cpu', webgpu: 'SwiftShader' };

async function live(life: Life): Promise<Ended> {
  const { artifact, out, diesAt, resume = false, overrides, every = 'epoch', keep = 3 } = life;
  const { manifest } = artifact;
  const device = await openDevice(artifact, specOf[manifest.programs[0].target]);
  await initialise(device, manifest, artifact.weights);
  const data = dataFor(artifact);
  const settings = resolveSettings(manifest, { epochs: 4, ...overrides }, data.train.count);
  const log = new MetricsLog(join(out, 'metrics.jsonl'));
  const notices: string[] = [];
  try {
    const keeper = new Checkpoints(device, manifest, {
      ...{ folder: join(out, 'checkpoints'), every, keep, resume, settings: settingsRecord(settings), log },
      notice: (text) => notices.push(text),
    });
    const before = await stateOf(device, artifact);
    const reporter = {
      ...log.reporter,
      step: (r: Parameters<NonNullable<typeof log.reporter.step>>[0]) => {
        if (r.step === diesAt) throw new Error('died');
        log.reporter.step!(r);
      },
    };
    try {
      const { refreshedShares } = await train(device, manifest, data, settings, reporter, keeper);
      return { state: await stateOf(device, artifact), curve: curveOf(out), refreshedShares, notices };
    } catch (e) {
      // Never half-loaded.
      if ((e as { code?: number }).code !== undefined) expect(await stateOf(device, artifact)).toEqual(before);
      throw e;
    }
  } finally {
    log.close();
    device.close();
  }
}

async function stateOf(device: Device, { manifest }: Artifact): Promise<Map<string, string>> {
  const state = new Map<string, string>();
  for (const { name } of manifest.state) {
    const { buffer, byteOffset, byteLength } = await device.read(name);
    state.set(name, Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength).toString('hex'));
  }
  return state;
}

function curveOf(out: string): object[] {
  const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
  const events = lines.map((l) => JSON.parse(l)).filter((e) => e.event !== 'done');
  for (const e of events) delete e.seconds;
  return events;
}

const checkpointsIn = (out: string): string[] => readdirSync(join(out, 'checkpoints')).sort();
const newestIn = (out: string): string => join(out, 'checkpoints', checkpointsIn(out).at(-1)!);

describe('a run that dies is continued bit for bit', () => {
  it.each([
    ['wasm', [5], 1],
    ['wasm', [2, 4, 8], 1],
    ['wasm', [7, 11], 2],
    ['wasm', [1, 3, 6], 'epoch'],
    ['webgpu', [3], 1],
  ] as const)(
    'on %s, at steps %j, with checkpoints every %s',
    async (target, deaths, every) => {
      const artifact = artifactOf(target);
      // A software GPU is slow.
      const overrides = { epochs: target === 'webgpu' ? 2 : 4 };
      const whole = await live({ artifact, out: temporaryFolder(), every, overrides });
      const out = temporaryFolder();
      for (const diesAt of deaths)
        await expect(live({ artifact, out, resume: true, diesAt, every, overrides })).rejects.toThrow('died');
      const { notices, ...course } = await live({ artifact, out, resume: true, every, overrides });
      expect(course).toEqual({ state: whole.state, curve: whole.curve });
      expect(notices).toEqual([]);
    },
    400_000,
  );

  it('where a step accumulates several batches', async () => {
    // Three batches of 2 are a step; the epoch's last step has two, of which the second is not full.
    const artifact = artifactOf('wasm', { batch: 2, accumulate: 3 });
    const whole = await live({ artifact, out: temporaryFolder(), every: 1 });
    expect(whole.curve.filter((e) => 'learningRate' in e)).toHaveLength(8);
    const out = temporaryFolder();
    for (const diesAt of [1, 4, 7])
      await expect(live({ artifact, out, resume: true, diesAt, every: 1 })).rejects.toThrow('died');
    const { state, curve } = await live({ artifact, out, resume: true, every: 1 });
    expect(curve).toEqual(whole.curve);
    for (const { name, checkpoint } of artifact.manifest.state)
      if (checkpoint) expect(state.get(name), name).toBe(whole.state.get(name));
  }, 400_000);

  it.each([
    ['at once', { alpha: 1 }],
    ['two steps later', { alpha: 1, lag: 2, bounded: true }],
  ])(
    'with statistics that go stale, whose intervals are chosen %s',
    async (_, options) => {
      const artifact = artifactOf('wasm', { staleness: 'adaptive' });
      const overrides = { epochs: 8, ...options };
      const whole = await live({ artifact, out: temporaryFolder(), every: 1, overrides });
      const { A, others } = whole.refreshedShares!;
      // Some intervals have grown; what has been forgotten would be due at once.
      for (const share of [A, others]) expect(share).toBeLessThan(0.9);
      const out = temporaryFolder();
      for (const diesAt of [3, 9, 14, 22])
        await expect(live({ artifact, out, resume: true, diesAt, every: 1, overrides })).rejects.toThrow('died');
      const course = await live({ artifact, out, resume: true, every: 1, overrides });
      expect(course).toEqual(whole);
    },
    400_000,
  );
});

describe('the folder of checkpoints', () => {
  const artifact = artifactOf('wasm');

  it('keeps the newest, and leaves nothing half-written', async () => {
    const out = temporaryFolder();
    mkdirSync(join(out, 'checkpoints'));
    writeFileSync(join(out, 'checkpoints', 'step-00000001.ckpt.77.tmp'), 'half');
    await live({ artifact, out, every: 2, keep: 2 });
    expect(checkpointsIn(out)).toEqual(['step-00000010.ckpt', 'step-00000012.ckpt']);
  });

  it('a run that has ended is ended again by --resume, with the same results', async () => {
    const out = temporaryFolder();
    const first = await live({ artifact, out });
    expect((await live({ artifact, out, resume: true })).state).toEqual(first.state);
  });

  it('E525: a new run does not begin among the checkpoints of another', async () => {
    const out = temporaryFolder();
    await live({ artifact, out });
    await expect(live({ artifact, out })).rejects.toMatchObject({ code: 525 });
  });

  it('says so where the metrics of before are gone', async () => {
    const out = temporaryFolder();
    await expect(live({ artifact, out, diesAt: 5 })).rejects.toThrow('died');
    writeFileSync(join(out, 'metrics.jsonl'), '');
    const { notices, curve } = await live({ artifact, out, resume: true });
    expect(notices).toEqual([expect.stringContaining('lacks what was reported before step 3')]);
    expect(curve[0]).toMatchObject({ event: 'step', step: 4 });
  });

  it('E503 where it cannot be written', async () => {
    const out = temporaryFolder();
    writeFileSync(join(out, 'checkpoints'), 'a file');
    await expect(live({ artifact, out, resume: true })).rejects.toMatchObject({ code: 503 });
    expect(readFileSync(join(out, 'checkpoints'), 'utf8')).toBe('a file');
  });
});

describe('a checkpoint is refused', () => {
  const artifact = artifactOf('wasm');

  /** A run that died in its second epoch, and its only checkpoint. */
  async function died(of = artifact): Promise<{ out: string; file: string }> {
    const out = temporaryFolder();
    await expect(live({ artifact: of, out, diesAt: 5 })).rejects.toThrow('died');
    return { out, file: newestIn(out) };
  }

  /** The first line of a checkpoint, and the file with another one under a right hash. */
  function taken(file: string): { header: string; withHeader(text: string): Buffer } {
    const bytes = readFileSync(file);
    const end = bytes.indexOf(0x0a);
    const rest = bytes.subarray(end, -32);
    const withHeader = (text: string): Buffer => {
      const body = Buffer.concat([Buffer.from(text), rest]);
      return Buffer.concat([body, createHash('sha256').update(body).digest()]);
    };
    return { header: bytes.subarray(0, end).toString(), withHeader };
  }

  it('E522: truncated anywhere, or with any byte changed', async () => {
    const { out, file } = await died();
    const bytes = readFileSync(file);
    const rng = new Rng(9);
    const spoilt: Buffer[] = [bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.of(0)])];
    for (let i = 0; i < 20; i++) spoilt.push(bytes.subarray(0, rng.int(0, bytes.length - 1)));
    for (let i = 0; i < 20; i++) {
      const changed = Buffer.from(bytes);
      changed[rng.int(0, bytes.length - 1)] ^= rng.int(1, 255);
      spoilt.push(changed);
    }
    for (const b of spoilt) {
      writeFileSync(file, b);
      const error = await live({ artifact, out, resume: true }).catch((e) => e);
      expect([520, 521, 522]).toContain(error.code);
      expect(error.format()).toContain(file);
    }
    writeFileSync(file, bytes);
    await live({ artifact, out, resume: true });
  });

  it('E522: contents that never were a checkpoint, under a right hash', async () => {
    const { out, file } = await died();
    const { header, withHeader } = taken(file);
    const changes: (readonly [string, string])[] = [
      ['"step":3', '"step":-3'],
      ['"step":3', '"step":"three"'],
      ['state/w1"', 'state/w9"'],
      ['"tensors":[', '"tensors":[{"name":"state/more","bytes":0},'],
      ['"bytes":', '"bytes":1'],
      ['"logBytes":', '"surprise":1,"logBytes":'],
      ['"tensors":[', '"tensors":{'],
    ];
    for (const [from, to] of changes) {
      expect(header).toContain(from);
      writeFileSync(file, withHeader(header.replace(from, to)));
      await expect(live({ artifact, out, resume: true }), `${from} -> ${to}`).rejects.toMatchObject({ code: 522 });
    }
  });

  it('E522: without the intervals of a statistic', async () => {
    const stale = artifactOf('wasm', { staleness: 'adaptive' });
    const { out, file } = await died(stale);
    const { header, withHeader } = taken(file);
    for (const [from, to] of [
      [/"refreshes":\{"statistics".*?"count":\{[^}]*\}\}/, '"step":3'],
      [/"w1\.A":/, '"w9.A":'],
      [/"interval":1/, '"interval":0'],
    ] as const) {
      expect(header).toMatch(from);
      writeFileSync(file, withHeader(header.replace(from, to)));
      await expect(live({ artifact: stale, out, resume: true }), `${from}`).rejects.toMatchObject({ code: 522 });
    }
  });

  it('E520, E521: another file, another version', async () => {
    const { out, file } = await died();
    const text = readFileSync(file, 'latin1');
    writeFileSync(file, 'thesis');
    await expect(live({ artifact, out, resume: true })).rejects.toMatchObject({ code: 520 });
    writeFileSync(file, text.replace('"version":1', '"version":2'), 'latin1');
    await expect(live({ artifact, out, resume: true })).rejects.toMatchObject({ code: 521 });
  });

  it('E523: of another artifact, saying whether the model is another', async () => {
    const { out } = await died();
    const recompiled = artifactOf('wasm', { optimizer: 'sgd' });
    await expect(live({ artifact: recompiled, out, resume: true })).rejects.toMatchObject({
      code: 523,
      what: expect.stringContaining('other options'),
    });
    const other = artifactOf('wasm');
    const manifest = { ...other.manifest, model: { ...other.manifest.model, name: 'vgg', sha256: 'f'.repeat(64) } };
    await expect(live({ artifact: { ...other, manifest }, out, resume: true })).rejects.toMatchObject({
      code: 523,
      what: expect.stringMatching(/it trains 'mlp' .*this is 'vgg'/),
    });
  });

  it('E524: of a run with other settings, saying which', async () => {
    const { out } = await died();
    const error = await live({ artifact, out, resume: true, overrides: { epochs: 5, lr: 0.125 } }).catch((e) => e);
    expect(error.code).toBe(524);
    expect(error.what).toContain('--epochs or --steps was 12, now 15');
    expect(error.what).toMatch(/--lr was [\d.]+, now 0.125/);
    expect(error.what).not.toContain('--lr-end');
  });
});
