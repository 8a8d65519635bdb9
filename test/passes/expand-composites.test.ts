import { describe, expect, it } from 'vitest';
import { expandComposites } from '../../compiler/passes/expand-composites.js';
import { Builder } from '../../ir/builder.js';
import { evaluate } from '../../ir/evaluate.js';
import type { Func, Module } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { ops } from '../../ir/ops/table.js';
import { elementCount, tensor } from '../../ir/types.js';

const wave = (n: number, seed: number): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => Math.sin(i * 1.7 + seed) * 1.3 + Math.cos(i * i + seed));

function moduleOf(func: Func): Module {
  return { name: 'm', level: 'train', state: [], functions: [func], weights: new Map(), parameters: [] };
}

/** The composite's own float64 evaluation is the oracle; only rounding of another order of operations may differ. */
function agrees(func: Func, inputs: Record<string, Float64Array>): void {
  const before = evaluate(func, inputs).outputs;
  const expanded = expandComposites(moduleOf(func)).functions[0];
  const after = evaluate(expanded, inputs).outputs;
  for (const [name, data] of Object.entries(before))
    for (let i = 0; i < data.length; i++) expect(after[name][i]).toBeCloseTo(data[i], 11);
  for (const node of expanded.nodes) expect(ops[node.op].fuse, node.op).not.toBe('composite');
}

describe('expand-composites', () => {
  it.each(['softmax', 'log_softmax'] as const)('%s along either axis', (op) => {
    for (const axis of [0, 1, 2]) {
      const b = new Builder('f', passLoc('test'));
      const x = b.input('x', tensor('f32', [3, 5, 2]));
      b.output('y', b.node(op, [x], { attrs: { axis } }));
      agrees(b.finish(), { x: wave(30, axis).map((v) => v * 40) });
    }
  });

  it.each([[[4, 3]], [[4, 3, 5, 2]]])('batch normalisation and its gradient, shape %j, one row of padding', (shape) => {
    const b = new Builder('f', passLoc('test'));
    const type = tensor('f32', shape);
    const c = tensor('f32', [3]);
    const x = b.input('x', type);
    const [gamma, beta, mean, variance] = ['gamma', 'beta', 'mean', 'variance'].map((n) => b.input(n, c));
    const valid = b.input('valid', tensor('f32', [4]));
    const dy = b.input('dy', type);
    const attrs = { epsilon: 1e-5 };
    b.multi('batch_norm', [x, gamma, beta, valid], { attrs }).forEach((v, i) => {
      b.output(`forward${i}`, v);
    });
    b.multi('batch_norm_grad', [x, dy, gamma, mean, variance, valid], { attrs }).forEach((v, i) => {
      b.output(`grad${i}`, v);
    });
    const n = elementCount(type);
    agrees(b.finish(), {
      x: wave(n, 1),
      dy: wave(n, 2),
      gamma: wave(3, 3),
      beta: wave(3, 4),
      mean: wave(3, 5),
      variance: wave(3, 6).map((v) => v * v + 0.1),
      valid: Float64Array.of(1, 1, 0, 1),
    });
  });
});
