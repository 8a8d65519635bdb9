import { readFileSync } from 'node:fs';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect, it } from 'vitest';
import { loadTrainingData, results } from '../../cli/train.js';
import { compile } from '../../compiler/compile.js';
import { MANIFEST } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import { readSafetensors } from '../../ir/safetensors.js';
import { WasmDevice } from '../../runtime/devices/wasm/device.js';
import { evaluate, train } from '../../runtime/training/loop.js';
import { resolveSettings } from '../../runtime/training/settings.js';
import { initialise } from '../../runtime/training/state.js';

it('the trained .onnx gives in onnxruntime what the program gives: the same logits, the same accuracy', async () => {
  const options = { init: 'he-normal', batch: 50, evalBatch: 64 } as const;
  const { files } = compile(readFileSync('examples/digits/digits.onnx'), 'digits.onnx', options);
  const manifest = manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get(MANIFEST))));
  const artifact = { dir: '', manifest, files, weights: readSafetensors(files.get('weights.safetensors')!, 'weights') };
  const device = WasmDevice.load(artifact);
  await initialise(device, manifest, artifact.weights);
  const flags = { data: 'examples/digits/digits.csv.gz', split: 0.2, normalize: '0,16' };
  const data = loadTrainingData(manifest, flags);
  await train(device, manifest, data, resolveSettings(manifest, { epochs: 2 }, data.train.count));

  const out = await results(artifact, device);
  expect([...out.keys()].sort()).toEqual(['digits.onnx', 'weights.safetensors']);
  const session = await InferenceSession.create(out.get('digits.onnx')!);
  expect(session.inputNames).toEqual(['image']);
  expect(session.outputNames).toEqual(['logits']);

  // All of the validation set at once: the batch stays free.
  const set = data.validation!;
  const rows = Int32Array.from({ length: set.count }, (_, i) => i);
  const images = new Float32Array(set.count * 64);
  set.gather(rows, images);
  const labels = new Int32Array(set.count);
  set.gatherTargets(rows, labels);
  const { logits } = await session.run({ image: new Tensor('float32', images, [set.count, 1, 8, 8]) });
  const theirs = logits.data as Float32Array;

  const predict = manifest.programs[0].functions.find((f) => f.name === 'predict')!;
  device.write(predict.inputs[0].buffer, images.slice(0, 64 * 64));
  device.run('predict');
  const ours = device.read(predict.outputs[0].buffer) as Float32Array;
  // Both sum in float32 in orders of their own, at most 144 products deep in three layers: some 100 units of 2^-24 of the
  // largest logit.
  const scale = Math.max(...ours.map(Math.abs));
  ours.forEach((v, i) => {
    expect(Math.abs(v - theirs[i])).toBeLessThan(1e-5 * scale);
  });

  let correct = 0;
  labels.forEach((label, i) => {
    const row = [...theirs.subarray(10 * i, 10 * i + 10)];
    if (row.indexOf(Math.max(...row)) === label) correct++;
  });
  const { accuracy } = await evaluate(device, manifest, set);
  expect(correct / set.count).toBeCloseTo(accuracy!, 12);
});
