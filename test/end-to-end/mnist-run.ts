/**
 * MNIST by the command line, as a user would: the PyTorch example net, re-initialised, trained with SP-NGD; the exported ONNX
 * is then judged by onnxruntime.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll } from 'vitest';

export const model = '../shared/data/models/onnxruntime/cnn_mnist_pytorch.onnx';
export const data = '../shared/data/datasets/mnist';
const command = 'dist/bin/spngdc.js';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'spngdc-mnist-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function spngdc(...args: string[]): string {
  return execFileSync(process.execPath, [command, ...args], { encoding: 'utf8', maxBuffer: 1 << 28 });
}

interface Trained {
  readonly accuracy: number;
  readonly onnx: string;
  readonly seconds: number;
}

/** @param batch examples at a time, and how many times a step */
export function trainOnce(seed: number, amount: readonly string[], batch: readonly [number, number?] = [128]): Trained {
  const [size, times] = batch;
  const artifact = join(dir, `mnist-${seed}.spngd`);
  const accumulate = times === undefined ? [] : ['--accumulate', `${times}`];
  spngdc(
    ...['compile', model, '-o', artifact, '--batch', `${size}`, ...accumulate, '--eval-batch', '500'],
    ...['--init', 'he-normal', '--seed', `${seed}`],
  );
  const out = join(dir, `out-${seed}`);
  const started = performance.now();
  const lines = spngdc('run', artifact, '--data', data, ...amount, '--seed', `${seed}`, '--json', '--out', out);
  const seconds = (performance.now() - started) / 1000;
  const events = lines
    .trim()
    .split('\n')
    .map((l) => JSON.parse(l));
  const last = events.filter((e) => e.validation).at(-1);
  const onnx = readdirSync(out).find((f) => f.endsWith('.onnx'))!;
  return { accuracy: last.validation.accuracy, onnx: join(out, onnx), seconds };
}

/** Accuracy of the exported model in onnxruntime on the first `count` test images; inputs as the run normalises them. */
export async function inOnnxruntime(path: string, count: number): Promise<number> {
  const ort = await import('onnxruntime-node');
  const session = await ort.InferenceSession.create(path);
  const images = gunzipSync(readFileSync(`${data}/t10k-images-idx3-ubyte.gz`)).subarray(16);
  const labels = gunzipSync(readFileSync(`${data}/t10k-labels-idx1-ubyte.gz`)).subarray(8);
  let correct = 0;
  for (let n = 0; n < count; n++) {
    const x = Float32Array.from(images.subarray(n * 784, (n + 1) * 784), (v) => v / 255);
    const result = await session.run({ [session.inputNames[0]]: new ort.Tensor('float32', x, [1, 1, 28, 28]) });
    const y = result[session.outputNames[0]].data as Float32Array;
    if (y.indexOf(Math.max(...y)) === labels[n]) correct++;
  }
  return correct / count;
}
