/**
 * A short training run on a GPU against the same on WebAssembly: the digits, compiled here, loss by loss.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadTrainingData } from '../../cli/train.js';
import { type CompileOptions, compile } from '../../compiler/compile.js';
import { MANIFEST, WEIGHTS } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import { readSafetensors } from '../../ir/safetensors.js';
import type { Artifact } from '../../runtime/artifact.js';
import type { Device } from '../../runtime/devices/device.js';
import { WasmDevice } from '../../runtime/devices/wasm/device.js';
import type { OpenedAdapter } from '../../runtime/devices/webgpu/adapter.js';
import { WebgpuDevice } from '../../runtime/devices/webgpu/device.js';
import { train } from '../../runtime/training/loop.js';
import { resolveSettings } from '../../runtime/training/settings.js';
import { initialise } from '../../runtime/training/state.js';

/** What is trained, 64 examples at a time. */
export const trainings = {
  sgd: { optimizer: 'sgd' },
  spngd: { optimizer: 'spngd' },
  'spngd, accumulated, by drawn labels, stale': { accumulate: 3, fisher: '1mc', staleness: 'adaptive' },
} as const satisfies Record<string, CompileOptions>;

/**
 * Both devices compute the same in f32, and sum in another order: 10^-7 of a number. In a training step each rounding is
 * multiplied by what an inverse with damping 10^-2 makes of it, and steps build on one another: 10^-3 of the loss is room for
 * that, and far below what a wrong term would do.
 */
const TOLERANCE = 1e-3;

/** In the checkout, or beside the bundle in a packed job. */
function digits(name: string): string {
  const here = fileURLToPath(new URL('.', import.meta.url));
  const places = [
    join(here, 'digits', name),
    join(here, '../examples/digits', name),
    join(here, '../../examples/digits', name),
  ];
  const found = places.find((p) => existsSync(p));
  if (!found) throw new Error(`${name} is missing: looked for ${places.join(', ')}`);
  return found;
}

export interface Comparison {
  readonly losses: readonly number[];
  /** Largest difference of a loss, relative to 1 + loss, and where. */
  readonly worst: number;
  readonly wrong?: string;
}

/** Trains for `steps` steps on both. */
export async function compareTraining(
  opened: OpenedAdapter,
  training: keyof typeof trainings,
  steps: number,
): Promise<Comparison> {
  const { files } = compile(readFileSync(digits('digits.onnx')), 'digits.onnx', {
    ...trainings[training],
    batch: 64,
    init: 'he-normal',
  });
  const manifest = manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get(MANIFEST))));
  const weights = readSafetensors(files.get(WEIGHTS)!, WEIGHTS);
  const artifact: Artifact = { dir: '', manifest, files, weights };
  const data = loadTrainingData(manifest, { data: digits('digits.csv.gz'), normalize: '0,16' });
  const settings = resolveSettings(manifest, { steps }, data.train.count);
  const lossesOn = async (device: Device): Promise<number[]> => {
    await initialise(device, manifest, weights);
    const losses: number[] = [];
    await train(device, manifest, data, settings, { step: ({ loss }) => losses.push(loss) });
    device.close();
    return losses;
  };
  const want = await lossesOn(WasmDevice.load(artifact));
  const got = await lossesOn(await WebgpuDevice.load(artifact, opened));
  const differences = want.map((w, i) => Math.abs(got[i] - w) / (1 + Math.abs(w)));
  const worst = Math.max(...differences);
  const at = differences.findIndex((d) => !(d <= TOLERANCE));
  const wrong =
    got.length !== want.length || want.length !== steps
      ? `${got.length} and ${want.length} steps of ${steps}`
      : at < 0
        ? undefined
        : `the loss of step ${at + 1} is ${got[at]}, and ${want[at]} on WebAssembly`;
  return { losses: got, worst, wrong };
}
