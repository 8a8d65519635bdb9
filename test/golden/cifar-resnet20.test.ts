/**
 * The training graph of a ResNet-20 against numbers from PyTorch (float64): logits, loss, gradients, batch statistics, raw
 * Kronecker factors and 2x2 blocks, and preconditioned gradients for two dampings. Our side is float64 too, from the same
 * float32 weights. Mutated factors must fail by far.
 */
import { existsSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Evaluation, evaluate } from '../../ir/evaluate.js';
import type { Func, Value } from '../../ir/graph.js';
import { storedCount } from '../../ir/types.js';
import { type Compiled, withCurvature } from '../nets.js';
import { float64, readNpy, readNpz } from '../npy.js';
import { DATA, expectAll, goldenFactor, relativeError, TOLERANCE } from './compare.js';
import { readInitializers, resnet20 } from './resnet20.js';

const GOLDEN = `${DATA}/golden/cifar_resnet20`;

function identity(packed: Float64Array): Float64Array {
  const out = new Float64Array(packed.length);
  for (let i = 0, at = 0; at < out.length; at += ++i + 1) out[at] = 1;
  return out;
}

/** The part of the function behind `damping`; all that it reads besides becomes an input. */
function behindDamping(func: Func): Func {
  const inputs = func.inputs.filter((v) => v.name === 'damping');
  const dependent = new Set<Value>(inputs);
  const nodes = func.nodes.filter((n) => {
    const behind = n.operands.some((o) => dependent.has(o));
    if (behind) for (const r of n.results) dependent.add(r);
    return behind;
  });
  return { ...func, inputs, reads: [], nodes, updates: [] };
}

if (!existsSync(GOLDEN)) console.warn(`SKIPPED: golden numbers of cifar_resnet20, no ${GOLDEN}`);

describe.runIf(existsSync(GOLDEN))('cifar_resnet20', () => {
  let net: Compiled;
  let result: Evaluation;
  let weights: Record<string, Float32Array>;

  beforeAll(() => {
    net = withCurvature(resnet20, 8);
    weights = readInitializers(`${DATA}/models/torch-small/cifar_resnet20_op15.onnx`);
    const state = Object.fromEntries(
      net.module.state.map((s) => [s.name, weights[s.name] ?? new Float64Array(storedCount(s.type))]),
    );
    const [x, target] = ['x', 'y'].map((f) => float64(readNpy(`${GOLDEN}/${f}.npy`)));
    result = evaluate(net.train, { x, target, valid: new Array(8).fill(1), damping: [1e-2] }, state);
  }, 120_000);

  it('has the loss and the logits', () => {
    const { loss } = JSON.parse(readFileSync(`${GOLDEN}/golden.json`, 'utf8'));
    expect(result.outputs.loss[0]).toBeCloseTo(loss, 12);
    expect(relativeError(result.values.get('logits')!, float64(readNpy(`${GOLDEN}/logits.npy`)))).toBeLessThan(
      TOLERANCE,
    );
  });

  it('has the gradients of all parameters', () => {
    const golden = readNpz(`${GOLDEN}/grads.npz`);
    expect(Object.keys(golden).sort()).toEqual(net.module.parameters.map((p) => p.name).sort());
    expectAll(golden, (name) => result.outputs[`gradient(${name})`]);
  });

  it('has the batch statistics behind the running ones (population variance)', () => {
    expectAll(readNpz(`${GOLDEN}/bn_running_population.npz`), (name) => {
      const [, layer, what] = /^(.*)\.running_(mean|var)$/.exec(name)!;
      const batch = result.values.get(`${layer}:${what === 'mean' ? 1 : 2}`)!;
      return batch.map((v, i) => 0.9 * weights[name][i] + 0.1 * v);
    });
  });

  it('has the raw factors', () => {
    expectAll(readNpz(`${GOLDEN}/spngd_factors.npz`), (name) => goldenFactor(name, (s) => result.state[s]));
  });

  it('has the preconditioned gradients for damping 1e-2', () => {
    expectAll(readNpz(`${GOLDEN}/spngd_precond_1e-2.npz`), (name) => result.outputs[`natural(${name})`]);
    expect(result.outputs.failed_inversions[0]).toBe(0);
    expect(net.module.parameters.filter((p) => p.rule === 'plain')).toEqual([]);
  });

  /** Preconditioned gradients again, for another damping and mutated factors. */
  function again(damping: number, mutate: (name: string, factor: Float64Array) => Float64Array = (_, f) => f) {
    const part = behindDamping(net.train);
    const inside = new Set(part.nodes.flatMap((n) => n.results));
    const outside = [...new Set(part.nodes.flatMap((n) => n.operands))].filter(
      (v) => !inside.has(v) && v.name !== 'damping',
    );
    const outputs = part.outputs.filter((o) => o.name.startsWith('natural('));
    const given = outside.map((v) => {
      const data = result.values.get(v.name)!;
      return [v.name, v.name.endsWith('.now') ? mutate(v.name, data) : data];
    });
    const func = { ...part, inputs: [...part.inputs, ...outside], outputs };
    return evaluate(func, { ...Object.fromEntries(given), damping: [damping] }).outputs;
  }

  it('has the preconditioned gradients for damping 1e-4', () => {
    const outputs = again(1e-4);
    expectAll(readNpz(`${GOLDEN}/spngd_precond_1e-4.npz`), (name) => outputs[`natural(${name})`]);
  });

  it('fails with identity factors, both or one', () => {
    const golden = readNpz(`${GOLDEN}/spngd_precond_1e-2.npz`);
    const errors = (mutated: RegExp) => {
      const outputs = again(1e-2, (name, f) => (mutated.test(name) ? identity(f) : f));
      const layers = Object.keys(golden).filter((n) => /conv|linear/.test(n));
      return Math.min(...layers.map((n) => relativeError(outputs[`natural(${n})`], float64(golden[n]))));
    };
    for (const mutated of [/\.[AG]\.now$/, /\.A\.now$/, /\.G\.now$/]) expect(errors(mutated)).toBeGreaterThan(0.1);
  });
});
