/**
 * What the importer's tests share: models of the data folder, their `predict` run by the evaluator, and onnxruntime as the judge.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { ImportedModel } from '../../compiler/frontend/onnx/import.js';
import { bindBatch } from '../../compiler/passes/bind-batch.js';
import { type Evaluation, evaluate, type Tensors } from '../../ir/evaluate.js';
import { findFunction, type Module, type TensorData } from '../../ir/graph.js';
import { mix32 } from '../../ir/random.js';
import { concrete, product } from '../../ir/types.js';
import { exportOnnx } from '../../runtime/export-onnx.js';

export const DATA = '../shared/data';
export const hasData = existsSync(`${DATA}/MANIFEST.md`);
if (!hasData) console.warn(`SKIPPED: tests of real models need ${DATA}`);

export const model = (path: string): Uint8Array => readFileSync(`${DATA}/models/${path}`);

/** Reproducible noise, uniform in [-1, 1), exact in f32. */
export function noise(n: number, key: number): Float32Array {
  return Float32Array.from({ length: n }, (_, i) => (mix32(mix32(key) ^ i) / 2 ** 32) * 2 - 1);
}

export function stateOf(module: Module): Tensors {
  return Object.fromEntries([...module.weights].map(([name, t]) => [name, t.data as Float32Array]));
}

export function run(module: Module, name: 'train' | 'predict', batch: number, inputs: Tensors): Evaluation {
  const func = findFunction(bindBatch(module, { train: batch, eval: batch }), name);
  return evaluate(func, inputs, stateOf(module));
}

/** Noise for every data input, `batch` examples. */
export function inputsOf(module: Module, batch: number, key = 1): Record<string, Float32Array> {
  return Object.fromEntries(
    findFunction(module, 'predict').inputs.map((v, i) => {
      const [, ...rest] = concrete([1, ...v.type.shape.slice(1)]);
      return [v.name, noise(batch * product(rest), key + i)];
    }),
  );
}

/** The exported model: the template with the module's trained tensors. */
export function exported({ module, template }: ImportedModel): Uint8Array {
  const trained = new Map<string, TensorData>();
  for (const s of module.state) if (s.role !== 'constant') trained.set(s.name, module.weights.get(s.name)!);
  return exportOnnx(template, trained);
}

/** Outputs of onnxruntime by name. `inputs`: data and shape by name. */
export async function onnxruntime(
  bytes: Uint8Array,
  inputs: Readonly<Record<string, { data: Float32Array; shape: readonly number[] }>>,
): Promise<Record<string, Float32Array>> {
  const ort = await import('onnxruntime-node');
  // As written: one of its optimizations moves zero padding into a maximum that it changes.
  const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3, graphOptimizationLevel: 'disabled' });
  const feeds = Object.fromEntries(
    Object.entries(inputs).map(([name, v]) => [name, new ort.Tensor('float32', v.data, [...v.shape])]),
  );
  const results = await session.run(feeds);
  return Object.fromEntries(Object.entries(results).map(([name, t]) => [name, t.data as Float32Array]));
}

/** Largest difference, relative to the largest element of `want`; infinite where what is not finite differs. */
export function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) return Number.POSITIVE_INFINITY;
  let [difference, largest] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    if (Object.is(got[i], want[i])) continue;
    if (!Number.isFinite(want[i]) || !Number.isFinite(got[i])) return Number.POSITIVE_INFINITY;
    difference = Math.max(difference, Math.abs(got[i] - want[i]));
    largest = Math.max(largest, Math.abs(want[i]));
  }
  return difference / (largest || 1);
}
