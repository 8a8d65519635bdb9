/**
 * The training graph of a ResNet-20 against numbers from PyTorch (float64): logits, loss, gradients, batch statistics, raw
 * Kronecker factors and 2x2 blocks, and preconditioned gradients for two dampings. Our side is float64 too, from the same
 * float32 weights; the golden arrays are stored as float32 (half a unit in the last place: 6e-8 relative), so errors beyond
 * 5e-7 are faults. Mutated factors must fail by far.
 */
import { existsSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Evaluation, evaluate } from '../../ir/evaluate.js';
import type { Func, Value } from '../../ir/graph.js';
import { storedCount } from '../../ir/types.js';
import { type Compiled, withCurvature } from '../nets.js';
import { float64, type NpyArray, readNpy, readNpz } from '../npy.js';
import { readInitializers, resnet20 } from './resnet20.js';

const DATA = '../shared/data';
const GOLDEN = `${DATA}/golden/cifar_resnet20`;
const TOLERANCE = 5e-7;
type Arrays = Record<string, NpyArray>;

/** Frobenius norm of the difference over that of `b`. */
function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let [difference, size] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    size += b[i] ** 2;
  }
  return Math.sqrt(difference / size);
}

/** Both triangles of a packed symmetric matrix. */
function full(packed: Float64Array): Float64Array {
  const n = (Math.sqrt(8 * packed.length + 1) - 1) / 2;
  const at = (i: number, j: number) => packed[(Math.max(i, j) * (Math.max(i, j) + 1)) / 2 + Math.min(i, j)];
  return Float64Array.from({ length: n * n }, (_, k) => at(Math.floor(k / n), k % n));
}

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

  const expectAll = (golden: Arrays, ours: (name: string) => ArrayLike<number>): void => {
    const wrong = Object.entries(golden)
      .map(([name, a]) => ({ name, error: relativeError(ours(name), float64(a)) }))
      .filter((e) => !(e.error < TOLERANCE));
    expect(wrong).toEqual([]);
  };

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
    expectAll(readNpz(`${GOLDEN}/spngd_factors.npz`), (name) => {
      const [, factor, part] = /^(.*\.[AG])(?:\.(diag|rowsum))?$/.exec(name) ?? [];
      if (!factor) {
        const [gg, gb, bb] = [0, 1, 2].map((r) => {
          const F = result.state[`${name}.F`];
          return F.slice((r * F.length) / 3, ((r + 1) * F.length) / 3);
        });
        return [...gg].flatMap((v, i) => [v, gb[i], gb[i], bb[i]]);
      }
      const m = full(result.state[factor]);
      const n = Math.sqrt(m.length);
      if (part === 'diag') return Float64Array.from({ length: n }, (_, i) => m[i * n + i]);
      if (part === 'rowsum')
        return Float64Array.from({ length: n }, (_, i) => m.slice(i * n, i * n + n).reduce((a, b) => a + b));
      return m;
    });
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
