/**
 * Losses against their definitions, computed here from the model's own outputs; float64, so 1e-12.
 */
import { describe, expect, it } from 'vitest';
import { attachLoss, type LossOptions } from '../../compiler/passes/attach-loss.js';
import { bindBatch } from '../../compiler/passes/bind-batch.js';
import type { Builder } from '../../ir/builder.js';
import { evaluate } from '../../ir/evaluate.js';
import { findFunction, type Module, type Value } from '../../ir/graph.js';
import { tensor } from '../../ir/types.js';
import { initialState, loc, modelOf, N, type Net, noise } from '../nets.js';

const linear = (head: (b: Builder, logits: Value) => Value, width = 3): Net => ({
  forward: (b, p) => head(b, b.matmul(b.input('x', tensor('f32', [N, 4])), p('w', [4, width]), false, false, 'logits')),
});
const plain = linear((_b, y) => y);
const softmax = linear((b, y) => b.node('softmax', [y], { attrs: { axis: 1 } }));
const logSoftmax = linear((b, y) => {
  const image = b.reshape(y, [N, 3, 1, 1]);
  return b.reshape(b.node('log_softmax', [image], { attrs: { axis: 1 } }), [N, 3]);
});

const x = noise(16, 4);
const valid = [1, 1, 0, 1];
const target = [2, 0, 1, 1];

function run(module: Module, name: string, inputs: Record<string, ArrayLike<number>>) {
  const bound = bindBatch(module, { train: 4, eval: 4 });
  return evaluate(findFunction(bound, name), inputs as never, initialState(bound));
}

function logitsOf(module: Module, width = 3): number[][] {
  const { values } = run(module, 'train', { x, valid, target: new Array(4 * width).fill(0).slice(0, 4) });
  return [0, 1, 2, 3].map((n) => [...values.get('logits')!.slice(n * width, n * width + width)]);
}

const logSum = (row: number[]) => Math.log(row.map(Math.exp).reduce((a, b) => a + b));

