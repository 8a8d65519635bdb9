/**
 * One SP-NGD step of torchvision's ResNet-50, batch 4, 64x64 images, against the float64 evaluator. Inverting 4,608 x 4,608
 * factors in the evaluator would take hours, so the device's inverses are checked by what defines them: (X + shift I) times
 * the inverse of a probe vector gives the vector back. All else (loss, gradients, factors, natural gradients) is compared.
 */
import { existsSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { evaluate } from '../../ir/evaluate.js';
import { definitions, type Func, findFunction } from '../../ir/graph.js';
import { concrete } from '../../ir/types.js';
import { type Data, inputsFor, load, type OnDevice, outputBuffer } from '../end-to-end/on-device.js';
import { relativeError } from '../end-to-end/relative-error.js';

const file = '../shared/data/models/torchvision/resnet50_train_op13.onnx';
const scalars = { lr: 1, momentum: 0, damping: 0.01, kl_bound: 3e38 };

/** Product of a packed symmetric matrix and a vector, in float64. */
function times(packed: ArrayLike<number>, v: Float64Array): Float64Array {
  const out = new Float64Array(v.length);
  for (let i = 0, k = 0; i < v.length; i++) {
    for (let j = 0; j < i; j++, k++) {
      out[i] += packed[k] * v[j];
      out[j] += packed[k] * v[i];
    }
    out[i] += packed[k++] * v[i];
  }
  return out;
}

function meanEigenvalue(packed: ArrayLike<number>, n: number): number {
  let trace = 0;
  for (let i = 0; i < n; i++) trace += packed[(i * (i + 1)) / 2 + i];
  return trace / n;
}

/** Name of the value that is the gradient of convolution `p`: the contraction whose cotangent is what p's G is made of. */
function gradientOf(train: Func, p: string): string {
  const defs = definitions(train);
  const G = train.updates.find((u) => u.state === `${p}.G`)!.value;
  const fresh = defs.get(defs.get(G)!.operands[0])!;
  return train.nodes.find((n) => n.op === 'conv_weight_grad' && n.operands[1] === fresh.operands[0])!.results[0].name;
}

const matrix = (n: number, m: number, at: (i: number, j: number) => number): Float64Array[] =>
  Array.from({ length: n }, (_, i) => Float64Array.from({ length: m }, (_, j) => at(i, j)));

describe.runIf(existsSync(file))('ResNet-50, one step', () => {
  let on: OnDevice;
  let train: Func;
  let inputs: Data;
  let reference: Record<string, Float64Array>;
  /** The same with every value rounded to f32: what float32 storage alone does to 53 layers with BatchNorms over 4 images. */
  let rounded: Record<string, Float64Array>;
  /** Four times that, for sums that are f32 too, over a floor of 1e-4. */
  const allowed = (name: string): number => 1e-4 + 4 * relativeError(rounded[name], reference[name]);
  const read = (name: string): Float32Array => on.device.read(name) as Float32Array;

  beforeAll(() => {
    const options = { batch: 4, init: 'he-normal', seed: 1, inputs: ['x:Nx3x64x64'] } as const;
    on = load(readFileSync(file), 'resnet50.onnx', options);
    // A ReLU or a maximum within rounding of its kink takes one branch in f32 and the other in f64; one such element in the
    // last stage changes all gradients before it by percents. Shifts of 4 deviations keep activations away from zero.
    for (const s of on.stages.placed.state) {
      if (/bn\d\.bias$|downsample\.1\.bias$/.test(s.name))
        on.device.write(s.name, new Float32Array(read(s.name).length).fill(4));
    }
    train = findFunction(on.stages.placed, 'train');
    inputs = inputsFor(train, 1000, scalars);
    const state: Record<string, Float64Array> = {};
    for (const v of train.reads) state[v.name] = Float64Array.from(read(v.name));
    // The evaluator runs everything but the inversions and what follows from them.
    const results = new Set(train.nodes.filter((n) => n.op === 'damped_inverse').flatMap((n) => n.results));
    const nodes = train.nodes.filter((n) => {
      const after = n.operands.some((o) => results.has(o));
      if (after) for (const r of n.results) results.add(r);
      return !after && n.op !== 'damped_inverse';
    });
    const updates = train.updates.filter((u) => !results.has(u.value));
    const outputs = train.outputs.filter((o) => !results.has(o.value));
    const checked = { ...train, nodes, updates, outputs };
    const all = (round: boolean): Record<string, Float64Array> => {
      const e = evaluate(checked, inputs, state, () => true, round);
      return {
        ...Object.fromEntries(e.values),
        ...Object.fromEntries(updates.map((u) => [u.state, e.state[u.state]])),
      };
    };
    reference = all(false);
    rounded = all(true);
    for (const i of on.device.program.functions.find((f) => f.name === 'train')!.inputs)
      on.device.write(i.buffer, inputs[i.name]);
    on.device.run('train');
  }, 3_600_000);

  it('loss agrees and nothing failed', () => {
    const metrics = read(outputBuffer(on, 'train', 'metrics'));
    const at = (name: string): number => metrics[on.stages.metrics.train.indexOf(name)];
    expect(at('failed_inversions')).toBe(0);
    expect(at('nonfinite')).toBe(0);
    expect(Math.abs(at('loss') / reference.loss[0] - 1)).toBeLessThan(1e-4);
  });

  it('factors agree', () => {
    let compared = 0;
    for (const s of on.stages.placed.state) {
      if (s.role !== 'factor' || !(s.name in reference)) continue;
      expect(relativeError(read(s.name), reference[s.name]), s.name).toBeLessThan(allowed(s.name));
      compared++;
    }
    expect(compared).toBe(2 * 54 + 53);
  });

  it('inverses invert the damped factors', () => {
    for (const s of on.stages.placed.state) {
      if (s.role !== 'factor' || !s.name.endsWith('.A')) continue;
      const base = s.name.slice(0, -2);
      const [A, G] = [read(`${base}.A`), read(`${base}.G`)];
      const sizes = ['A', 'G'].map(
        (k) => concrete(on.stages.placed.state.find((e) => e.name === `${base}.${k}`)!.type.shape)[0],
      );
      const pi = Math.sqrt(meanEigenvalue(A, sizes[0]) / meanEigenvalue(G, sizes[1]));
      const shifts = [pi * Math.sqrt(scalars.damping), Math.sqrt(scalars.damping) / pi];
      [A, G].forEach((X, k) => {
        const v = Float64Array.from({ length: sizes[k] }, (_, i) => Math.sin(i * 1.3 + k));
        const w = times(read(`${base}.${k === 0 ? 'A' : 'G'}.inverse`), v);
        const back = times(X, w).map((x, i) => x + shifts[k] * w[i]);
        // The residual of a float32 inverse grows with the condition of the damped factor, here up to some 1e3.
        expect(relativeError(back, v), `${base} ${'AG'[k]}`).toBeLessThan(2e-3);
      });
    }
  });

  // The inverses amplify the gradient's own error by the condition of the damped factors, here up to some 1e2.
  it('natural gradients are G^-1 dW A^-1 of the reference gradient', { timeout: 1_800_000 }, () => {
    let compared = 0;
    for (const p of on.stages.placed.parameters) {
      const shape = concrete(on.stages.placed.state.find((s) => s.name === p.name)!.type.shape);
      if (shape.length !== 4) continue;
      const name = gradientOf(train, p.name);
      const gradient = reference[name];
      const [o, d] = [shape[0], gradient.length / shape[0]];
      const ainv = read(`${p.name}.A.inverse`);
      const ginv = read(`${p.name}.G.inverse`);
      const rows = matrix(o, d, (i, j) => gradient[i * d + j]).map((row) => times(ainv, row));
      const u = new Float64Array(o * d);
      for (let j = 0; j < d; j++) {
        const column = times(
          ginv,
          Float64Array.from(rows, (r) => r[j]),
        );
        for (let i = 0; i < o; i++) u[i * d + j] = column[i];
      }
      expect(
        relativeError(
          read(`${p.name}.velocity`).map((v) => -v),
          u,
        ),
        p.name,
      ).toBeLessThan(100 * allowed(name));
      compared++;
    }
    expect(compared).toBe(53);
  });
});
