/**
 * A model as a compiled program on our device: bytes of an ONNX model in, a call that takes one training step out. The learning rate
 * is 0: weights stay what they are, and every step does the same work on the same numbers.
 */
import { type CompileOptions, compile } from '../../compiler/compile.js';
import { MANIFEST, WEIGHTS } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import type { Program } from '../../ir/program.js';
import { readSafetensors } from '../../ir/safetensors.js';
import type { Guards } from '../../runtime/devices/device.js';
import { WasmDevice } from '../../runtime/devices/wasm/device.js';

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
  readonly program: Program;
  readonly device: WasmDevice;
  readonly read: (buffer: string) => Float32Array;
}

/** @param data what inputs hold beyond sines: labels are counted through `classes` */
export function trainer(model: Uint8Array, options: CompileOptions & { batch: number }, classes = 10): Trainer {
  const { files } = compile(model, 'bench.onnx', { ...options, targets: ['wasm'] });
  const manifest = manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get(MANIFEST))));
  const weights = readSafetensors(files.get(WEIGHTS)!, WEIGHTS);
  const device = WasmDevice.load({ dir: '', manifest, files, weights: new Map() });
  for (const [name, tensor] of weights) device.write(name, tensor.data);
  device.run('init');
  const { program } = device;
  const buffers = new Map(program.buffers.map((b) => [b.name, b]));
  for (const { name, inputs } of program.functions)
    for (const input of inputs) {
      const { dtype, shape } = buffers.get(input.buffer)!;
      const count = shape.reduce((a, b) => a * b, 1);
      if (name === 'init') continue;
      if (dtype === 'i32')
        device.write(
          input.buffer,
          Int32Array.from({ length: count }, (_, i) => i % classes),
        );
      else {
        const value = (i: number): number => (input.name === 'valid' ? 1 : (scalars[input.name] ?? Math.sin(i * i)));
        device.write(
          input.buffer,
          Float32Array.from({ length: count }, (_, i) => value(i)),
        );
      }
    }
  return {
    step: (guards) => device.run('train', guards),
    program,
    device,
    read: (buffer) => device.read(buffer) as Float32Array,
  };
}