describe('softmax cross-entropy', () => {
  for (const [what, net] of Object.entries({
    logits: plain,
    'a softmax head': softmax,
    'a log-softmax head': logSoftmax,
  }))
    it(`over ${what}`, () => {
      const { module, loss } = attachLoss(modelOf(net));
      expect(loss).toEqual({
        kind: 'softmax-cross-entropy',
        output: 'y',
        target: { dtype: 'i32', shape: [N], classes: 3 },
      });
      const rows = logitsOf(module);
      const used = [0, 1, 3];
      const sum = used.reduce((s, n) => s + logSum(rows[n]) - rows[n][target[n]], 0);
      const correct = used.filter((n) => rows[n].indexOf(Math.max(...rows[n])) === target[n]).length;
      const train = run(module, 'train', { x, valid, target }).outputs;
      expect(train.loss[0]).toBeCloseTo(sum / 3, 12);
      expect([train.correct[0], train.count[0]]).toEqual([correct, 3]);
      expect(Object.keys(train)).toEqual(['loss', 'correct', 'count']);
      const evaluated = run(module, 'eval', { x, valid, target }).outputs;
      expect(evaluated.loss_sum[0]).toBeCloseTo(sum, 12);
      expect([evaluated.correct[0], evaluated.count[0]]).toEqual([correct, 3]);
    });

  it('is finite for logits of any size', () => {
    const { module } = attachLoss(modelOf(softmax));
    const { loss } = run(module, 'train', { x: x.map((v) => v * 1e5), valid, target }).outputs;
    expect(Number.isFinite(loss[0])).toBe(true);
  });

  it('takes soft labels', () => {
    const { module, loss } = attachLoss(modelOf(plain), { labels: 'soft' });
    expect(loss.target).toEqual({ dtype: 'f32', shape: [N, 3], classes: 3 });
    const rows = logitsOf(attachLoss(modelOf(plain)).module);
    const soft = [0.2, 0.5, 0.3, 1, 0, 0, 0.1, 0.1, 0.8, 0, 0.4, 0.6];
    const sum = [0, 1, 3].reduce(
      (s, n) => s - rows[n].reduce((t, z, c) => t + soft[n * 3 + c] * (z - logSum(rows[n])), 0),
      0,
    );
    expect(run(module, 'train', { x, valid, target: soft }).outputs.loss[0]).toBeCloseTo(sum / 3, 12);
  });

  it('classifies every position of a sequence [N, T, C], behind a softmax or not', () => {
    const sequence = (head: boolean) =>
      linear((b, y) => {
        const positions = b.reshape(y, [N, 2, 2]);
        return head ? b.node('softmax', [positions], { attrs: { axis: 2 } }) : positions;
      }, 4);
    const [raw, behind] = [sequence(false), sequence(true)].map((net) => attachLoss(modelOf(net)));
    expect(raw.loss).toMatchObject({
      kind: 'softmax-cross-entropy',
      target: { dtype: 'i32', shape: [N, 2], classes: 2 },
    });
    const labels = [0, 1, 1, 1, 0, 0, 1, 0];
    const { outputs, values } = run(raw.module, 'train', { x, valid, target: labels });
    const y = values.get('logits')!;
    const rows = labels.map((label, r) => ({ label, z: [y[2 * r], y[2 * r + 1]], valid: valid[r >> 1] }));
    const sum = rows.reduce((s, r) => s + r.valid * (logSum(r.z) - r.z[r.label]), 0);
    const right = rows.reduce((s, r) => s + r.valid * Number(r.z[r.label] > r.z[1 - r.label]), 0);
    expect(outputs.loss[0]).toBeCloseTo(sum / 6, 12);
    expect(outputs.correct[0]).toBeCloseTo(right / 2, 12);
    expect(run(behind.module, 'train', { x, valid, target: labels }).outputs.loss[0]).toBeCloseTo(sum / 6, 12);
    const soft = labels.flatMap((label) => [1 - label, label]);
    const { module, loss } = attachLoss(modelOf(sequence(false)), { labels: 'soft' });
    expect(loss.target!.shape).toEqual([N, 2, 2]);
    expect(run(module, 'train', { x, valid, target: soft }).outputs.loss[0]).toBeCloseTo(sum / 6, 12);
  });

  it('counts in eval, of more than five classes, where the class is among the first five: of ties the first, NaN not', () => {
    const net: Net = { forward: (b) => b.input('x', tensor('f32', [N, 7])) };
    const rows = [
      [7, 6, 5, 4, 3, 2, 1],
      [7, 6, 5, 4, 3, 2, 1],
      // Classes 4 to 6 tie for the fifth place.
      [7, 6, 5, 4, 3, 3, 3],
      [7, 6, 5, 4, Number.NaN, 2, 1],
    ];
    const top5 = (labels: number[], which = [1, 1, 1, 1]) =>
      run(attachLoss(modelOf(net)).module, 'eval', { x: rows.flat(), valid: which, target: labels }).outputs.top5[0];
    expect(top5([4, 5, 4, 3])).toBe(3);
    expect(top5([4, 5, 5, 3])).toBe(2);
    expect(top5([5, 4, 4, 4])).toBe(2);
    expect(top5([4, 4, 4, 0], [0, 1, 0, 1])).toBe(2);
    const hot = (labels: number[]) =>
      labels.flatMap((l) => Array.from({ length: 7 }, (_, c) => (c === l ? 0.9 : 0.1 / 6)));
    const soft = attachLoss(modelOf(net), { labels: 'soft' }).module;
    const given = { x: rows.flat(), valid: [1, 1, 1, 1], target: hot([4, 5, 4, 3]) };
    expect(run(soft, 'eval', given).outputs.top5[0]).toBe(3);
    expect(run(soft, 'train', given).outputs).not.toHaveProperty('top5');
    expect(run(attachLoss(modelOf(plain)).module, 'eval', { x, valid, target }).outputs).not.toHaveProperty('top5');
  });

  it('and of a sequence the share of its positions', () => {
    const net: Net = { forward: (b) => b.input('x', tensor('f32', [N, 2, 6])) };
    const up = [1, 2, 3, 4, 5, 6];
    const rows = Array.from({ length: 8 }, () => up).flat();
    const { outputs } = run(attachLoss(modelOf(net)).module, 'eval', {
      x: rows,
      valid,
      target: [0, 1, 1, 2, 0, 0, 5, 0],
    });
    expect(outputs.top5[0]).toBeCloseTo(0.5 + 1 + 0.5, 12);
  });

  it('leaves predict as it was', () => {
    const before = modelOf(softmax);
    const { module } = attachLoss(before);
    expect(findFunction(module, 'predict')).toBe(findFunction(before, 'predict'));
  });
});

