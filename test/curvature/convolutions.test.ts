/**
 * Convolutions with groups, dilation, strides and uneven padding: factors and natural gradients against their definitions, group
 * by group, with the convolution, its patches and the gradient of the loss written out here (SP-NGD eq 10-12). A grouped
 * convolution is also compared with the convolutions that it stands for, and with a fully connected layer where it is one.
 */
import { describe, expect, it } from 'vitest';
import { differentiate } from '../../compiler/autodiff/differentiate.js';
import { insertCurvature } from '../../compiler/curvature/insert-curvature.js';
import { importOnnx } from '../../compiler/frontend/onnx/import.js';
import { attachLoss } from '../../compiler/passes/attach-loss.js';
import { bindBatch } from '../../compiler/passes/bind-batch.js';
import { type Evaluation, evaluate } from '../../ir/evaluate.js';
import { findFunction, type Module } from '../../ir/graph.js';
import { parseModule, printModule } from '../../ir/text/spn.js';
import { product, type Shape, storedCount, tensor } from '../../ir/types.js';
import { floats, node, onnxFile, valueInfo } from '../frontend/make-onnx.js';
import { conv, type Geometry, patches, type Shape4 } from '../ir/ops/naive.js';
import { N, type Net, noise, withCurvature } from '../nets.js';
import { difference, EXACT, expectPreconditioned, lossGradients, matrix, moment } from './reference.js';

const LAMBDA = 0.03;
const CLASSES = 3;
const labels = [0, 2, 1, 0];
const valid = [1, 1, 0, 1];

interface Case extends Geometry {
  /** [C, H, W] */
  readonly x: readonly [number, number, number];
  readonly outputs: number;
  readonly kernel: readonly [number, number];
  readonly groups: number;
  readonly bias: boolean;
}

const cases: Record<string, Case> = {
  'one group, dilated': {
    ...{ x: [2, 7, 6], outputs: 3, kernel: [3, 2], groups: 1, bias: true },
    ...{ strides: [1, 1], pads: [2, 0, 1, 1], dilations: [2, 3] },
  },
  'two groups, strided': {
    ...{ x: [4, 6, 5], outputs: 6, kernel: [3, 3], groups: 2, bias: true },
    ...{ strides: [2, 1], pads: [1, 1, 1, 1], dilations: [1, 1] },
  },
  'three groups, dilated and strided': {
    ...{ x: [6, 7, 9], outputs: 3, kernel: [2, 3], groups: 3, bias: false },
    ...{ strides: [2, 3], pads: [0, 2, 1, 3], dilations: [3, 2] },
  },
  depthwise: {
    ...{ x: [5, 6, 7], outputs: 5, kernel: [3, 3], groups: 5, bias: true },
    ...{ strides: [2, 2], pads: [1, 1, 1, 1], dilations: [1, 1] },
  },
  'depthwise, dilated, without bias': {
    ...{ x: [3, 7, 7], outputs: 3, kernel: [3, 3], groups: 3, bias: false },
    ...{ strides: [1, 1], pads: [2, 2, 2, 2], dilations: [2, 2] },
  },
  'depthwise with two outputs of each channel': {
    ...{ x: [3, 5, 5], outputs: 6, kernel: [3, 1], groups: 3, bias: true },
    ...{ strides: [1, 2], pads: [1, 0, 0, 0], dilations: [2, 1] },
  },
  'groups of points': {
    ...{ x: [6, 3, 4], outputs: 4, kernel: [1, 1], groups: 2, bias: true },
    ...{ strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1] },
  },
};

const attrsOf = ({ strides, pads, dilations, groups }: Case) => ({ strides, pads, dilations, groups });
const weightShape = (c: Case): Shape4['shape'] => [c.outputs, c.x[0] / c.groups, ...c.kernel];

/** x -> convolution, bias -> tanh -> fully connected. */
function netOf(c: Case): Net {
  return {
    forward: (b, parameter) => {
      const x = b.input('x', tensor('f32', [N, ...c.x]));
      const s = b.node('conv', [x, parameter('w', [...weightShape(c)])], { attrs: attrsOf(c) });
      const biased = c.bias ? b.add(s, b.reshape(parameter('w.bias', [c.outputs]), [1, c.outputs, 1, 1])) : s;
      const size = product(s.type.shape.slice(1) as number[]);
      const flat = b.reshape(b.node('tanh', [biased]), [N, size] as Shape);
      return b.matmul(flat, parameter('out', [size, CLASSES]));
    },
  };
}

