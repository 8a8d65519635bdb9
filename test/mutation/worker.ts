/**
 * The process that mutants are tried in: told a kind and a seed, it makes the mutant, gives it to the command line in a folder of
 * its own, and says how that ended. The parent kills it when that takes too long.
 */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCommandLine } from '../../cli/command-line.js';
import { compile } from '../../compiler/compile.js';
import { UserError } from '../../ir/diagnostics/error.js';
import { loadArtifact, programFor } from '../../runtime/artifact.js';
import { WasmDevice } from '../../runtime/devices/wasm/device.js';
import { openDawn } from '../../runtime/devices/webgpu/adapter.js';
import { WebgpuDevice } from '../../runtime/devices/webgpu/device.js';
import { initialise } from '../../runtime/training/state.js';
import { Rng } from '../fuzz/rng.js';
import { writeMutant } from './artifact-mutations.js';
import { mutateOnnx } from './onnx-mutations.js';
import { made, sources } from './sources.js';

export interface Request {
  readonly kind: 'onnx' | 'artifact';
  readonly seed: number;
}
export interface Reply {
  /** `ok`, `E123`, or `fault: ...`; of several parts: the device that said so before it. */
  readonly outcomes: readonly string[];
  /** Code that was damaged may run for ever: sent before it runs. */
  readonly mayHang?: boolean;
  readonly residentMiB: number;
  /** Of the processor. */
  readonly seconds: number;
}

/** The parent removes it: a process that is killed cannot. */
const sandbox = process.argv[2];
const work = join(sandbox, 'work');
const secret = join(sandbox, 'secret');
process.chdir(sandbox);

/** An operation's work is bounded by this, so that a step of a sound mutant ends in time. */
const MOST_FLOPS = 3e8;

function fault(e: unknown): string {
  const error = e instanceof Error ? e : new Error(String(e));
  return `fault: ${(error.stack ?? error.message).slice(0, 1500)}`;
}

async function outcomeOf(run: () => unknown): Promise<string> {
  try {
    await run();
    return 'ok';
  } catch (e) {
    return e instanceof UserError ? `E${e.code}` : fault(e);
  }
}

/** The command line, told apart as a shell would. */
async function spngdc(...args: string[]): Promise<string> {
  let text = '';
  const sink = { write: (t: string) => (text += t) };
  process.env.SPNGDC_DEBUG = '1';
  const code = await runCommandLine(args, { stdout: sink, stderr: sink });
  if (code === 0) return 'ok';
  const number = /error (E\d+):/.exec(text)?.[1];
  return code === 1 && number !== undefined ? number : `fault: exit ${code}: ${text.slice(0, 1500)}`;
}

/** What was written beside the output. */
function strays(allowed: readonly string[]): string[] {
  const inside = readdirSync(work).filter((f) => !allowed.includes(f));
  const beside = readdirSync(sandbox).filter((f) => f !== 'work' && f !== 'secret');
  return [...inside, ...beside].map((f) => `fault: wrote ${f}`);
}

const models = sources();

async function tryOnnx(seed: number): Promise<string[]> {
  const r = new Rng(seed);
  const model = join(work, 'model.onnx');
  writeFileSync(model, mutateOnnx(r.pick(models), r.pick(models), r));
  const optimizer = r.pick(['spngd', 'spngd', 'sgd']);
  const init = r.chance(0.2) ? ['--init', 'he-normal'] : [];
  const dir = join(work, 'out.spngd');
  const compiled = await spngdc(
    'compile',
    model,
    '-o',
    dir,
    '--batch',
    String(r.int(1, 4)),
    '--optimizer',
    optimizer,
    ...init,
  );
  const outcomes = [compiled, ...strays(['model.onnx', 'out.spngd'])];
  if (compiled !== 'ok') {
    if (existsSync(dir)) outcomes.push('fault: left an artifact behind');
    return outcomes;
  }
  if (seed % 4 === 0) outcomes.push(`step ${await outcomeOf(() => step(dir))}`);
  return outcomes;
}

/** Loads the artifact and runs a step on the processor, of zeros. */
async function step(dir: string): Promise<void> {
  const artifact = loadArtifact(dir);
  const device = WasmDevice.load(artifact);
  await initialise(device, artifact.manifest, artifact.weights);
  const flops = programFor(artifact.manifest, 'wasm').kernels.reduce((n, k) => n + k.flops, 0);
  if (flops < MOST_FLOPS) device.run('train');
  device.close();
}

let artifacts: ReadonlyMap<string, Uint8Array>[] | undefined;

async function tryArtifact(seed: number): Promise<string[]> {
  artifacts ??= (['mlp', 'convnet'] as const).map(
    (name) => compile(made[name](), `${name}.onnx`, { batch: 2, optimizer: name === 'mlp' ? 'spngd' : 'sgd' }).files,
  );
  const r = new Rng(seed);
  const dir = join(work, 'mutant.spngd');
  const which = r.int(0, 1);
  const { code } = writeMutant(artifacts[which], dir, secret, r);
  const data = join(work, 'data.csv');
  const width = which === 0 ? 4 : 72;
  const row = (i: number): string => [...Array.from({ length: width }, (_, k) => Math.sin(i * 9 + k)), i % 3].join();
  writeFileSync(data, [0, 1, 2, 3].map(row).join('\n'));
  if (code) process.send!({ outcomes: [], mayHang: true, residentMiB: 0, seconds: 0 } satisfies Reply);
  const out = join(work, 'results');
  const run = ['run', dir, '--data', data, '--normalize', 'none', '--device', 'cpu', '--out', out, '--quiet'];
  return [
    `run ${await spngdc(...run, '--steps', '2')}`,
    `inspect ${await spngdc('inspect', dir)}`,
    `webgpu ${await outcomeOf(() => onNullDevice(dir))}`,
    ...strays(['mutant.spngd', 'data.csv', 'results']),
  ];
}

/** Loads the artifact on Dawn's null device, which checks everything and runs nothing. */
async function onNullDevice(dir: string): Promise<void> {
  const artifact = loadArtifact(dir);
  const gpu = await openDawn({ backend: 'null' });
  const adapter = (await gpu.requestAdapter())!;
  const device = await WebgpuDevice.load(artifact, { gpu, adapter, name: 'null', software: true });
  await initialise(device, artifact.manifest, artifact.weights);
  await device.run('train');
  device.close();
}

process.on('message', async ({ kind, seed }: Request) => {
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work);
  writeFileSync(secret, 'not to be read or changed');
  const before = process.cpuUsage();
  let outcomes: string[];
  try {
    outcomes = await (kind === 'onnx' ? tryOnnx(seed) : tryArtifact(seed));
  } catch (e) {
    outcomes = [fault(e)];
  }
  const residentMiB = Math.round(process.resourceUsage().maxRSS / 1024);
  const { user, system } = process.cpuUsage(before);
  process.send!({ outcomes, residentMiB, seconds: (user + system) / 1e6 } satisfies Reply);
});