describe('mean squared error', () => {
  it('is the mean over elements and valid examples', () => {
    const { module, loss } = attachLoss(modelOf(plain), { loss: 'mean-squared-error' });
    expect(loss.target).toEqual({ dtype: 'f32', shape: [N, 3] });
    const goal = noise(12, 9);
    const { outputs, values } = run(module, 'train', { x, valid, target: goal });
    const y = values.get('logits')!;
    const sum = [0, 1, 3].flatMap((n) => [0, 1, 2].map((c) => (y[n * 3 + c] - goal[n * 3 + c]) ** 2));
    expect(outputs.loss[0]).toBeCloseTo(sum.reduce((a, b) => a + b) / 9, 12);
    expect(outputs).not.toHaveProperty('correct');
  });

  it('is the default for one output and after a sigmoid', () => {
    expect(attachLoss(modelOf(linear((_b, y) => y, 1))).loss.kind).toBe('mean-squared-error');
    expect(attachLoss(modelOf(linear((b, y) => b.node('sigmoid', [y])))).loss.kind).toBe('mean-squared-error');
  });
});

describe('the model’s own loss', () => {
  it('is its scalar output, scaled by the number of examples in eval', () => {
    const net = linear((b, y) => b.mul(b.sumAll(b.mul(y, y)), b.fill(0.25)));
    const { module, loss } = attachLoss(modelOf(net));
    expect(loss).toEqual({ kind: 'output', output: 'y' });
    const train = run(module, 'train', { x, valid: [1, 1, 1, 1] }).outputs;
    const evaluated = run(module, 'eval', { x, valid: [1, 1, 1, 1] }).outputs;
    expect(evaluated.loss_sum[0]).toBeCloseTo(4 * train.loss[0], 12);
  });
});

describe('what the user must mend', () => {
  const failing = (net: Net, options?: LossOptions) => () => attachLoss(modelOf(net), options);
  const two: Module = (() => {
    const module = modelOf(plain);
    return {
      ...module,
      functions: module.functions.map((f) => ({ ...f, outputs: [...f.outputs, { name: 'z', value: f.inputs[0] }] })),
    };
  })();

  it('of scores and a class number, the scores are taken', () => {
    const module = modelOf(
      linear((b, y) => {
        b.output('label', b.node('argmax', [y], { attrs: { axis: 1 } }));
        return y;
      }),
    );
    const functions = module.functions.map((f) => ({ ...f, outputs: [...f.outputs].reverse() }));
    for (const m of [module, { ...module, functions }]) {
      expect(m.functions[0].outputs).toHaveLength(2);
      expect(attachLoss(m).loss).toMatchObject({ kind: 'softmax-cross-entropy' });
    }
  });

  it('several outputs and none chosen; an unknown one', () => {
    expect(() => attachLoss(two)).toThrow(expect.objectContaining({ code: 201 }));
    expect(() => attachLoss(two, { output: 'no' })).toThrow(expect.objectContaining({ code: 202 }));
    expect(attachLoss(two, { output: 'y' }).loss.output).toBe('y');
  });

  it('a loss that does not fit, or none that suggests itself', () => {
    expect(failing(plain, { loss: 'output' })).toThrow(expect.objectContaining({ code: 203 }));
    expect(
      failing(
        linear((_b, y) => y, 1),
        { loss: 'softmax-cross-entropy' },
      ),
    ).toThrow(expect.objectContaining({ code: 203 }));
    expect(failing(linear((b, y) => b.reshape(y, [N, 2, 1, 2]), 4))).toThrow(expect.objectContaining({ code: 204 }));
  });

  it('a name that the training function needs', () => {
    for (const name of ['target', 'lr', 'weight_decay']) {
      const net: Net = { forward: (b, p) => b.matmul(b.input(name, tensor('f32', [N, 4])), p('w', [4, 3])) };
      expect(failing(net), name).toThrow(expect.objectContaining({ code: 206, loc }));
    }
  });

  it('but an inner value of that name only gets another one', () => {
    const net = linear((b, y) => b.node('tanh', [y], { name: 'target' }));
    const train = findFunction(attachLoss(modelOf(net)).module, 'train');
    expect(train.inputs.map((i) => i.name)).toEqual(['x', 'valid', 'target']);
    expect(train.nodes.some((n) => n.results[0].name === 'target.1')).toBe(true);
  });
});
