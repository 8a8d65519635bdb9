/**
 * A vision transformer and a transformer encoder, imported from ONNX, against PyTorch's float64 numbers: gradients, the raw
 * factors of layers that are shared over positions (one of the models has positions before examples, both have products over
 * positions times examples), the 2x2 blocks of layer normalisation, and preconditioned gradients for two dampings.
 */
import { existsSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { differentiate } from '../../compiler/autodiff/differentiate.js';
import { insertCurvature } from '../../compiler/curvature/insert-curvature.js';
import { importOnnx } from '../../compiler/frontend/onnx/import.js';
import { attachLoss } from '../../compiler/passes/attach-loss.js';
import { bindBatch } from '../../compiler/passes/bind-batch.js';
import { type Evaluation, evaluate } from '../../ir/evaluate.js';
import { findFunction, type Module } from '../../ir/graph.js';
import { storedCount } from '../../ir/types.js';
import { verifyModule } from '../../ir/verify.js';
import { readNpz } from '../npy.js';
import { DATA, expectAll, goldenFactor } from './compare.js';
import { goldenBatch, modelBytes, transformers } from './transformers.js';

if (!existsSync(`${DATA}/golden`)) console.warn(`SKIPPED: golden numbers of the transformers, no ${DATA}/golden`);

describe.runIf(existsSync(`${DATA}/golden`)).each(transformers)('$name', (model) => {
  const golden = `${DATA}/golden/${model.name}`;
  let module: Module;
  let result: (damping: number) => Evaluation;

  beforeAll(() => {
    const { name, batch } = model;
    const imported = importOnnx(modelBytes(model), { fileName: name, seed: 0, dropout: false }).module;
    const bound = bindBatch(attachLoss(imported).module, { train: batch, eval: batch });
    module = insertCurvature(differentiate(bound));
    verifyModule(module);
    const state = Object.fromEntries(
      module.state.map((s) => [
        s.name,
        Float64Array.from(module.weights.get(s.name)?.data ?? new Float32Array(storedCount(s.type)), Number),
      ]),
    );
    const inputs = { ...goldenBatch(model), valid: new Array<number>(batch).fill(1) };
    result = (damping) => evaluate(findFunction(module, 'train'), { ...inputs, damping: [damping] }, state);
  });

  it('has the loss, the gradients and the raw factors', () => {
    const { outputs, state } = result(1e-2);
    const { loss } = JSON.parse(readFileSync(`${golden}/golden.json`, 'utf8'));
    // The file holds epsilon and the square root of the head's width as float32.
    expect(outputs.loss[0] / loss).toBeCloseTo(1, 8);
    const gradients = readNpz(`${golden}/grads.npz`);
    expect(Object.keys(gradients).sort()).toEqual(module.parameters.map((p) => p.name).sort());
    expectAll(gradients, (name) => outputs[`gradient(${name})`]);
    expectAll(readNpz(`${golden}/spngd_factors.npz`), (name) => goldenFactor(name, (s) => state[s]));
  });

  it.each(['1e-2', '1e-4'])('has the preconditioned gradients for damping %s, and names all others', (damping) => {
    const natural = readNpz(`${golden}/spngd_precond_${damping}.npz`);
    const { outputs } = result(Number(damping));
    expectAll(natural, (name) => outputs[`natural(${name})`]);
    expect(outputs.failed_inversions[0]).toBe(0);
    const plain = module.parameters.filter((p) => p.rule === 'plain').map((p) => p.name);
    expect(plain.sort()).toEqual([...model.plain]);
    expect(Object.keys(natural).length + plain.length).toBe(module.parameters.length);
  });
});
