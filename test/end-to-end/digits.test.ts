/**
 * The digits example trained for 20 steps on the processor and, as WGSL, on a software GPU: the same data in the same order. Both
 * compute in f32, but add in another order: losses differ by rounding, which twenty steps of natural gradient amplify.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { loadTrainingData } from '../../cli/train.js';
import { compile } from '../../compiler/compile.js';
import { MANIFEST, WEIGHTS } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import { readSafetensors } from '../../ir/safetensors.js';
import { openDevice } from '../../runtime/devices/open.js';
import { train } from '../../runtime/training/loop.js';
import { resolveSettings } from '../../runtime/training/settings.js';
import { initialise } from '../../runtime/training/state.js';
import { useSwiftShader } from '../targets/swiftshader.mjs';

const STEPS = 20;
/** 2^-24 for an addition, some hundred of them in a loss; a few steps of curvature with condition up to about 100 on top. */
const TOLERANCE = 2e-4;

describe('digits on both targets', () => {
  it(`losses agree for ${STEPS} steps`, async () => {
    useSwiftShader();
    const { files } = compile(readFileSync('examples/digits/digits.onnx'), 'digits.onnx', {
      init: 'he-normal',
      batch: 64,
    });
    const manifest = manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get(MANIFEST))));
    const weights = readSafetensors(files.get(WEIGHTS)!, WEIGHTS);
    const flags = { data: 'examples/digits/digits.csv.gz', split: 0.2, normalize: '0,16' };
    const data = loadTrainingData(manifest, flags);
    const losses: number[][] = [];
    for (const spec of ['cpu', 'SwiftShader']) {
      const device = await openDevice({ dir: '', manifest, files, weights }, spec);
      await initialise(device, manifest, weights);
      const own: number[] = [];
      const settings = resolveSettings(manifest, { steps: STEPS }, data.train.count);
      const done = await train(device, manifest, { train: data.train }, settings, { step: (s) => own.push(s.loss) });
      losses.push(own);
      if (spec !== 'cpu') expect(device.submissions).toBe(STEPS + 1);
      expect(done.steps).toBe(STEPS);
      device.close();
    }
    const [cpu, gpu] = losses;
    expect(cpu[STEPS - 1]).toBeLessThan(cpu[0] / 4);
    for (const [i, loss] of cpu.entries()) expect(Math.abs(gpu[i] / loss - 1), `step ${i + 1}`).toBeLessThan(TOLERANCE);
  }, 400_000);
});