type Values = Record<string, Float64Array>;

/** Parameters at random, other state zero. */
function stateOf(module: Module, given: Values = {}): Values {
  return Object.fromEntries(
    module.state.map((s, i) => [
      s.name,
      given[s.name] ??
        (s.role === 'parameter' ? noise(storedCount(s.type), i + 1) : new Float64Array(storedCount(s.type))),
    ]),
  );
}

function run(module: Module, x: Float64Array, state: Values): Evaluation {
  const inputs = { x, target: labels, valid, damping: [LAMBDA] };
  return evaluate(findFunction(module, 'train'), inputs, state);
}

/** Factors and gradient of each group, from the definitions. */
function reference(c: Case, x: Shape4, state: Values) {
  const w: Shape4 = { shape: weightShape(c), data: [...state.w] };
  const s = conv(x, w, c, c.groups);
  const positions = s.shape[2] * s.shape[3];
  const size = c.outputs * positions;
  const bias = (i: number): number => (c.bias ? state['w.bias'][Math.floor(i / positions) % c.outputs] : 0);
  const h = matrix(
    s.data.map((v, i) => Math.tanh(v + bias(i))),
    valid.length,
    size,
  );
  const out = matrix(state.out, size, CLASSES);
  const logits = h.map((row) => out[0].map((_, k) => row.reduce((sum, v, j) => sum + v * out[j][k], 0)));
  const top = lossGradients(logits, labels);
  const g = h.map((row, n) => row.map((v, j) => (1 - v * v) * top[n].reduce((sum, t, k) => sum + t * out[j][k], 0)));
  const examples = valid.flatMap((v, n) => (v ? [n] : []));
  const [cg, og] = [c.x[0] / c.groups, c.outputs / c.groups];
  return Array.from({ length: c.groups }, (_, group) => {
    const pairs = examples.flatMap((n) =>
      patches(x, n, group * cg, cg, c.kernel, c).map((patch, p) => ({
        a: c.bias ? [...patch, 1] : patch,
        g: Array.from({ length: og }, (_, k) => g[n][(group * og + k) * positions + p]),
      })),
    );
    const gradient = Array.from({ length: og }, (_, k) =>
      pairs[0].a.map((_, i) => pairs.reduce((sum, p) => sum + p.g[k] * p.a[i], 0) / examples.length),
    );
    return {
      A: moment(
        pairs.map((p) => p.a),
        examples.length * positions,
      ),
      G: moment(
        pairs.map((p) => p.g),
        examples.length,
      ),
      gradient,
    };
  });
}

const inputOf = (c: Case): Shape4 => {
  const shape = [valid.length, ...c.x] as const;
  return { shape, data: [...noise(product(shape), 11)] };
};

/** Group `j` of a tensor that has the groups first. */
const part = (all: Float64Array, j: number, groups: number): Float64Array =>
  all.slice((j * all.length) / groups, ((j + 1) * all.length) / groups);

