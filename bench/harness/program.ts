/**
 * A model as a compiled program on our device: bytes of an ONNX model in, a call that takes one training step out. The learning rate
 * is 0: weights stay what they are, and every step does the same work on the same numbers.
 */

import { join } from 'node:path';
import { build } from 'esbuild';
import { type CompileOptions, compile } from '../../compiler/compile.js';
import { MANIFEST, WEIGHTS } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import type { Program } from '../../ir/program.js';
import { readSafetensors } from '../../ir/safetensors.js';
import type { ArrayData, Guards } from '../../runtime/devices/device.js';
import { WasmDevice } from '../../runtime/devices/wasm/device.js';
import { benchFolder } from './peers.js';

/** Inputs that a step is given, other than data. */
const scalars: Readonly<Record<string, number>> = {
  lr: 0,
  momentum: 0,
  damping: 1e-2,
  kl_bound: 1e30,
  weight_decay: 0,
};

export interface Trainer {
  readonly step: (guards?: Guards) => void;
  /** Writes the function's inputs, whose bytes a call may use for something else, and runs it. */
  readonly call: (name: string, guards?: Guards) => void;
  readonly inputs: (name: string) => ReadonlyMap<string, ArrayData>;
  readonly program: Program;
  readonly device: WasmDevice;
  readonly read: (buffer: string) => Float32Array;
}

/** The module that threads run, which Node cannot read as it is. */
async function threadModule(): Promise<URL> {
  const { outputFiles } = await build({
    entryPoints: [join(benchFolder, '..', 'runtime/devices/wasm/compute-worker.ts')],
    ...{ bundle: true, platform: 'node', format: 'esm', write: false },
  });
  return new URL(`data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`);
}
let threadFile: Promise<URL> | undefined;

/**
 * @param threads of the device
 * @param classes labels are counted through them; other data are sines
 */
export async function trainer(
  model: Uint8Array,
  options: CompileOptions & { readonly batch: number },
  threads = 1,
  classes = 10,
): Promise<Trainer> {
  const { files } = compile(model, 'bench.onnx', { ...options, targets: ['wasm'] });
  const manifest = manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get(MANIFEST))));
  const weights = readSafetensors(files.get(WEIGHTS)!, WEIGHTS);
  if (threads > 1) threadFile ??= threadModule();
  const artifact = { dir: '', manifest, files, weights };
  const device = await WasmDevice.open(artifact, { threads, threadModule: await threadFile });
  for (const [name, tensor] of weights) device.write(name, tensor.data);
  device.run('init');
  const { program } = device;
  const buffers = new Map(program.buffers.map((b) => [b.name, b]));
  const dataOf = (name: string, buffer: string): ArrayData => {
    const { dtype, shape } = buffers.get(buffer)!;
    const length = shape.reduce((a, b) => a * b, 1);
    if (dtype === 'i32') return Int32Array.from({ length }, (_, i) => i % classes);
    const value = (i: number): number => (name === 'valid' ? 1 : (scalars[name] ?? Math.sin(i * i)));
    return Float32Array.from({ length }, (_, i) => value(i));
  };
  const given = new Map(
    program.functions.map((f) => [f.name, f.inputs.map((i) => ({ ...i, data: dataOf(i.name, i.buffer) }))]),
  );
  const call = (name: string, guards?: Guards): void => {
    for (const { buffer, data } of given.get(name)!) device.write(buffer, data);
    device.run(name, guards);
  };
  return {
    step: (guards) => call('train', guards),
    call,
    inputs: (name) => new Map(given.get(name)!.map((i) => [i.name, i.data])),
    program,
    device,
    read: (buffer) => device.read(buffer) as Float32Array,
  };
}
