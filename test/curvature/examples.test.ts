/**
 * Where the examples of a value lie, and what is made of it: layers shared over positions whatever the order of positions and
 * examples, and the 2x2 blocks of scales and shifts, against per-example gradients from runs with one example each.
 */
import { describe, expect, it } from 'vitest';
import { findExamples, type Place } from '../../compiler/curvature/examples.js';
import { Builder } from '../../ir/builder.js';
import { evaluate } from '../../ir/evaluate.js';
import type { Value } from '../../ir/graph.js';
import { product, type Shape, tensor } from '../../ir/types.js';
import { type Compiled, differentiated, initialState, loc, N, type Net, noise, withCurvature } from '../nets.js';
import { difference, EXACT, moment } from './reference.js';

const LAMBDA = 0.03;

describe('the place of the examples', () => {
  const T = 3;
  const examples = 4;
  type Build = (b: Builder, x: Value) => Value;
  const place = (build: Build, shape: readonly number[] = [examples, T, 6]): Place | undefined => {
    const b = new Builder('f', loc);
    b.output('y', build(b, b.input('x', tensor('f32', shape))));
    return findExamples(b, examples)(b.outputs[0].value);
  };
  const state = (b: Builder, shape: number[]) => b.read('w', tensor('f32', shape));
  const attrs = { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 };
  const pool = { kernel: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1], height: 4, width: 4 };

  const found: Record<string, [Build, Place, number[]?]> = {
    'of an input is its first axis': [(_, x) => x, { axis: 0, inner: 1 }],
    'folds with positions behind it': [(b, x) => b.reshape(x, [examples * T, 6]), { axis: 0, inner: T }],
    'moves in a transpose': [(b, x) => b.transpose(x, [1, 0, 2]), { axis: 1, inner: 1 }],
    'folds with positions before it': [
      (b, x) => b.reshape(b.transpose(x, [1, 0, 2]), [T * examples, 6]),
      { axis: 0, inner: 1 },
    ],
    // Attention: [T, N, heads * d] -> [T, N * heads, d] -> [N * heads, T, d].
    'folds with heads': [
      (b, x) => b.transpose(b.reshape(b.transpose(x, [1, 0, 2]), [T, examples * 2, 3]), [1, 0, 2]),
      { axis: 0, inner: 2 },
    ],
    'comes back from heads': [
      (b, x) => {
        const heads = b.transpose(b.reshape(b.transpose(x, [1, 0, 2]), [T, examples * 2, 3]), [1, 0, 2]);
        const scores = b.matmul(heads, heads, false, true);
        return b.reshape(b.transpose(b.matmul(scores, heads), [1, 0, 2]), [T * examples, 6]);
      },
      { axis: 0, inner: 1 },
    ],
    'survives what is the same for all': [
      (b, x) => b.add(b.transpose(x, [1, 0, 2]), state(b, [T, 1, 6])),
      { axis: 1, inner: 1 },
    ],
    'aligns as broadcasting does': [
      (b, x) => b.mul(b.read('w', tensor('f32', [5, 1, 1, 1])), x),
      { axis: 1, inner: 1 },
    ],
    'stands beside a token': [
      (b, x) => b.node('concat', [b.broadcast(state(b, [1, 1, 6]), [examples, 1, 6]), x], { attrs: { axis: 1 } }),
      { axis: 0, inner: 1 },
    ],
    'closes up behind a sum': [(b, x) => b.sum(b.transpose(x, [1, 0, 2]), [0]), { axis: 0, inner: 1 }],
    'stays beside a kept axis': [(b, x) => b.sum(b.transpose(x, [1, 0, 2]), [0], true), { axis: 1, inner: 1 }],
    'is that of looked-up rows': [
      (b, x) => b.node('gather', [state(b, [9, 5]), b.cast(b.sum(x, [2]), 'i32')], { attrs: { axis: 0 } }),
      { axis: 0, inner: 1 },
    ],
    'is left by an index': [
      (b, x) => {
        const first = b.fill(0, [], 'i32');
        return b.node('gather', [b.transpose(x, [1, 0, 2]), first], { attrs: { axis: 0 } });
      },
      { axis: 0, inner: 1 },
    ],
    'is kept by rows times a matrix': [
      (b, x) => b.matmul(state(b, [2, 6]), b.reshape(x, [examples * T, 6]), false, true),
      { axis: 1, inner: T },
    ],
    'goes through a softmax': [(b, x) => b.node('softmax', [x], { attrs: { axis: 2 } }), { axis: 0, inner: 1 }],
    'goes through convolution and pooling': [
      (b, x) => {
        const y = b.node('conv', [x, state(b, [3, 2, 3, 3])], { attrs });
        return b.node('max_pool', [y], { attrs: { ...pool, dilations: [1, 1] } });
      },
      { axis: 0, inner: 1 },
      [examples, 2, 4, 4],
    ],
  };
  it.each(Object.entries(found))('%s', (_, [build, want, shape]) => {
    expect(place(build, shape)).toEqual(want);
  });

  const lost: Record<string, [Build, number[]?]> = {
    'in what has no examples': [(b) => state(b, [examples, 6])],
    'in a sum over them': [(b, x) => b.sum(x, [0])],
    'in a softmax over them': [(b, x) => b.node('softmax', [x], { attrs: { axis: 0 } })],
    'in a part of them': [(b, x) => b.sliceAxis(x, 0, 0, 2)],
    'in them and more': [
      (b, x) => b.node('concat', [x, b.read('w', tensor('f32', [1, T, 6]))], { attrs: { axis: 0 } }),
    ],
    'in a product of one with another': [
      (b, x) => {
        const rows = b.reshape(x, [examples, T * 6]);
        return b.matmul(rows, rows, false, true);
      },
    ],
    // [T, N] + [N, T] for T = N: sizes agree, examples do not.
    'in what puts one beside another': [(b, x) => b.add(x, b.transpose(x, [1, 0])), [examples, examples]],
    'in a table of their own': [
      (b, x) => b.node('scatter_add', [b.cast(b.sum(x, [1, 2]), 'i32'), x], { attrs: { axis: 0, size: 9 } }),
    ],
    'in a window over them': [
      (b, x) => b.node('max_pool', [b.transpose(x, [1, 2, 0, 3])], { attrs: { ...pool, dilations: [1, 1] } }),
      [examples, 2, 3, 4],
    ],
    'split over two axes': [(b, x) => b.reshape(x, [2, 2 * T, 6])],
  };
  it.each(Object.entries(lost))('is lost %s', (_, [build, shape]) => {
    expect(place(build, shape)).toBeUndefined();
  });
});