describe.each(Object.entries(cases))('%s', (_, c) => {
  const { module } = withCurvature(netOf(c), valid.length);
  const state = stateOf(module);
  const x = inputOf(c);
  const { outputs, state: after } = run(module, Float64Array.from(x.data), state);

  it('has the factors and the natural gradient of each group', () => {
    reference(c, x, state).forEach(({ A, G, gradient }, j) => {
      expect(difference(part(after['w.A'], j, c.groups), A)).toBeLessThan(EXACT);
      expect(difference(part(after['w.G'], j, c.groups), G)).toBeLessThan(EXACT);
      const columns = gradient[0].length - (c.bias ? 1 : 0);
      const joined = (kind: string) => {
        const bias = c.bias ? part(outputs[`${kind}(w.bias)`], j, c.groups) : undefined;
        return matrix(part(outputs[`${kind}(w)`], j, c.groups), gradient.length, columns).map((row, k) =>
          bias ? [...row, bias[k]] : row,
        );
      };
      expect(difference(joined('gradient').flat(), gradient.flat())).toBeLessThan(EXACT);
      expectPreconditioned(joined('natural'), gradient, A, G, LAMBDA);
    });
    expect(outputs.failed_inversions[0]).toBe(0);
  });

  it('is what separate convolutions of its groups are together', () => {
    const [cg, og] = [c.x[0] / c.groups, c.outputs / c.groups];
    const groups = Array.from({ length: c.groups }, (_, j) => j);
    const apart: Net = {
      forward: (b, parameter) => {
        const image = b.input('x', tensor('f32', [N, ...c.x]));
        const each = groups.map((j) => {
          const slice = b.sliceAxis(image, 1, j * cg, (j + 1) * cg);
          const w = parameter(`w${j}`, [og, cg, ...c.kernel]);
          const y = b.node('conv', [slice, w], { attrs: { ...attrsOf(c), groups: 1 } });
          return c.bias ? b.add(y, b.reshape(parameter(`w${j}.bias`, [og]), [1, og, 1, 1])) : y;
        });
        const s = b.node('concat', each, { attrs: { axis: 1 } });
        const size = product(s.type.shape.slice(1) as number[]);
        const flat = b.reshape(b.node('tanh', [s]), [N, size] as Shape);
        return b.matmul(flat, parameter('out', [size, CLASSES]));
      },
    };
    const separate = withCurvature(apart, valid.length).module;
    const given = Object.fromEntries(
      groups.flatMap((j) => [
        [`w${j}`, part(state.w, j, c.groups)],
        ...(c.bias ? [[`w${j}.bias`, part(state['w.bias'], j, c.groups)]] : []),
      ]),
    );
    const got = run(separate, Float64Array.from(x.data), stateOf(separate, { ...given, out: state.out }));
    expect(got.outputs.loss[0]).toBeCloseTo(outputs.loss[0], 13);
    for (const j of groups) {
      for (const s of ['A', 'G', 'A.inverse', 'G.inverse'])
        expect(difference(part(after[`w.${s}`], j, c.groups), got.state[`w${j}.${s}`]), s).toBeLessThan(1e-10);
      for (const p of c.bias ? ['', '.bias'] : [''])
        expect(
          difference(part(outputs[`natural(w${p})`], j, c.groups), got.outputs[`natural(w${j}${p})`]),
        ).toBeLessThan(1e-10);
    }
  });

  it('is named with its groups, and survives the text form', () => {
    const report = module.parameters.find((p) => p.name === 'w')!;
    const inputs = (c.x[0] / c.groups) * product(c.kernel) + (c.bias ? 1 : 0);
    const size = `A ${inputs}, G ${c.outputs / c.groups}${c.groups > 1 ? ` for each of ${c.groups} groups` : ''}`;
    expect(report).toMatchObject({ rule: 'kfac-conv', why: c.bias ? `${size}; with w.bias as a column` : size });
    const text = printModule(module);
    expect(printModule(parseModule(text))).toBe(text);
  });
});

describe('one group', () => {
  /** 1 x 1 kernels on 1 x 1 images, and kernels that see the whole image once, are fully connected layers. */
  it.each([
    [7, [1, 1]],
    [2, [3, 4]],
  ] as const)('of %i channels, kernel %j, is a fully connected layer', (channels, [kh, kw]) => {
    const whole: Case = {
      ...{ x: [channels, kh, kw], outputs: 5, kernel: [kh, kw], groups: 1, bias: true },
      ...{ strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1] },
    };
    const inputs = channels * kh * kw;
    const dense: Net = {
      forward: (b, parameter) => {
        const x = b.input('x', tensor('f32', [N, inputs]));
        const s = b.matmul(x, parameter('w', [5, inputs]), false, true);
        const h = b.node('tanh', [b.add(s, parameter('w.bias', [5]))]);
        return b.matmul(h, parameter('out', [5, CLASSES]));
      },
    };
    const [a, b] = [netOf(whole), dense].map((net) => {
      const { module } = withCurvature(net, valid.length);
      return run(module, noise(valid.length * inputs, 5), stateOf(module));
    });
    for (const s of ['w.A', 'w.G', 'out.A', 'out.G']) expect(difference(a.state[s], b.state[s]), s).toBeLessThan(EXACT);
    for (const o of ['natural(w)', 'natural(w.bias)', 'natural(out)'])
      expect(difference(a.outputs[o], b.outputs[o]), o).toBeLessThan(1e-10);
  });
});

