import { describe, expect, it } from 'vitest';
import { removeDeadCode } from '../../compiler/passes/dead-code.js';
import { Builder } from '../../ir/builder.js';
import type { Func } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { extend, rebuild } from '../../ir/rewrite.js';
import { tensor } from '../../ir/types.js';

const x3 = tensor('f32', [3]);
const namesOf = (f: Func): string[] => f.nodes.flatMap((n) => n.results.map((r) => r.name));

/** x -> exp, exp.1, y; and `dropped`, which nothing reads. */
function base(): Func {
  const b = new Builder('f', passLoc('test'));
  const x = b.input('x', x3);
  b.node('neg', [x], { name: 'dropped' });
  b.output('y', b.node('neg', [b.node('exp', [b.node('exp', [x])])], { name: 'y' }));
  return b.finish();
}

const pruned = (func: Func): Func =>
  removeDeadCode({ name: 'm', level: 'train', state: [], functions: [func], weights: new Map(), parameters: [] })
    .functions[0];

describe('names', () => {
  it('that are new avoid all that the function has, so that no node of it is renamed', () => {
    const func = base();
    const doubled = rebuild(func, 'test', {
      replace: (node, [x], b) => (node.results[0].name === 'exp' ? [b.node('exp', [b.add(x, x)])] : undefined),
    });
    // What stands in for a node may have its name.
    expect(namesOf(doubled)).toEqual(['dropped', 'add', 'exp', 'exp.1', 'y']);
    const more = Builder.from(doubled, 'test');
    more.node('exp', [more.inputs[0]]);
    expect(namesOf(more.finish())).toEqual(['dropped', 'add', 'exp', 'exp.1', 'y', 'exp.2']);
  });

  it('are told from those of all values by whoever comes second to a function', () => {
    const func = base();
    for (let i = 0; i < 2; i++) {
      const b = Builder.from(func, 'test');
      expect(b.node('exp', [b.inputs[0]]).name).toBe('exp.2');
    }
  });

  it('of values that are gone are free for state and for inputs', () => {
    const b = Builder.from(pruned(base()), 'test');
    expect(b.has('dropped')).toBe(false);
    expect(b.read('dropped', x3).name).toBe('dropped');
    expect(b.has('dropped')).toBe(true);
    expect(() => b.read('y', x3)).toThrow('state y has the name of another value');

    const { given, b: extended } = extend(pruned(base()), 'test', [{ name: 'dropped', type: x3 }]);
    expect(given.map((v) => v.name)).toEqual(['dropped']);
    expect(namesOf(extended.finish())).toEqual(['exp', 'exp.1', 'y']);
  });

  it('that the host wants are given up by nodes', () => {
    const { given, b } = extend(base(), 'test', [{ name: 'exp', type: x3 }]);
    expect(given.map((v) => v.name)).toEqual(['exp']);
    expect(new Set(namesOf(b.finish())).has('exp')).toBe(false);
  });
});

it('what is wanted once is made once for each guard', () => {
  const b = new Builder('f', passLoc('test'));
  const x = b.input('x', x3);
  const double = () => b.once('double', () => b.add(x, x));
  const always = double();
  b.guard = 'due(A)';
  const due = double();
  expect(double()).toBe(due);
  b.guard = undefined;
  expect(double()).toBe(always);
  expect(b.nodes.map((n) => n.guard)).toEqual([undefined, 'due(A)']);
});