const labels = [1, 0, 1, 1];
const valid = [1, 1, 0, 1];

function run(c: Compiled, x: Float64Array, n: readonly number[], weights = initialState(c.module)) {
  const pick = (list: readonly number[]) => n.map((i) => list[i]);
  const size = x.length / valid.length;
  const data = n.flatMap((i) => [...x.slice(i * size, (i + 1) * size)]);
  const inputs = { x: data, target: pick(labels), valid: pick(valid), damping: [LAMBDA] };
  const known = new Set(c.train.inputs.map((v) => v.name));
  const given = Object.fromEntries(Object.entries(inputs).filter(([name]) => known.has(name)));
  return evaluate(c.train, given as never, weights);
}

const all = [0, 1, 2, 3];

describe('a layer shared over positions', () => {
  /** tanh(x w + bias) at each position, then the sum over positions. */
  const net = (positions: number, positionsFirst: boolean): Net => ({
    forward: (b, parameter) => {
      const data = b.input('x', tensor('f32', [N, positions, 3]));
      const x = positionsFirst ? b.transpose(data, [1, 0, 2]) : data;
      const s = b.add(b.matmul(x, parameter('w', [3, 5])), parameter('bias', [5]), 's1');
      const pooled = b.sum(b.node('tanh', [s]), [positionsFirst ? 0 : 1]);
      return b.matmul(pooled, parameter('out', [5, 2]), false, false, 'y');
    },
  });

  // As many positions as examples, too: sizes do not tell them apart.
  it.each([1, 3, 4])('has the same factors whether %i positions or the examples come first', (positions) => {
    const x = noise(valid.length * positions * 3, 5);
    const [first, last] = [true, false].map((order) => run(withCurvature(net(positions, order), 4), x, all));
    for (const s of ['w.A', 'w.G', 'w.A.inverse', 'out.A'])
      expect(difference(first.state[s], last.state[s]), s).toBeLessThan(EXACT);
    for (const o of ['natural(w)', 'natural(bias)'])
      expect(difference(first.outputs[o], last.outputs[o]), o).toBeLessThan(1e-10);
    // A by its definition: the mean over valid examples and positions.
    const rows = [0, 1, 3].flatMap((n) =>
      Array.from({ length: positions }, (_, t) => [
        ...x.slice((n * positions + t) * 3, (n * positions + t + 1) * 3),
        1,
      ]),
    );
    expect(difference(first.state['w.A'], moment(rows, 3 * positions))).toBeLessThan(EXACT);
  });

  it('is plain where rows mix examples', () => {
    const mixed: Net = {
      forward: (b, parameter) => {
        const x = b.input('x', tensor('f32', [N, 3]));
        // Every example sees a softmax over all.
        const shares = b.mul(x, b.node('softmax', [x], { attrs: { axis: 0 } }));
        return b.matmul(shares, parameter('w', [3, 2]));
      },
    };
    expect(withCurvature(mixed, 4).module.parameters[0]).toMatchObject({
      rule: 'plain',
      why: 'which rows of its input belong to which example is not known',
    });
  });

  it('of a batch of one example is recognised', () => {
    for (const first of [true, false]) {
      const { module } = withCurvature(net(3, first), 1);
      expect(module.parameters.map((p) => p.rule)).toEqual(['kfac-dense', 'kfac-dense', 'kfac-dense']);
    }
  });
});

