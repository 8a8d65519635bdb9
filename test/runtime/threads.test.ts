/**
 * Threads of the wasm device: the results are the same bits on any number of them; a trap in one of them is a numbered error;
 * closing ends them; where they cannot be had, the device does without.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { type CompileOptions, compile } from '../../compiler/compile.js';
import { MANIFEST, type Manifest, WASM_MODULE, WEIGHTS } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import { UserError } from '../../ir/diagnostics/error.js';
import { readSafetensors } from '../../ir/safetensors.js';
import { type Artifact, loadArtifact } from '../../runtime/artifact.js';
import type { Guards } from '../../runtime/devices/device.js';
import { WasmDevice } from '../../runtime/devices/wasm/device.js';
import { initialise } from '../../runtime/training/state.js';
import { noise } from '../frontend/forward.js';
import { residualNet, threadModule, transformer } from './thread-nets.js';
import { temporaryFolder, writeTrapping } from './tiny-artifact.js';

let threadFile: URL;
beforeAll(async () => {
  threadFile = await threadModule();
});

function artifactOf(model: Uint8Array, options: CompileOptions): Artifact {
  const { files } = compile(model, 'net.onnx', { targets: ['wasm'], ...options });
  const manifest = manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get(MANIFEST))));
  return { dir: '', manifest, files, weights: readSafetensors(files.get(WEIGHTS)!, WEIGHTS) };
}

const open = (artifact: Artifact, threads: number, file = threadFile): Promise<WasmDevice> =>
  WasmDevice.open(artifact, { threads, threadModule: file });

const scalars: Readonly<Record<string, number>> = {
  ...{ lr: 0.02, momentum: 0.9, damping: 0.01, kl_bound: 1e-3, weight_decay: 1e-4, valid: 1 },
};

const functionOf = (device: WasmDevice, name: string) => device.program.functions.find((f) => f.name === name);

/** Fills the inputs of a function with numbers that the step decides. */
function feed(device: WasmDevice, { loss }: Manifest, step: number, func = 'train'): void {
  for (const { name, buffer } of functionOf(device, func)!.inputs) {
    const data = device.read(buffer) as Float32Array | Int32Array;
    const drawn = noise(data.length, step + 1);
    for (let i = 0; i < data.length; i++)
      data[i] = name === 'target' ? (7 * i + step) % loss.target!.classes! : (scalars[name] ?? drawn[i]);
    device.write(buffer, data);
  }
}

/** Metrics of each step, and all state at the end, as text. */
async function course(artifact: Artifact, threads: number, guards: (step: number) => Guards): Promise<string[]> {
  const device = await open(artifact, threads);
  expect(device.description).toBe(`WebAssembly SIMD, ${threads} thread${threads === 1 ? '' : 's'}`);
  await initialise(device, artifact.manifest, artifact.weights);
  const metrics = functionOf(device, 'train')!.outputs[0].buffer;
  const seen: string[] = [];
  for (let step = 0; step < 12; step++) {
    // Two batches to a step, where the program accumulates them.
    for (let batch = 0; batch < 2 && functionOf(device, 'accumulate'); batch++) {
      feed(device, artifact.manifest, 2 * step + batch, 'accumulate');
      device.run('accumulate', guards(step));
    }
    feed(device, artifact.manifest, step);
    device.run('train', guards(step));
    seen.push(device.read(metrics).join());
  }
  for (const { name } of artifact.manifest.state) {
    const data = device.read(name);
    seen.push(`${name} ${Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')}`);
  }
  device.close();
  return seen;
}

/** Every other step, and then for two statistics of three. */
const sometimes =
  (step: number): Guards =>
  (guard) =>
    step % 2 === 0 && (guard.length + step) % 3 !== 0;
const always = (): Guards => () => true;

describe.each([
  ['a residual net, SP-NGD', residualNet, { batch: 16 }, always],
  ['a residual net, SP-NGD with stale statistics', residualNet, { batch: 8, staleness: 'fixed' }, sometimes],
  [
    'a residual net, SP-NGD by drawn labels over two batches',
    residualNet,
    { batch: 8, accumulate: 2, fisher: '1mc' },
    always,
  ],
  ['a residual net, SGD', residualNet, { batch: 24, optimizer: 'sgd' }, always],
  ['a transformer, SP-NGD', transformer, { batch: 16 }, always],
  ['the digits', () => readFileSync('examples/digits/digits.onnx'), { batch: 64, init: 'he-normal' }, always],
] as [string, () => Uint8Array, CompileOptions, (step: number) => Guards][])('%s', (_name, model, options, guards) => {
  it('is the same, bit for bit, on 1, 2 and 3 threads', async () => {
    const artifact = artifactOf(model(), options);
    const alone = await course(artifact, 1, guards);
    // Steps differ: else they could not tell whether something was left out.
    expect(new Set(alone.slice(0, 12)).size).toBe(12);
    for (const threads of [2, 3]) expect(await course(artifact, threads, guards)).toEqual(alone);
  });
});

it('does without threads that cannot start', async () => {
  const artifact = artifactOf(residualNet(), { batch: 16, optimizer: 'sgd' });
  const missing = pathToFileURL(join(temporaryFolder(), 'missing.mjs'));
  const failing = join(temporaryFolder(), 'failing.mjs');
  writeFileSync(failing, 'process.exit(3)');
  for (const file of [missing, pathToFileURL(failing)]) {
    const device = await open(artifact, 3, file);
    expect(device.description).toBe('WebAssembly SIMD, 1 thread');
    await initialise(device, artifact.manifest, artifact.weights);
    feed(device, artifact.manifest, 0);
    device.run('train');
  }
});

it('a trap in another thread is E424, and the device goes on', async () => {
  const device = await open(loadArtifact(writeTrapping()), 3);
  expect(device.description).toBe('WebAssembly SIMD, 3 threads');
  for (let time = 0; time < 3; time++) {
    let error: unknown;
    try {
      device.run('train');
    } catch (e) {
      error = e;
    }
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).code).toBe(424);
    expect((error as UserError).loc).toBe('train.s0 (copy2)');
    expect((error as UserError).what).toContain('unreachable');
  }
  device.close();
});

it('a trap in the thread that leads is E424, too', async () => {
  const device = await open(loadArtifact(writeTrapping(1)), 2);
  expect(() => device.run('train')).toThrow('unreachable');
  device.close();
});

it('more threads than memory is left for are not started', async () => {
  const artifact = loadArtifact(writeTrapping());
  for (const k of artifact.manifest.programs[0].kernels) (k as { scratch: number }).scratch = 1.5 * 2 ** 30;
  const device = await open(artifact, 8);
  expect(device.description).toBe('WebAssembly SIMD, 2 threads');
  device.close();
});

describe.runIf(process.platform === 'linux')('closing', () => {
  const threadsOfProcess = (): number => readdirSync('/proc/self/task').length;

  it('ends all threads', async () => {
    const artifact = artifactOf(residualNet(), { batch: 16, optimizer: 'sgd' });
    const device = await open(artifact, 3);
    await initialise(device, artifact.manifest, artifact.weights);
    const before = threadsOfProcess();
    device.close();
    for (let waited = 0; waited < 10_000 && threadsOfProcess() > before - 2; waited += 20)
      await new Promise((r) => setTimeout(r, 20));
    expect(threadsOfProcess()).toBeLessThanOrEqual(before - 2);
    // What the module was compiled from is what the artifact has.
    expect(WebAssembly.validate(artifact.files.get(WASM_MODULE) as Uint8Array<ArrayBuffer>)).toBe(true);
  });
});
