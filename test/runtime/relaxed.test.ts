/**
 * Relaxed SIMD: asked for at compile time, required by every step, named by the device; its numbers are those of the plain
 * kernels but for rounding.
 */
import { expect, it } from 'vitest';
import { type CompileOptions, compile } from '../../compiler/compile.js';
import { MANIFEST, WEIGHTS } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import { readSafetensors } from '../../ir/safetensors.js';
import { WasmDevice } from '../../runtime/devices/wasm/device.js';
import { initialise, readTrained } from '../../runtime/training/state.js';
import { relativeError } from '../end-to-end/relative-error.js';
import { noise } from '../frontend/forward.js';
import { residualNet, threadModule } from './thread-nets.js';

const model = residualNet();

async function afterOneStep(options: CompileOptions, threads = 1) {
  const { files } = compile(model, 'net.onnx', { targets: ['wasm'], batch: 8, optimizer: 'sgd', ...options });
  const manifest = manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get(MANIFEST))));
  const artifact = { dir: '', manifest, files, weights: new Map() };
  const device = await WasmDevice.open(artifact, { threads, threadModule: await threadModule() });
  await initialise(device, manifest, readSafetensors(files.get(WEIGHTS)!, WEIGHTS));
  for (const { name, buffer } of device.program.functions.find((f) => f.name === 'train')!.inputs) {
    const data = device.read(buffer) as Float32Array;
    const drawn = noise(data.length, 3);
    for (let i = 0; i < data.length; i++) data[i] = name === 'x' ? drawn[i] : name === 'target' ? i % 10 : 0.1;
    device.write(buffer, name === 'valid' ? data.fill(1) : data);
  }
  device.run('train');
  device.close();
  const features = new Set(device.program.kernels.map((k) => `${k.requires.features}`));
  return { description: device.description, features, trained: await readTrained(device, manifest) };
}

it('is named, required, and as accurate', async () => {
  const plain = await afterOneStep({});
  const relaxed = await afterOneStep({ relaxedSimd: true });
  expect([plain.description, [...plain.features]]).toEqual(['WebAssembly SIMD, 1 thread', ['simd128']]);
  expect([relaxed.description, [...relaxed.features]]).toEqual([
    'WebAssembly relaxed SIMD (not the same bits on every processor), 1 thread',
    ['simd128,relaxed-simd'],
  ]);
  for (const [name, { data }] of plain.trained) {
    const other = relaxed.trained.get(name)!.data;
    // Rounding of f32 sums of some hundred products, through seven layers.
    expect(relativeError(other as Float32Array, data as Float32Array), name).toBeLessThan(1e-4);
  }
  const shared = await afterOneStep({ relaxedSimd: true }, 2);
  expect(shared.description).toMatch(/^WebAssembly relaxed SIMD .*, 2 threads$/);
  expect(shared.trained).toEqual(relaxed.trained);
});
