import { describe, expect, it } from 'vitest';
import { addInit } from '../../compiler/passes/add-init.js';
import { bindBatch } from '../../compiler/passes/bind-batch.js';
import { mergeCommonSubexpressions } from '../../compiler/passes/common-subexpressions.js';
import { removeDeadCode } from '../../compiler/passes/dead-code.js';
import { Builder } from '../../ir/builder.js';
import { evaluate } from '../../ir/evaluate.js';
import type { Func, Module, StateEntry } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { symmetric, tensor } from '../../ir/types.js';

const loc = passLoc('test');
const N = { symbol: 'N', factor: 1 };

function moduleOf(func: Func, state: readonly StateEntry[] = []): Module {
  return { name: 'm', level: 'train', state, functions: [func], weights: new Map(), parameters: [] };
}

function stateOf(name: string, init: StateEntry['init'], type = tensor('f32', [3])): StateEntry {
  return { name, type, role: 'velocity', owner: 'all', lifetime: 'training', checkpoint: true, init, loc };
}

describe('bind-batch', () => {
  it('binds the symbol in types and in shape attributes, by function', () => {
    for (const [name, n] of [
      ['train', 4],
      ['eval', 7],
    ] as const) {
      const b = new Builder(name, loc);
      const x = b.input('x', tensor('f32', [N, 2, 3]));
      b.output('y', b.reshape(x, [{ symbol: 'N', factor: 2 }, 3]));
      const func = bindBatch(moduleOf(b.finish()), { train: 4, eval: 7 }).functions[0];
      expect(func.inputs[0].type.shape).toEqual([n, 2, 3]);
      expect(func.outputs[0].value.type.shape).toEqual([2 * n, 3]);
      expect(func.nodes[0].attrs.shape).toEqual([2 * n, 3]);
    }
  });
});

describe('common-subexpressions', () => {
  it('merges equal nodes, keeps those that differ in an attribute, a guard or a key', () => {
    const b = new Builder('f', loc);
    const x = b.input('x', tensor('f32', [3]));
    const rng = b.input('rng', tensor('i32', [3]));
    const one = b.node('exp', [x]);
    const two = b.node('exp', [x]);
    const guarded = b.node('exp', [x], { guard: 'due(a)' });
    const draws = [1, 1, 2].map((key) => b.node('random_uniform', [rng], { attrs: { shape: [3], key } }));
    b.output('y', b.add(b.add(one, two), b.add(b.add(draws[0], draws[1]), draws[2])));
    b.output('z', guarded);
    const before = b.finish();
    const after = mergeCommonSubexpressions(moduleOf(before)).functions[0];
    expect(after.nodes.filter((n) => n.op === 'exp')).toHaveLength(2);
    expect(after.nodes.filter((n) => n.op === 'random_uniform')).toHaveLength(2);
    const inputs = { x: [0.1, 0.2, 0.3], rng: [1, 2, 3] };
    expect(evaluate(after, inputs).outputs).toEqual(evaluate(before, inputs).outputs);
  });
});

describe('dead-code', () => {
  it('drops what no output or update needs, and state that nothing touches', () => {
    const b = new Builder('train', loc);
    const x = b.input('x', tensor('f32', [3]));
    b.input('unused', tensor('f32', [1]));
    const v = b.read('v', tensor('f32', [3]));
    b.read('w', tensor('f32', [3]));
    b.node('exp', [x]);
    b.update('v', b.add(v, x));
    const module = moduleOf(
      b.finish(),
      ['v', 'w'].map((n) => stateOf(n, { kind: 'fill', value: 0 })),
    );
    const after = removeDeadCode(module);
    expect(after.functions[0].nodes.map((n) => n.op)).toEqual(['add']);
    expect(after.functions[0].inputs.map((i) => i.name)).toEqual(['x']);
    expect(after.functions[0].reads.map((i) => i.name)).toEqual(['v']);
    expect(after.state.map((s) => s.name)).toEqual(['v']);
  });
});

describe('add-init', () => {
  it('fills every state entry that begins with a value, packed ones too, but zeros, which memory holds', () => {
    const b = new Builder('train', loc);
    const module = moduleOf(b.finish(), [
      stateOf('v', { kind: 'fill', value: 2 }),
      stateOf('w', { kind: 'weights' }),
      stateOf('zero', { kind: 'fill', value: 0 }),
      stateOf('A', { kind: 'fill', value: 0.5 }, symmetric(4)),
    ]);
    const [train, init] = addInit(module).functions;
    expect([train.name, init.name]).toEqual(['train', 'init']);
    expect(evaluate(init, {}).state).toEqual({ v: Float64Array.of(2, 2, 2), A: new Float64Array(10).fill(0.5) });
  });
});