describe('of rows', () => {
  it('grouped and dilated, are images of height one', () => {
    const c: Case = {
      ...{ x: [4, 1, 9], outputs: 6, kernel: [1, 3], groups: 2, bias: true },
      ...{ strides: [1, 2], pads: [0, 1, 0, 2], dilations: [1, 2] },
    };
    const positions = 4;
    const bytes = onnxFile({
      inputs: [valueInfo('x', ['N', 4, 9])],
      initializers: [
        floats('w', [6, 2, 3], [...noise(36, 1)]),
        floats('w.bias', [6], [...noise(6, 2)]),
        floats('out', [6 * positions, CLASSES], [...noise(6 * positions * CLASSES, 3)]),
      ],
      nodes: [
        node('Conv', ['x', 'w', 'w.bias'], ['s'], { group: 2, dilations: [2], strides: [2], pads: [1, 2] }),
        node('Tanh', ['s'], ['h']),
        node('Flatten', ['h'], ['flat']),
        node('MatMul', ['flat', 'out'], ['y']),
      ],
    });
    const imported = importOnnx(bytes, { fileName: 'rows.onnx', seed: 0 }).module;
    const size = { train: valid.length, eval: valid.length };
    const module = insertCurvature(differentiate(bindBatch(attachLoss(imported).module, size)));
    const weights = Object.fromEntries([...module.weights].map(([k, v]) => [k, Float64Array.from(v.data, Number)]));
    const x = inputOf(c);
    const state = stateOf(module, weights);
    const { outputs, state: after } = run(module, Float64Array.from(x.data), state);
    reference(c, x, state).forEach(({ A, G, gradient }, j) => {
      expect(difference(part(after['w.A'], j, 2), A)).toBeLessThan(EXACT);
      expect(difference(part(after['w.G'], j, 2), G)).toBeLessThan(EXACT);
      const bias = part(outputs['natural(w.bias)'], j, 2);
      const u = matrix(part(outputs['natural(w)'], j, 2), 3, 6).map((row, k) => [...row, bias[k]]);
      expectPreconditioned(u, gradient, A, G, LAMBDA);
    });
  });
});

describe('transposed', () => {
  it('are trained by plain gradient, and named', () => {
    const net: Net = {
      forward: (b, parameter) => {
        const x = b.input('x', tensor('f32', [N, 3, 4, 4]));
        const attrs = { strides: [2, 2], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1, height: 8, width: 8 };
        const up = b.node('conv_input_grad', [x, parameter('up', [3, 2, 4, 4])], { attrs });
        const s = b.add(up, b.reshape(parameter('up.bias', [2]), [1, 2, 1, 1]));
        return b.matmul(b.reshape(b.node('tanh', [s]), [N, 128]), parameter('out', [128, CLASSES]));
      },
    };
    const { module, train } = withCurvature(net, 2);
    expect(module.parameters.map((p) => [p.name, p.rule, p.why])).toEqual([
      ['up', 'plain', 'the weight of a transposed convolution, for which there is no rule'],
      ['up.bias', 'plain', 'it is a bias or a scale of no layer that is preconditioned'],
      ['out', 'kfac-dense', 'A 128, G 3'],
    ]);
    expect(train.outputs.map((o) => o.name)).not.toContain('natural(up)');
  });
});

describe('a group that cannot be inverted', () => {
  it('keeps its own inverse and is counted, while the others go on', () => {
    const { module } = withCurvature(netOf(cases.depthwise), valid.length);
    const x = inputOf(cases.depthwise);
    const first = run(module, Float64Array.from(x.data), stateOf(module));
    // Channel 2 of example 0.
    const spoiled = Float64Array.from(x.data, (v, i) => (Math.floor(i / 42) === 2 ? Number.NaN : v));
    const second = run(module, spoiled, first.state);
    const groups = [0, 1, 2, 3, 4];
    const of = (e: Evaluation, j: number) => part(e.state['w.A.inverse'], j, 5);
    expect(of(second, 2)).toEqual(of(first, 2));
    expect([...second.state['w.A.failures']]).toEqual([0, 0, 6, 0, 0]);
    for (const j of groups.filter((j) => j !== 2)) expect(of(second, j).every(Number.isFinite)).toBe(true);
  });
});
