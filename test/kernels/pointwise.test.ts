import { describe, expect, it } from 'vitest';
import { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { formulaOps } from '../../ir/ops/formulas.js';
import type { OpName } from '../../ir/ops/table.js';
import { type DType, product, symmetric, tensor } from '../../ir/types.js';
import { agrees, noise } from './execute.js';

const builder = (): Builder => new Builder('f', passLoc('test'));

describe('elementwise ops', () => {
  const unary: readonly (readonly [OpName, (x: number) => number])[] = [
    ['neg', (x) => x],
    ['abs', (x) => x],
    ['exp', (x) => x],
    ['log', (x) => Math.abs(x) + 0.1],
    ['sqrt', Math.abs],
    ['reciprocal', (x) => x + 3],
    ['tanh', (x) => x],
    ['erf', (x) => x],
    ['sigmoid', (x) => x],
    ['relu', (x) => x],
    ['sign', (x) => Math.round(x)],
    ['floor', (x) => x * 3],
    ['is_finite', (x) => (x > 1 ? Number.POSITIVE_INFINITY : x < -1 ? Number.NaN : x)],
  ];
  it.each(unary)('%s', (op, domain) => {
    for (const shape of [[], [1], [7], [3, 5], [2, 1, 9]]) {
      const b = builder();
      const x = b.input('x', tensor('f32', shape));
      b.output('y', b.node(op, [x]));
      agrees(b.finish(), { x: noise(product(shape)).map(domain) });
    }
  });

  const shapes: readonly (readonly [readonly number[], readonly number[]])[] = [
    [[7], [7]],
    [[3, 4], [4]],
    [
      [3, 4],
      [3, 1],
    ],
    [
      [2, 3, 4, 5],
      [1, 3, 1, 1],
    ],
    [
      [4, 1, 5],
      [3, 1],
    ],
    [[], [6]],
    [
      [5, 1],
      [1, 6],
    ],
  ];
  it.each(['add', 'sub', 'mul', 'div', 'pow', 'max', 'min', 'equal', 'less'] as const)('%s broadcasts', (op) => {
    for (const [sa, sb] of shapes) {
      const b = builder();
      const [a, c] = [b.input('a', tensor('f32', sa)), b.input('b', tensor('f32', sb))];
      b.output('y', b.node(op, [a, c]));
      const domain = op === 'pow' ? Math.abs : op === 'equal' ? Math.round : (x: number) => x;
      agrees(b.finish(), {
        a: noise(product(sa), 1).map(domain),
        b: noise(product(sb), 2).map((x) => (op === 'div' ? x + 3 : domain(x))),
      });
    }
  });

  it('powers of negative numbers', () => {
    const b = builder();
    const [x, y] = [b.input('x', tensor('f32', [8])), b.input('y', tensor('f32', [8]))];
    b.output('general', b.node('pow', [x, y]));
    b.output('square', b.node('pow', [x, b.fill(2)]));
    b.output('cube', b.node('pow', [x, b.fill(3)]));
    b.output('root', b.node('pow', [b.node('abs', [x]), b.fill(0.5)]));
    agrees(b.finish(), { x: [-2, -2, -2, -3, 2, 0, 0, 5], y: [2, 3, -1, 0.5, 0.5, 0, 2, 0] });
  });

  it('logic, selection and conversions', () => {
    const b = builder();
    const [x, y] = [b.input('x', tensor('f32', [9])), b.input('y', tensor('f32', [9]))];
    const [i, u] = [b.input('i', tensor('i32', [9])), b.input('u', tensor('u8', [9]))];
    const less = b.node('less', [x, y]);
    const positive = b.node('less', [b.fill(0), x]);
    const both = b.node('and', [less, b.node('not', [positive])]);
    b.output('bool', b.node('or', [both, b.cast(i, 'bool')]));
    b.output('select', b.select(less, x, y));
    b.output('toI32', b.cast(b.mul(x, b.fill(5)), 'i32'));
    b.output('toF32', b.cast(i, 'f32'));
    b.output('bytes', b.mul(b.cast(u, 'f32'), b.fill(1 / 255)));
    b.output('wide', b.add(b.cast(u, 'i32'), i));
    b.output('truth', b.cast(less, 'f32'));
    b.output('same', b.node('equal', [less, positive]));
    agrees(b.finish(), {
      x: noise(9, 1),
      y: noise(9, 2),
      i: [0, 1, -1, 5, 0, 0, 7, -9, 2],
      u: [0, 255, 3, 4, 5, 0, 7, 128, 200],
    });
  });
});

describe('formulas', () => {
  const values = { momentum: 0.9, epsilon: 1e-3, ratio: 1.5 };
  const shapes = [
    [4, 3, 5, 5],
    [2, 9],
    [1, 3, 1, 1],
    [3, 1, 7],
    [1, 1],
  ];
  it.each(Object.entries(formulaOps))('%s', (op, { operands, arity, attrs }) => {
    const of = Object.fromEntries(Object.entries(values).filter(([name]) => name in (attrs ?? {})));
    const positive = /rstd|pi|inference/.test(op);
    for (const shape of shapes)
      for (const count of new Set(arity))
        for (const computed of [false, true]) {
          const b = builder();
          const inputs: Record<string, Float64Array> = {};
          const given = operands.slice(0, count).map((role, i) => {
            const own = { element: shape, example: [shape[0]], channel: [shape[1]], scalar: [] }[role];
            inputs[`x${i}`] = noise(product(own), i + 1).map((x) => (positive ? Math.abs(x) + 0.1 : x));
            const x = b.input(`x${i}`, tensor('f32', own));
            return computed ? b.add(x, b.fill(0.25)) : x;
          });
          b.output('y', b.node(op as OpName, given, { attrs: of }));
          agrees(b.finish(), inputs);
        }
  });

  it('whose test is not finite', () => {
    for (const test of [Number.NaN, Number.POSITIVE_INFINITY, 0]) {
      const b = builder();
      const [u, v] = [b.input('u', tensor('f32', [9])), b.input('v', tensor('f32', [9]))];
      const [t, c] = [b.input('t', tensor('f32', [])), b.fill(0.5)];
      b.output('step', b.node('momentum_step', [u, c, v, c, t]));
      b.output('moved', b.node('weight_step', [u, v, t]));
      b.output('kept', b.node('if_finite', [t, u, v]));
      agrees(b.finish(), { u: noise(9, 1), v: noise(9, 2), t: [test] });
    }
  });

  it.each([
    [5, 7],
    [1, 4],
    [33, 1],
  ])('2x2 blocks of %i examples, %i channels', (n, c) => {
    const b = builder();
    const [gamma, beta] = ['gamma', 'beta'].map((name) => b.input(name, tensor('f32', [n, c])));
    const products = b.node('unit_products', [gamma, beta]);
    b.output('products', products);
    const fisher = b.sum(products, [0]);
    b.output('fisher', fisher);
    const [g, s] = [b.sum(gamma, [0]), b.sum(beta, [0])];
    for (const shift of [false, true])
      b.output(`natural${shift}`, b.node('unit_natural', [fisher, g, s, b.fill(0.5)], { attrs: { shift } }));
    agrees(b.finish(), { gamma: noise(n * c, 1), beta: noise(n * c, 2) });
  });
});

describe('views', () => {
  const view = (op: OpName, shape: readonly number[], attrs: Record<string, unknown>, dtype: DType = 'f32'): void => {
    for (const materialise of [false, true]) {
      const b = builder();
      const x = b.input('x', tensor(dtype, shape));
      const of = materialise || dtype !== 'f32' ? x : b.mul(x, x);
      const v = b.node(op, [of], { attrs: attrs as never });
      b.output('y', v);
      if (dtype === 'f32') b.output('z', b.add(b.node('relu', [v]), b.fill(1)));
      agrees(b.finish(), { x: noise(product(shape)).map((n) => (dtype === 'f32' ? n : Math.round(n))) });
    }
  };
  it('reshape', () => {
    view('reshape', [2, 3, 4], { shape: [6, 4] });
    view('reshape', [2, 3, 4], { shape: [4, 6] });
    view('reshape', [2, 3, 4], { shape: [24] });
    view('reshape', [12], { shape: [1, 3, 1, 4] });
    view('reshape', [5], { shape: [1, 5, 1, 1] });
  });
  it('transpose', () => {
    view('transpose', [3, 5], { perm: [1, 0] });
    view('transpose', [2, 3, 4, 5], { perm: [0, 2, 3, 1] });
    view('transpose', [2, 1, 4], { perm: [2, 1, 0] }, 'i32');
  });
  it('broadcast', () => {
    view('broadcast', [3, 1], { shape: [2, 3, 4] });
    view('broadcast', [], { shape: [5] });
  });
  it('slice', () => {
    view('slice', [5, 7], { starts: [1, 0], ends: [5, 7], steps: [2, 3] });
    view('slice', [4, 6, 2], { starts: [0, 2, 0], ends: [4, 5, 2], steps: [1, 1, 1] });
  });
  it('pad', () => {
    view('pad', [3, 4], { low: [1, 0], high: [0, 2], value: 7 });
    view('pad', [2, 3], { low: [2, 1], high: [1, 1], value: -1 });
    view('pad', [4], { low: [0], high: [0], value: 1 });
  });

  it('concat of many and of few, inside and at the end', () => {
    for (const count of [1, 2, 3, 7])
      for (const axis of [0, 1]) {
        const b = builder();
        const inputs: Record<string, Float64Array> = {};
        const parts = Array.from({ length: count }, (_, k): Value => {
          const shape = axis === 0 ? [k + 1, 3] : [3, k + 1];
          inputs[`x${k}`] = noise(3 * (k + 1), k);
          const x = b.input(`x${k}`, tensor('f32', shape));
          return k % 2 ? b.mul(x, x) : x;
        });
        const joined = b.node('concat', parts, { attrs: { axis } });
        if (count !== 3) b.output('joined', joined);
        b.output('after', b.add(b.node('relu', [joined]), b.fill(1)));
        agrees(b.finish(), inputs);
      }
  });

  it('stacks of scalars, inside and at the end', () => {
    for (const count of [1, 2, 3, 7]) {
      const b = builder();
      const scalars = Array.from({ length: count }, (_, k): Value => {
        const x = b.input(`x${k}`, tensor('f32', []));
        return k % 2 ? b.mul(x, x) : x;
      });
      const stacked = b.node('stack', scalars);
      if (count !== 3) b.output('stacked', stacked);
      b.output('after', b.sumAll(b.add(b.node('relu', [stacked]), b.fill(1))));
      agrees(b.finish(), Object.fromEntries(scalars.map((_, k) => [`x${k}`, noise(1, k + 1)])));
    }
  });

  it('unpack and arithmetic on packed values', () => {
    for (const batch of [[], [3]])
      for (const n of [1, 2, 5]) {
        const b = builder();
        const s = b.input('s', symmetric(n, batch));
        const t = b.input('t', symmetric(n, batch));
        const c = b.input('c', tensor('f32', []));
        const mixed = b.add(b.mul(s, c), t);
        b.output('mixed', mixed);
        b.output('full', b.node('unpack', [b.add(s, t)]));
        b.output('twice', b.mul(b.node('unpack', [mixed]), c));
        const size = (product(batch) * (n * (n + 1))) / 2;
        agrees(b.finish(), { s: noise(size, 1), t: noise(size, 2), c: [0.37] });
      }
  });

  it('sources: fill, iota, random numbers exact to the last bit', () => {
    const b = builder();
    const rng = b.input('rng', tensor('i32', [3]));
    b.output('fill', b.fill(2.5, [3, 2]));
    b.output('iota', b.node('iota', [], { attrs: { shape: [3, 4], axis: 1, dtype: 'i32' } }));
    b.output('ramp', b.node('iota', [], { attrs: { shape: [3, 4], axis: 0, dtype: 'f32' } }));
    b.output('uniform', b.node('random_uniform', [rng], { attrs: { shape: [4, 3, 5], key: 12345 } }));
    agrees(b.finish(), { rng: [7, -3, 1000] }, 0);
  });
});

describe('sharing loops', () => {
  it('large flat tensors are cut into blocks', () => {
    const n = 3 * 4096 + 17;
    const b = builder();
    const x = b.input('x', tensor('f32', [n]));
    b.output('y', b.add(b.mul(x, x), b.fill(1)));
    const { kernels } = agrees(b.finish(), { x: noise(n) });
    expect(kernels).toHaveLength(1);
    expect(kernels[0].body[0]).toMatchObject({ kind: 'for', bind: 'grid' });
  });

  it('momentum: velocity and weight leave one kernel', () => {
    const b = builder();
    const type = tensor('f32', [6, 5]);
    const [w, v, g] = ['w', 'v', 'g'].map((n) => b.input(n, type));
    const [lr, m] = ['lr', 'm'].map((n) => b.input(n, tensor('f32', [])));
    const velocity = b.add(b.mul(v, m), g);
    b.output('v1', velocity);
    b.output('w1', b.sub(w, b.mul(velocity, lr)));
    const { regions } = agrees(b.finish(), { w: noise(30, 1), v: noise(30, 2), g: noise(30, 3), lr: [0.1], m: [0.9] });
    expect(regions).toHaveLength(1);
    expect(regions[0].outputs).toHaveLength(2);
  });

  it('large siblings that read the same tensors share one nest, though neither needs the other', () => {
    const b = builder();
    const type = tensor('f32', [200, 300]);
    const [w, v, g] = ['w', 'v', 'g'].map((n) => b.input(n, type));
    const ok = b.node('is_finite', [b.input('dot', tensor('f32', []))]);
    const velocity = b.add(b.mul(v, b.fill(0.9)), g);
    b.output('v1', b.select(ok, velocity, v));
    b.output('w1', b.select(ok, b.sub(w, velocity), w));
    const n = 60000;
    const inputs = { w: noise(n, 1), v: noise(n, 2), g: noise(n, 3), dot: [1] };
    const { regions, kernels } = agrees(b.finish(), inputs);
    expect(regions).toHaveLength(1);
    expect(kernels[0].body.filter((s) => s.kind === 'for')).toHaveLength(1);
  });

  it('small independent updates leave one kernel with several nests', () => {
    const b = builder();
    const inputs: Record<string, ArrayLike<number>> = { lr: [0.1] };
    const lr = b.input('lr', tensor('f32', []));
    for (let k = 0; k < 8; k++) {
      const type = tensor('f32', [k + 1, 3]);
      const [w, g] = [b.input(`w${k}`, type), b.input(`g${k}`, type)];
      inputs[`w${k}`] = noise(3 * (k + 1), k);
      inputs[`g${k}`] = noise(3 * (k + 1), k + 9);
      b.output(`out${k}`, b.sub(w, b.mul(g, lr)));
    }
    const { regions } = agrees(b.finish(), inputs);
    // 8 updates of 3 parameters each, and the rate, at most 24 parameters a kernel.
    expect(regions.map((r) => r.parts?.length)).toEqual([7, undefined]);
  });

  it('reshapes and transposes inside a chain keep it in one kernel', () => {
    const b = builder();
    const x = b.input('x', tensor('f32', [4, 6]));
    const y = b.node('exp', [x]);
    const t = b.transpose(b.reshape(y, [2, 2, 6]), [2, 0, 1]);
    b.output('y', y);
    b.output('t', b.mul(t, b.fill(2)));
    const { regions } = agrees(b.finish(), { x: noise(24) });
    expect(regions).toHaveLength(1);
  });
});
