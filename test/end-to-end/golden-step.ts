/**
 * One training step on the wasm device with a model and batch that have golden numbers. With momentum 0, a learning rate of 1
 * and a clip that is wide open, a parameter's velocity is its gradient, plain or natural, with the sign turned.
 */
import type { CompileOptions } from '../../compiler/compile.js';
import { load, type OnDevice } from './on-device.js';

const scalars: Readonly<Record<string, number>> = { lr: 1, momentum: 0, kl_bound: 3e38, weight_decay: 0 };

/** @param data what the data inputs hold; `valid` is 1 for all examples */
export function goldenStep(
  bytes: Uint8Array,
  name: string,
  options: CompileOptions & { readonly batch: number },
  data: Readonly<Record<string, Float64Array>>,
  damping: number,
): OnDevice {
  const on = load(bytes, name, options);
  const dtypes = new Map(on.stages.program.buffers.map((b) => [b.name, b.dtype]));
  const given: Record<string, ArrayLike<number>> = { ...data, valid: new Float64Array(options.batch).fill(1) };
  for (const { name, buffer } of on.stages.program.functions.find((f) => f.name === 'train')!.inputs) {
    const values = given[name] ?? [name === 'damping' ? damping : scalars[name]];
    on.device.write(buffer, dtypes.get(buffer) === 'i32' ? Int32Array.from(values) : Float32Array.from(values));
  }
  on.device.run('train');
  return on;
}

export const read = (on: OnDevice, name: string): Float32Array => on.device.read(name) as Float32Array;

/** What the update went along: the parameter's gradient, plain or natural. */
export const direction = (on: OnDevice, parameter: string): Float32Array =>
  read(on, `${parameter}.velocity`).map((v) => -v);
