/**
 * The loader gives the same batches on any number of threads, from any batch on, and where threads fail.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Manifest } from '../../ir/artifact.js';
import type { Augmentation } from '../../runtime/data/augmentation.js';
import { bindDataset, type Dataset } from '../../runtime/data/dataset.js';
import { Loader } from '../../runtime/data/loader.js';
import { chooseNormalization } from '../../runtime/data/normalize.js';
import { temporaryFolder, tinyFiles, tinyManifest } from './tiny-artifact.js';

const [COUNT, BATCH] = [22, 4];
const shape = [2, 5, 6];
/** Two epochs of six batches, the last one with two examples. */
const TOTAL = 12;

let workerModule: URL;
beforeAll(async () => {
  const outfile = join(temporaryFolder(), 'loader-worker.mjs');
  await build({
    entryPoints: ['runtime/data/loader-worker.ts'],
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile,
  });
  workerModule = pathToFileURL(outfile);
});

const manifest = (dtype: 'f32' | 'u8'): Manifest => ({
  ...tinyManifest(tinyFiles()),
  batch: { train: BATCH, eval: BATCH },
  inputs: [{ name: 'x', dtype, shape: [BATCH, ...shape] }],
  loss: { kind: 'softmax-cross-entropy', target: { dtype: 'f32', shape: [BATCH, 3], classes: 3 } },
});

function dataset(dtype: 'f32' | 'u8'): Dataset {
  const examples = {
    ...{ source: 'made', count: COUNT, shape, targetWidth: 1 },
    features: Uint8Array.from({ length: COUNT * 60 }, (_, i) => (i * 7919) % 251),
    targets: Int32Array.from({ length: COUNT }, (_, i) => i % 3),
  };
  return bindDataset(
    examples,
    manifest(dtype),
    chooseNormalization(dtype === 'u8' ? 'none' : 'standard', examples, shape),
  );
}

interface Course {
  readonly workers: number;
  readonly augmentation?: Augmentation;
  readonly dtype?: 'f32' | 'u8';
  readonly module?: URL;
}

function loaderOf({ workers, augmentation, dtype = 'f32', module = workerModule }: Course): Loader {
  const options = { seed: 3, total: TOTAL, augmentation, workers, workerModule: module };
  return new Loader(dataset(dtype), manifest(dtype), options);
}

/** Batches `from` .. TOTAL - 1 as text. */
async function batches(loader: Loader, from = 0): Promise<string[]> {
  const out: string[] = [];
  for (let t = from; t < TOTAL; t++) {
    const { count, examples, targets } = await loader.batch(t);
    out.push(`${count}: ${examples.join()} | ${targets.join()}`);
  }
  loader.close();
  return out;
}

const changes: (readonly [string, Augmentation | undefined, 'f32' | 'u8'])[] = [
  ['nothing', undefined, 'f32'],
  ['flip, crop and erase', { flip: true, crop: 2, erase: 0.5 }, 'f32'],
  ['flip and crop of bytes', { flip: true, crop: 1 }, 'u8'],
  ['everything', { flip: true, crop: 2, erase: 0.5, mixup: 0.4 }, 'f32'],
];

describe.each(changes)('with %s', (_, augmentation, dtype) => {
  it('batches do not depend on the number of threads', async () => {
    const alone = await batches(loaderOf({ workers: 0, augmentation, dtype }));
    expect(new Set(alone).size).toBe(TOTAL);
    expect(alone.map((b) => Number.parseInt(b, 10))).toEqual([4, 4, 4, 4, 4, 2, 4, 4, 4, 4, 4, 2]);
    for (const workers of [1, 2, 3]) expect(await batches(loaderOf({ workers, augmentation, dtype }))).toEqual(alone);
  });

  it('a run that goes on anywhere gets what it would have got', async () => {
    const whole = await batches(loaderOf({ workers: 0, augmentation, dtype }));
    for (const from of [1, 5, 6, 9]) {
      const first = loaderOf({ workers: 2, augmentation, dtype });
      for (let t = 0; t < from; t++) await first.batch(t);
      const second = loaderOf({ workers: 1, augmentation, dtype });
      for (const [name, data] of first.carried()) second.carried().get(name)!.set(data);
      first.close();
      expect(await batches(second, from)).toEqual(whole.slice(from));
    }
  });
});

it('all examples come once an epoch, changed or not, with their own labels', async () => {
  const data = dataset('f32');
  const loader = loaderOf({ workers: 2 });
  for (const epoch of [0, 6]) {
    const seen: number[] = [];
    for (let t = epoch; t < epoch + 6; t++) {
      const { count, examples, targets } = await loader.batch(t);
      for (let r = 0; r < count; r++) {
        const one = new Float32Array(60);
        const n = Array.from({ length: COUNT }, (_, i) => i).find((i) => {
          data.gather([i], one);
          return one.join() === examples.subarray(60 * r, 60 * (r + 1)).join();
        })!;
        seen.push(n);
        expect(targets.subarray(3 * r, 3 * r + 3).indexOf(1)).toBe(n % 3);
      }
      for (let i = 60 * count; i < examples.length; i++) expect(examples[i]).toBe(0);
    }
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: COUNT }, (_, i) => i));
  }
  loader.close();
});

it('what threads prepare is what is taken', async () => {
  const marking = join(temporaryFolder(), 'marking.mjs');
  const script = `import { parentPort } from 'node:worker_threads';
    parentPort.on('message', ({ t, buffer }) => {
      new Float32Array(buffer).fill(100 + t);
      parentPort.postMessage({ t, buffer }, [buffer]);
    });`;
  writeFileSync(marking, script);
  const loader = loaderOf({ workers: 2, module: pathToFileURL(marking) });
  for (let t = 0; t < TOTAL; t++) expect(new Set((await loader.batch(t)).examples)).toEqual(new Set([100 + t]));
  loader.close();
});

it('threads that cannot start, or die, are done without', async () => {
  const alone = await batches(loaderOf({ workers: 0, augmentation: { crop: 1 } }));
  const missing = pathToFileURL(join(temporaryFolder(), 'missing.mjs'));
  expect(await batches(loaderOf({ workers: 2, augmentation: { crop: 1 }, module: missing }))).toEqual(alone);
  const dying = join(temporaryFolder(), 'dying.mjs');
  const script = `import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => process.exit(1));`;
  writeFileSync(dying, script);
  expect(await batches(loaderOf({ workers: 2, augmentation: { crop: 1 }, module: pathToFileURL(dying) }))).toEqual(
    alone,
  );
});
