/**
 * Threads of the WebAssembly device: a training step on several over one on one, ResNet-20 for CIFAR-10, SGD and SP-NGD with
 * everything fresh. The devices take turns in one process, each step's metrics must be the same bits, and medians are compared.
 * Arguments: sgd, spngd (default: both), and
 *   --threads N   (default: 2)
 *   --batch N     (default: 64)
 *   --rounds N    of one step each (default: 15)
 *   --seconds N   more rounds, until so many had the processor to themselves (default: 60)
 *   --model FILE  another ONNX model
 * Run: npx tsx bench/threads.ts. Where others use the machine, only steps that had the processor to themselves say something: they
 * are counted apart.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { compile } from '../compiler/compile.js';
import { MANIFEST, type Manifest, WEIGHTS } from '../ir/artifact.js';
import { readSafetensors } from '../ir/safetensors.js';
import type { Artifact } from '../runtime/artifact.js';
import { compileForLong, WasmDevice } from '../runtime/devices/wasm/device.js';
import { initialise } from '../runtime/training/state.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string', default: '2' },
    batch: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '15' },
    seconds: { type: 'string', default: '60' },
    model: { type: 'string', default: '../shared/data/models/torch-small/cifar_resnet20_op15.onnx' },
  },
});
const { seconds, threads, batch, rounds } = Object.fromEntries(
  (['seconds', 'threads', 'batch', 'rounds'] as const).map((name) => [name, Number(values[name])]),
);
/** Part of its threads' time that a step must have got of the processor, so that others did not disturb it. */
const QUIET = 0.95;
const median = (times: readonly number[]): number => [...times].sort((a, b) => a - b)[times.length >> 1];

/** The module that threads run, which Node cannot read as it is. */
async function threadModule(): Promise<URL> {
  const { outputFiles } = await build({
    entryPoints: ['runtime/devices/wasm/compute-worker.ts'],
    bundle: true,
    platform: 'node',
    format: 'esm',
    write: false,
  });
  return new URL(`data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`);
}

function artifactOf(optimizer: 'sgd' | 'spngd'): Artifact {
  const bytes = readFileSync(values.model);
  const { files } = compile(bytes, basename(values.model), { optimizer, batch, targets: ['wasm'], init: 'he-normal' });
  const manifest: Manifest = JSON.parse(new TextDecoder().decode(files.get(MANIFEST)));
  return { dir: '', manifest, files, weights: readSafetensors(files.get(WEIGHTS)!, WEIGHTS) };
}

function writeInputs(device: WasmDevice, { programs: [program], loss }: Manifest): void {
  const scalars: Record<string, number> = { lr: 1e-3, momentum: 0.9, damping: 1e-2, kl_bound: 1e-3, valid: 1 };
  for (const { name, buffer } of program.functions.find((f) => f.name === 'train')!.inputs) {
    const data = device.read(buffer) as Float32Array | Int32Array | Uint8Array;
    for (let i = 0; i < data.length; i++)
      data[i] = name === 'target' ? i % (loss.target?.classes ?? 2) : (scalars[name] ?? 100 * Math.sin(i) ** 2);
    if (name === 'x' && data instanceof Float32Array) for (let i = 0; i < data.length; i++) data[i] = Math.sin(i * i);
    device.write(buffer, data);
  }
}

const file = await threadModule();
console.log(
  `${cpus()[0].model}, ${availableParallelism()} cores, Node ${process.version}; load ${loadavg()[0].toFixed(1)}`,
);
for (const optimizer of ['sgd', 'spngd'] as const) {
  if (positionals.length > 0 && !positionals.includes(optimizer)) continue;
  const artifact = artifactOf(optimizer);
  const module = compileForLong(artifact);
  const devices = await Promise.all(
    [1, threads].map((n) => WasmDevice.open(artifact, { threads: n, module, threadModule: file })),
  );
  for (const d of devices) await initialise(d, artifact.manifest, artifact.weights);
  const metrics = artifact.manifest.programs[0].functions.find((f) => f.name === 'train')!.outputs[0].buffer;
  const times: number[][] = devices.map(() => []);
  const quiet: number[][] = devices.map(() => []);
  const begun = performance.now();
  const missing = (): boolean => quiet.some((q) => q.length < rounds) && performance.now() - begun < 1000 * seconds;
  for (let round = 0; round < rounds || missing(); round++) {
    const results = devices.map((d, i) => {
      writeInputs(d, artifact.manifest);
      const [begin, used] = [performance.now(), process.cpuUsage()];
      d.run('train');
      const time = performance.now() - begin;
      const { user, system } = process.cpuUsage(used);
      times[i].push(time);
      if ((user + system) / 1000 > QUIET * d.threads * time) quiet[i].push(time);
      return d.read(metrics).join();
    });
    if (new Set(results).size > 1) throw new Error(`round ${round}: the metrics depend on the number of threads`);
  }
  const report = (what: string, of: readonly number[][]): void => {
    if (of.some((t) => t.length === 0)) {
      console.log(`  ${what}: none`);
      return;
    }
    const each = devices.map((d, i) => `${median(of[i]).toFixed(1)} ms on ${d.description} (${of[i].length} steps)`);
    console.log(`  ${what}: ${each.join(', ')}: ${(median(of[0]) / median(of[1])).toFixed(2)} times as fast`);
  };
  console.log(`${optimizer}, batch ${batch}`);
  report('all', times);
  report('with the processor to themselves', quiet);
  for (const d of devices) d.close();
}
console.log(`load ${loadavg()[0].toFixed(1)}`);
