import { describe, expect, it } from 'vitest';
import { expandComposites } from '../../compiler/passes/expand-composites.js';
import { Builder } from '../../ir/builder.js';
import type { Func, Value } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { product, storedCount, symmetric, tensor } from '../../ir/types.js';
import { agrees, noise } from './execute.js';

const builder = (): Builder => new Builder('f', passLoc('test'));

const cases: readonly (readonly [readonly number[], readonly number[]])[] = [
  [[7], [0]],
  [[1], [0]],
  [[3, 5], [1]],
  [[3, 5], [0]],
  [
    [3, 5],
    [0, 1],
  ],
  [[2, 3, 4], [1]],
  [
    [2, 3, 4],
    [0, 2],
  ],
  [[3, 1, 5], [1]],
  [
    [2, 3, 4, 5],
    [0, 2, 3],
  ],
  [
    [2, 3, 4, 5],
    [2, 3],
  ],
  [[2, 3, 4, 5], [1]],
  [
    [2, 3, 4, 5],
    [0, 1],
  ],
  [
    [2, 3, 4, 5],
    [1, 3],
  ],
  [[5, 300], [0]],
  [[600, 3], [0]],
  [[1000, 70], [0]],
  [[2, 2500], [1]],
  [
    [3, 2, 1100],
    [0, 2],
  ],
];

describe.each(['reduce_sum', 'reduce_max'] as const)('%s', (op) => {
  it.each(cases)('%j over %j', (shape, axes) => {
    for (const keep of [false, true])
      for (const fused of [false, true]) {
        const b = builder();
        const x = b.input('x', tensor('f32', shape));
        const before = fused ? b.mul(b.sub(x, b.fill(0.25)), x) : x;
        const r = b.node(op, [before], { attrs: { axes, keep } });
        b.output('r', r);
        if (fused) {
          const bias = b.input('bias', r.type);
          b.output('after', b.node('relu', [b.add(b.mul(r, b.fill(0.5)), bias)]));
          const { regions } = agrees(b.finish(), { x: noise(product(shape)), bias: noise(storedCount(r.type)) });
          expect(regions).toHaveLength(1);
        } else agrees(b.finish(), { x: noise(product(shape)) });
      }
  });

  it('of integers', () => {
    const b = builder();
    const x = b.input('x', tensor('i32', [4, 6]));
    b.output('rows', b.node(op, [x], { attrs: { axes: [1], keep: false } }));
    b.output('columns', b.node(op, [x], { attrs: { axes: [0], keep: false } }));
    agrees(b.finish(), { x: noise(24).map((v) => Math.round(v * 50) - 200) }, 0);
  });
});

it('argmax takes the first of equals, along every axis, with prologue and epilogue', () => {
  for (const axis of [0, 1, 2]) {
    const b = builder();
    const x = b.input('x', tensor('f32', [4, 5, 3]));
    const best = b.node('argmax', [b.node('abs', [x])], { attrs: { axis } });
    b.output('best', best);
    b.output('scaled', b.mul(b.cast(best, 'f32'), b.fill(2)));
    agrees(b.finish(), { x: noise(60).map(Math.round) }, 0);
  }
});

it('trace of packed matrices', () => {
  for (const batch of [[], [3]])
    for (const n of [1, 4, 9]) {
      const b = builder();
      const s = b.input('s', symmetric(n, batch));
      const t = b.node('trace', [b.mul(s, s)]);
      b.output('t', b.node('sqrt', [b.mul(t, b.fill(1 / n))]));
      agrees(b.finish(), { s: noise((product(batch) * n * (n + 1)) / 2) });
    }
});

it('a sum of 2^20 numbers of one sign keeps six digits', () => {
  for (const [shape, axes] of [
    [[1 << 20], [0]],
    [[1 << 18, 4], [0]],
    [
      [64, 4, 4096],
      [0, 2],
    ],
  ] as const) {
    const b = builder();
    const x = b.input('x', tensor('f32', shape));
    b.output('sum', b.sum(x, axes));
    agrees(
      b.finish(),
      { x: noise(product(shape)).map((v) => Math.abs(v) + 0.1) },
      // Blocks of up to 1024, then up to 1024 partial sums: random roundings grow as sqrt(1024) 2^-24 = 2e-6.
      4e-6,
    );
  }
});

describe('typical consumers', () => {
  const expand = (func: Func): Func =>
    expandComposites({ name: 'm', level: 'train', state: [], functions: [func], weights: new Map(), parameters: [] })
      .functions[0];

  it.each(['softmax', 'log_softmax'] as const)('%s', (op) => {
    for (const [shape, axis] of [
      [[8, 10], 1],
      [[3, 1000], 1],
      [[2, 5, 3, 3], 1],
    ] as const) {
      const b = builder();
      const x = b.input('x', tensor('f32', shape));
      b.output('y', b.node(op, [x], { attrs: { axis } }));
      agrees(expand(b.finish()), { x: noise(product(shape)).map((v) => 8 * v) });
    }
  });

  it.each([[[6, 3]], [[4, 3, 5, 7]], [[2, 64, 8, 8]]])('batch normalisation %j, forward and backward', (shape) => {
    const b = builder();
    const type = tensor('f32', shape);
    const c = tensor('f32', [shape[1]]);
    const x = b.input('x', type);
    const dy = b.input('dy', type);
    const valid = b.input('valid', tensor('f32', [shape[0]]));
    const [gamma, beta] = ['gamma', 'beta'].map((n) => b.input(n, c));
    const attrs = { epsilon: 1e-5 };
    const [y, mean, variance] = b.multi('batch_norm', [x, gamma, beta, valid], { attrs });
    const a = b.node('relu', [y]);
    b.output('a', a);
    const mask = b.select(b.node('less', [b.fill(0), a]), dy, b.fill(0));
    const grads = b.multi('batch_norm_grad', [x, mask, gamma, mean, variance, valid], { attrs });
    grads.forEach((g, k) => {
      b.output(`g${k}`, g);
    });
    const n = product(shape);
    const { regions } = agrees(
      expand(b.finish()),
      {
        x: noise(n, 1),
        dy: noise(n, 2),
        gamma: noise(shape[1], 3),
        beta: noise(shape[1], 4),
        valid: Float64Array.from({ length: shape[0] }, (_, i) => (i === 1 ? 0 : 1)),
      },
      // The relu mask may flip where the normalised value is a rounding error away from zero; it does not for this data.
      1e-5,
    );
    const reductions = regions.filter((r) => r.anchor);
    // Two reductions over a tensor that is read once: both row sums of the backward pass.
    const rows = reductions.find((r) => r.parts && r.outputs.some((o: Value) => grads.some((g) => g.name === o.name)));
    if (shape.length === 4) expect(rows?.parts).toHaveLength(2);
  });
});
