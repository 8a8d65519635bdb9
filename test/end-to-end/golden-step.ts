/**
 * One training step on a device with a model and batch that have golden numbers. With momentum 0, a learning rate of 1 and a clip
 * that is wide open, a parameter's velocity is its gradient, plain or natural, with the sign turned.
 */
import type { CompileOptions, Stages } from '../../compiler/compile.js';
import type { Target } from '../../ir/artifact.js';
import { initialise, loadOn, type OnDevice } from './on-device.js';

const scalars: Readonly<Record<string, number>> = { lr: 1, momentum: 0, kl_bound: 3e38, weight_decay: 0 };

/** What a step left. */
export interface Stepped {
  readonly stages: Stages;
  /** A state entry, or `metrics`. */
  readonly read: (name: string) => Float32Array;
}

/** A software driver takes long to compile a model's kernels: the step is taken again on what is there. */
const loaded = new Map<string, Promise<OnDevice>>();

/** @param data what the data inputs hold; `valid` is 1 for all examples */
export async function goldenStep(
  target: Target,
  bytes: Uint8Array,
  name: string,
  options: CompileOptions & { readonly batch: number },
  data: Readonly<Record<string, Float64Array>>,
  damping: number,
): Promise<Stepped> {
  const key = `${target} ${name} ${JSON.stringify(options)}`;
  if (!loaded.has(key)) loaded.set(key, loadOn(target, bytes, name, options));
  const { stages, device } = await loaded.get(key)!;
  initialise(stages, device);
  const buffers = new Map(device.program.buffers.map((b) => [b.name, b]));
  const given: Record<string, ArrayLike<number>> = { ...data, valid: new Float64Array(options.batch).fill(1) };
  const train = device.program.functions.find((f) => f.name === 'train')!;
  for (const { name, buffer } of train.inputs) {
    const values = given[name] ?? [name === 'damping' ? damping : scalars[name]];
    device.write(buffer, buffers.get(buffer)!.dtype === 'i32' ? Int32Array.from(values) : Float32Array.from(values));
  }
  await device.run('train');
  const state = new Map<string, Float32Array>();
  state.set('metrics', (await device.read(train.outputs.find((o) => o.name === 'metrics')!.buffer)) as Float32Array);
  for (const { name } of stages.placed.state) state.set(name, (await device.read(name)) as Float32Array);
  return {
    stages,
    read: (name) => {
      const found = state.get(name);
      if (!found) throw new Error(`there is no state ${name}`);
      return found;
    },
  };
}

/** What the update went along: the parameter's gradient, plain or natural. */
export const direction = (on: Stepped, parameter: string): Float32Array =>
  on.read(`${parameter}.velocity`).map((v) => -v);
