/**
 * Runs a compiled model's functions both on a device and in the float64 evaluator, from the same state and inputs.
 */
import { expect } from 'vitest';
import { type CompileOptions, compile, runPasses, type Stages } from '../../compiler/compile.js';
import { MANIFEST, type Target } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import { type Evaluation, evaluate } from '../../ir/evaluate.js';
import { type Func, findFunction, type Value } from '../../ir/graph.js';
import { mix32 } from '../../ir/random.js';
import { concrete, product, storedCount } from '../../ir/types.js';
import type { Artifact } from '../../runtime/artifact.js';
import type { Device } from '../../runtime/devices/device.js';
import { openDevice } from '../../runtime/devices/open.js';
import { WasmDevice } from '../../runtime/devices/wasm/device.js';
import { useSwiftShader } from '../targets/swiftshader.mjs';
import { relativeError } from './relative-error.js';

export { relativeError };

export interface OnDevice<D extends Device = Device> {
  readonly stages: Stages;
  readonly device: D;
}

export type Data = Record<string, Float32Array | Int32Array>;

interface Compiled {
  readonly stages: Stages;
  readonly artifact: Artifact;
}

function compiledFor(target: Target, bytes: Uint8Array, name: string, given: CompileOptions): Compiled {
  const options: CompileOptions = { ...given, targets: [target] };
  const { files } = compile(bytes, name, options);
  const manifest = manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get(MANIFEST))));
  return { stages: runPasses(bytes, name, options), artifact: { dir: '', manifest, files, weights: new Map() } };
}

/** Gives all state its first value, whatever the device did before. */
export function initialise({ placed }: Stages, device: Device): void {
  for (const { name, init, type } of placed.state) {
    const data =
      init.kind === 'fill' ? new Float32Array(storedCount(type)).fill(init.value) : placed.weights.get(name)?.data;
    if (data) device.write(name, data);
  }
}

/** On the wasm device, initialised. */
export function load(bytes: Uint8Array, name: string, options: CompileOptions): OnDevice<WasmDevice> {
  const { stages, artifact } = compiledFor('wasm', bytes, name, options);
  const device = WasmDevice.load(artifact);
  initialise(stages, device);
  return { stages, device };
}

/** On any target; on `webgpu` by a software driver. */
export async function loadOn(
  target: Target,
  bytes: Uint8Array,
  name: string,
  options: CompileOptions,
): Promise<OnDevice> {
  if (target === 'wasm') return load(bytes, name, options);
  useSwiftShader();
  const { stages, artifact } = compiledFor(target, bytes, name, options);
  const device = await openDevice(artifact, 'SwiftShader');
  initialise(stages, device);
  return { stages, device };
}

/** Reproducible inputs for a function: normal-looking data, labels in range, all examples valid. */
export function inputsFor(func: Func, classes: number, scalars: Readonly<Record<string, number>> = {}): Data {
  const out: Data = {};
  func.inputs.forEach((v: Value, k) => {
    const n = storedCount(v.type);
    const shape = concrete(v.type.shape);
    if (v.name in scalars) out[v.name] = Float32Array.of(scalars[v.name]);
    else if (v.name === 'valid') out[v.name] = new Float32Array(n).fill(1);
    else if (v.name === 'rng') out[v.name] = Int32Array.of(7, 1, 0);
    else if (v.type.dtype === 'i32') out[v.name] = Int32Array.from({ length: n }, (_, i) => mix32(i * 7 + k) % classes);
    else
      out[v.name] = Float32Array.from(
        { length: product(shape) },
        (_, i) => (mix32(i * 13 + k * 101 + 5) / 2 ** 31 - 1) * 1.5,
      );
  });
  return out;
}

/** Runs `name` on the device and in the evaluator from the device's present state; leaves the device stepped. */
export function both(
  on: OnDevice<WasmDevice>,
  name: string,
  inputs: Data,
): { device: WasmDevice; reference: Evaluation; func: Func } {
  const func = findFunction(on.stages.placed, name);
  const state: Record<string, Float64Array> = {};
  for (const v of func.reads) state[v.name] = Float64Array.from(on.device.read(v.name) as Float32Array);
  const reference = evaluate(func, inputs, state);
  for (const i of on.device.program.functions.find((f) => f.name === name)!.inputs)
    on.device.write(i.buffer, inputs[i.name]);
  on.device.run(name);
  return { device: on.device, reference, func };
}

export function outputBuffer(on: OnDevice, func: string, output: string): string {
  return on.device.program.functions.find((f) => f.name === func)!.outputs.find((o) => o.name === output)!.buffer;
}

/** f32 against f64: sums of some hundred products, inverses of factors damped with 1e-2, as for whole models. */
const TOLERANCE = 5e-4;
const FLOOR = 1e-4;

/** Runs `name` on the device, and expects of all that it changes what the evaluator says; returns its metrics, if it has any. */
export async function follows(on: OnDevice, name: string, inputs: Data): Promise<Readonly<Record<string, number>>> {
  const func = findFunction(on.stages.placed, name);
  const state: Record<string, Float64Array> = {};
  for (const v of func.reads) state[v.name] = Float64Array.from((await on.device.read(v.name)) as Float32Array);
  const want = evaluate(func, inputs, state);
  for (const i of on.device.program.functions.find((f) => f.name === name)!.inputs)
    on.device.write(i.buffer, inputs[i.name]);
  await on.device.run(name);
  for (const u of func.updates) {
    const got = (await on.device.read(u.state)) as Float32Array;
    expect(relativeError(got, want.state[u.state], FLOOR), u.state).toBeLessThan(TOLERANCE);
  }
  const names = on.stages.metrics[name] ?? [];
  if (names.length === 0) return {};
  const metrics = (await on.device.read(outputBuffer(on, name, 'metrics'))) as Float32Array;
  expect(relativeError(metrics, want.outputs.metrics)).toBeLessThan(TOLERANCE);
  return Object.fromEntries(names.map((m, i) => [m, metrics[i]]));
}