describe('scales and shifts', () => {
  /** (x - mean) / sqrt(variance + epsilon) over the axes. */
  const standardized = (b: Builder, x: Value, axes: number[]): Value => {
    const count = product(axes.map((a) => x.type.shape[a] as number));
    const mean = (v: Value) => b.mul(b.sum(v, axes, true), b.fill(1 / count));
    const centred = b.sub(x, mean(x));
    return b.div(centred, b.sqrt(b.add(mean(b.mul(centred, centred)), b.fill(1e-3))));
  };
  const head = (b: Builder, parameter: Parameters<Net['forward']>[1], y: Value, perExample: readonly number[]) => {
    const size = product(perExample);
    const flat = b.reshape(b.node('tanh', [y]), [N, size] as Shape);
    return b.matmul(flat, parameter('out', [size, 2]));
  };
  const at = (v: Value, shape: Shape) => (b: Builder) => b.reshape(v, shape);

  const nets: Record<string, { shape: readonly number[]; net: Net }> = {
    'layer normalisation': {
      shape: [4, 3],
      net: {
        forward: (b, parameter) => {
          const x = b.input('x', tensor('f32', [N, 4, 3]));
          const y = b.mul(standardized(b, x, [2]), parameter('gamma', [3]));
          return head(b, parameter, b.add(y, parameter('beta', [3])), [4, 3]);
        },
      },
    },
    'layer normalisation, positions first': {
      shape: [4, 3],
      net: {
        forward: (b, parameter) => {
          const x = b.transpose(b.input('x', tensor('f32', [N, 4, 3])), [1, 0, 2]);
          const y = b.mul(standardized(b, x, [2]), parameter('gamma', [3]));
          return head(b, parameter, b.transpose(b.add(y, parameter('beta', [3])), [1, 0, 2]), [4, 3]);
        },
      },
    },
    'layer normalisation of rows': {
      shape: [2, 3],
      net: {
        forward: (b, parameter) => {
          const x = b.transpose(b.input('x', tensor('f32', [N, 2, 3])), [1, 0, 2]);
          const rows = b.reshape(x, [{ symbol: 'N', factor: 2 }, 3]);
          const y = b.mul(standardized(b, rows, [1]), parameter('gamma', [3]));
          const back = b.reshape(b.add(y, parameter('beta', [3])), [2, N, 3]);
          return head(b, parameter, b.transpose(back, [1, 0, 2]), [2, 3]);
        },
      },
    },
    'layer normalisation over two axes': {
      shape: [2, 3],
      net: {
        forward: (b, parameter) => {
          const x = b.input('x', tensor('f32', [N, 2, 3]));
          const y = b.mul(standardized(b, x, [1, 2]), parameter('gamma', [2, 3]));
          return head(b, parameter, b.add(y, parameter('beta', [2, 3])), [2, 3]);
        },
      },
    },
    'group normalisation': {
      shape: [4, 2, 3],
      net: {
        forward: (b, parameter) => {
          const x = b.input('x', tensor('f32', [N, 4, 2, 3]));
          const groups = standardized(b, b.reshape(x, [N, 2, 12]), [2]);
          const perChannel = (name: string) => at(parameter(name, [4]), [1, 4, 1, 1])(b);
          const y = b.mul(b.reshape(groups, [N, 4, 2, 3]), perChannel('gamma'));
          return head(b, parameter, b.add(y, perChannel('beta')), [4, 2, 3]);
        },
      },
    },
    'channels before examples': {
      shape: [3],
      net: {
        forward: (b, parameter) => {
          const x = b.transpose(b.input('x', tensor('f32', [N, 3])), [1, 0]);
          const column = (name: string) => at(parameter(name, [3]), [3, 1])(b);
          const y = b.add(b.mul(standardized(b, x, [0]), column('gamma')), column('beta'));
          return head(b, parameter, b.transpose(y, [1, 0]), [3]);
        },
      },
    },
  };

  it.each(Object.entries(nets))('of %s have 2x2 blocks', (_, { shape, net }) => {
    const c = withCurvature(net, 4);
    const state = initialState(c.module);
    const x = noise(valid.length * product(shape), 21);
    const { outputs, state: after } = run(c, x, all, state);
    expect(c.module.parameters.map((p) => p.rule)).toEqual(['unit-affine', 'unit-affine', 'kfac-dense']);
    expect(c.module.parameters[0].why).toBe('2x2 blocks with beta');

    // Each example alone: its gradients are its own.
    const single = differentiated(net, 1);
    const each = [0, 1, 3].map((n) => run(single, x, [n], state).outputs);
    const units = state.gamma.length;
    for (let k = 0; k < units; k++) {
      const rows = each.map((o) => [o['gradient(gamma)'][k], o['gradient(beta)'][k]]);
      const [gg, gb, bb] = moment(rows, 3);
      const F = after['gamma.F'];
      expect(difference([F[k], F[units + k], F[2 * units + k]], [gg, gb, bb])).toBeLessThan(EXACT);
      const mean = [0, 1].map((i) => rows.reduce((s, r) => s + r[i], 0) / 3);
      expect(difference([outputs['gradient(gamma)'][k], outputs['gradient(beta)'][k]], mean)).toBeLessThan(EXACT);
      const u = [outputs['natural(gamma)'][k], outputs['natural(beta)'][k]];
      expect(difference([(gg + LAMBDA) * u[0] + gb * u[1], gb * u[0] + (bb + LAMBDA) * u[1]], mean)).toBeLessThan(
        1e-10,
      );
    }
  });

  it('of a batch of one example are recognised', () => {
    const { module } = withCurvature(nets['layer normalisation'].net, 1);
    expect(module.parameters.map((p) => p.rule)).toEqual(['unit-affine', 'unit-affine', 'kfac-dense']);
  });

  it('are plain where one of the two is missing, and say so', () => {
    const { net } = nets['layer normalisation'];
    const verdicts = (frozen: readonly string[]) =>
      withCurvature({ ...net, frozen }, 4).module.parameters.map((p) => [p.rule, p.why]);
    expect(verdicts(['beta'])[0]).toEqual(['plain', 'it is a scale without a shift that is trained']);
    expect(verdicts(['gamma'])[1][0]).toBe('plain');
  });
});
