/**
 * Which matrix the statistics are: with one example and one position they are the exact empirical Fisher block, against gradients
 * by finite differences; by drawn labels (1mc) their means are what all labels give together, each weighted by its probability.
 */
import { describe, expect, it } from 'vitest';
import { compile } from '../../compiler/compile.js';
import { evaluate } from '../../ir/evaluate.js';
import { SAMPLED } from '../../ir/fisher.js';
import type { Value } from '../../ir/graph.js';
import { type Shape, tensor } from '../../ir/types.js';
import { floats, node, onnxFile, valueInfo } from '../frontend/make-onnx.js';
import { type Compiled, initialState, mlp, N, type Net, noise, shared, window, withCurvature } from '../nets.js';
import { dense, difference, EXACT, expectPreconditioned, matrix, transposed } from './reference.js';

type State = Record<string, Float64Array>;
type Inputs = Record<string, ArrayLike<number>>;

const step = (c: Compiled, inputs: Inputs, state: State, due?: (guard: string) => boolean) =>
  evaluate(c.train, { damping: [0.03], ...inputs } as never, state, due);

/** x[N,2,3,4]: a convolution with bias whose window is the image but for one column, batch norm, dense. */
const positions = (columns: number): Net => ({
  forward: (b, parameter, training) => {
    const x = b.input('x', tensor('f32', [N, 2, 3, 2 + columns]));
    const conv = b.node('conv', [x, parameter('c', [3, 2, 3, 3])], { attrs: window(0) });
    const s = b.add(conv, b.reshape(parameter('c.bias', [3]), [1, 3, 1, 1]));
    const h = columns === 1 ? s : normalised(s);
    return b.matmul(b.reshape(b.node('tanh', [h]), [N, 3 * columns] as Shape), parameter('fc', [3 * columns, 3]));

    function normalised(v: Value): Value {
      const [gamma, beta] = [parameter('gamma', [3]), parameter('beta', [3])];
      const attrs = { epsilon: 1e-3 };
      if (training) return b.node('batch_norm', [v, gamma, beta, b.input('valid', tensor('f32', [N]))], { attrs });
      return b.node('batch_norm_inference', [v, gamma, beta, b.fill(0, [3]), b.fill(1, [3])], { attrs });
    }
  },
});

describe('of one example', () => {
  /** The gradient of the loss, which is -log p of the label, by central differences: good to 1e-9 in float64. */
  function gradient(c: Compiled, inputs: Inputs, state: State, name: string): number[] {
    const h = 1e-5;
    return Array.from(state[name], (_, i) => {
      const at = (d: number): number => {
        const moved = { ...state, [name]: state[name].map((v, j) => (j === i ? v + d : v)) };
        return step(c, inputs, moved).outputs.loss[0];
      };
      return (at(h) - at(-h)) / (2 * h);
    });
  }
  /** G kron A, for a gradient as [out][in]. */
  function block(G: number[][], A: number[][]): number[][] {
    return G.flatMap((gi) => A.map((ai) => gi.flatMap((g) => ai.map((a) => g * a))));
  }
  const outer = (g: number[]): number[][] => g.map((a) => g.map((b) => a * b));
  const DIFFERENCES = 1e-7;

  it.each([
    ['fully connected layers', mlp, 5, { w1: 'b1', w2: 'b2' }, ['w1']],
    ['a convolution with one position', positions(1), 18, { c: 'c.bias', fc: undefined }, ['fc']],
  ] as const)('the factors of %s are the exact block', (_, net, width, layers, inFirst) => {
    const c = withCurvature(net, 1);
    const state = initialState(c.module);
    const inputs = { x: noise(width, 4), target: [1], valid: [1] };
    const after = step(c, inputs, state).state;
    for (const [weight, bias] of Object.entries(layers)) {
      const size = (packed: ArrayLike<number>): number => Math.round((Math.sqrt(8 * packed.length + 1) - 1) / 2);
      const [A, G] = ['A', 'G'].map((f) => dense(after[`${weight}.${f}`], size(after[`${weight}.${f}`]), 0));
      const inputsOnly = A.length - (bias ? 1 : 0);
      const flat = gradient(c, inputs, state, weight);
      const rows = (inFirst as readonly string[]).includes(weight)
        ? transposed(matrix(flat, inputsOnly, G.length))
        : matrix(flat, G.length, inputsOnly);
      const ofBias = bias && gradient(c, inputs, state, bias);
      const g = rows.flatMap((row, o) => (ofBias ? [...row, ofBias[o]] : row));
      expect(difference(block(G, A).flat(), outer(g).flat()), weight).toBeLessThan(DIFFERENCES);
    }
  });

  it('the blocks of a batch normalisation are exact', () => {
    const c = withCurvature(positions(2), 1);
    const state = initialState(c.module);
    const inputs = { x: noise(24, 6), target: [2], valid: [1] };
    const after = step(c, inputs, state).state;
    const [g, b] = ['gamma', 'beta'].map((name) => gradient(c, inputs, state, name));
    const want = [g.map((v) => v * v), g.map((v, i) => v * b[i]), b.map((v) => v * v)];
    expect(difference(after['gamma.F'], want.flat())).toBeLessThan(DIFFERENCES);
  });
});

describe('by drawn labels', () => {
  const nets: readonly (readonly [string, Net, number, number])[] = [
    ['fully connected layers', mlp, 5, 3],
    ['a convolution behind a batch normalisation', positions(2), 24, 3],
    ['a layer shared over positions', shared, 12, 2],
  ];

  /** All assignments of labels to three examples. */
  const assignments = (classes: number): number[][] =>
    Array.from({ length: classes ** 3 }, (_, i) =>
      [i, i / classes, i / classes ** 2].map((v) => Math.floor(v) % classes),
    );

  it.each(nets)('the means of G and of blocks of %s are those over all labels', (_, net, width, classes) => {
    const [sampled, empirical] = [{ fisher: '1mc' } as const, {}].map((o) => withCurvature(net, 4, o));
    const state = initialState(sampled.module);
    // The last row is padding.
    const data = { x: noise(4 * width, 9), valid: [1, 1, 1, 0] };
    const labels = (y: number[]) => ({ ...data, target: [...y, 0] });
    const first = step(empirical, labels([0, 0, 0]), state);
    const logits = matrix(first.values.get(logitsOf(empirical))!, 4, classes);
    const p = logits.map((row) => row.map((v) => Math.exp(v) / row.reduce((s, w) => s + Math.exp(w), 0)));

    const names = empirical.module.state.filter((s) => s.role === 'factor').map((s) => s.name);
    const wanted = new Map(names.map((n) => [n, new Float64Array(first.state[n].length)]));
    for (const y of assignments(classes)) {
      const weight = y.reduce((w, k, n) => w * p[n][k], 1);
      const { state: s } = step(empirical, labels(y), state);
      for (const [name, sum] of wanted) for (const [i, v] of s[name].entries()) sum[i] += weight * v;
    }

    const DRAWS = 1500;
    const sums = new Map(names.map((n) => [n, wanted.get(n)!.map(() => 0)]));
    const squares = new Map(names.map((n) => [n, wanted.get(n)!.map(() => 0)]));
    for (let draw = 0; draw < DRAWS; draw++) {
      const { state: s } = step(sampled, { ...labels([0, 1, 1]), rng: [3, draw, 0] }, state);
      for (const name of names)
        s[name].forEach((v, i) => {
          sums.get(name)![i] += v / DRAWS;
          squares.get(name)![i] += v ** 2 / DRAWS;
        });
    }
    for (const name of names) {
      const want = wanted.get(name)!;
      if (name.endsWith('.A')) expect(difference(sums.get(name)!, want), name).toBeLessThan(EXACT);
      const largest = Math.max(...want.map(Math.abs));
      want.forEach((w, i) => {
        const mean = sums.get(name)![i];
        const deviation = Math.sqrt(Math.max(0, squares.get(name)![i] - mean ** 2) / DRAWS);
        // Five standard errors of the mean; the rest is rounding, where nothing varies.
        expect(Math.abs(mean - w), `${name}[${i}]`).toBeLessThan(5 * deviation + 1e-9 * largest);
      });
    }
  });

  const logitsOf = (c: Compiled): string => c.train.nodes.find((n) => n.op === 'log_softmax')!.operands[0].name;

  it('precondition the gradient for the training labels', () => {
    const [c, plain] = [{ fisher: '1mc' } as const, {}].map((o) => withCurvature(mlp, 4, o));
    const state = initialState(c.module);
    const inputs = { x: noise(20, 2), target: [0, 2, 1, 1], valid: [1, 1, 1, 1], rng: [3, 7, 0] };
    const [got, other] = [step(c, inputs, state), step(plain, inputs, state)];
    for (const o of ['loss', 'correct', 'gradient(w1)', 'gradient(b2)'])
      expect(difference(got.outputs[o], other.outputs[o]), o).toBeLessThan(EXACT);
    expect(difference(got.state['w2.G'], other.state['w2.G'])).toBeGreaterThan(1e-3);
    const join = (kind: string): number[][] =>
      matrix(got.outputs[`${kind}(w2)`], 3, 4).map((row, i) => [...row, got.outputs[`${kind}(b2)`][i]]);
    expectPreconditioned(join('natural'), join('gradient'), got.state['w2.A'], got.state['w2.G'], 0.03);
    // What is drawn depends on the step, and on nothing else.
    expect(step(c, inputs, state).state['w1.G']).toEqual(got.state['w1.G']);
    expect(step(c, { ...inputs, rng: [3, 8, 0] }, state).state['w1.G']).not.toEqual(got.state['w1.G']);
  });

  it('take the second backward pass only in steps in which a statistic needs it', () => {
    const c = withCurvature(mlp, 4, { fisher: '1mc' });
    const inputs = { x: noise(20, 2), target: [0, 2, 1, 1], valid: [1, 1, 1, 1], rng: [3, 7, 0] };
    const only = (guard: string) => step(c, inputs, initialState(c.module), (g) => g === guard);
    expect(only('due(w1.A)').values.has('drawn')).toBe(false);
    expect(only(SAMPLED).values.has('drawn')).toBe(true);
    const second = c.train.nodes.filter((n) => n.guard === SAMPLED).length;
    expect(second).toBeGreaterThan(10);
    expect(c.train.outputs.map((o) => o.name).filter((n) => n.startsWith(SAMPLED))).toEqual([]);
  });

  it('of a mean squared error are those of the normal distribution whose negative log likelihood it is', () => {
    const WIDTH = 4;
    const linear: Net = {
      forward: (b, parameter) => b.matmul(b.input('x', tensor('f32', [N, 3])), parameter('w', [3, WIDTH])),
    };
    const c = withCurvature(linear, 2, { loss: 'mean-squared-error', fisher: '1mc' });
    const inputs = { x: noise(6, 1), target: noise(2 * WIDTH, 3), valid: [1, 1] };
    const DRAWS = 2000;
    const mean = dense(new Float64Array(10), WIDTH, 0);
    for (let draw = 0; draw < DRAWS; draw++) {
      const G = dense(step(c, { ...inputs, rng: [3, draw, 0] }, initialState(c.module)).state['w.G'], WIDTH, 0);
      for (const [i, row] of G.entries()) for (const [j, v] of row.entries()) mean[i][j] += v / DRAWS;
    }
    // The Hessian of (1/E) sum (y - t)^2 is 2/E on the diagonal: without variance, since signs square to one.
    for (const [i, row] of mean.entries())
      for (const [j, v] of row.entries())
        if (i === j) expect(v).toBeCloseTo(2 / WIDTH, 10);
        // Each sum of two products of signs, times 1/E, has standard deviation (2/E)/sqrt(2): five standard errors.
        else expect(Math.abs(v)).toBeLessThan((5 * (2 / WIDTH)) / Math.sqrt(2 * DRAWS));
  });

  it('are refused where the model computes its own loss', () => {
    const model = onnxFile({
      inputs: [valueInfo('x', ['N', 2])],
      initializers: [floats('w', [2, 2], [1, 2, 3, 4])],
      nodes: [node('MatMul', ['x', 'w'], ['h']), node('ReduceMean', ['h'], ['y'], { keepdims: 0 })],
    });
    expect(() => compile(model, 'm.onnx', { fisher: '1mc' })).toThrow(/draws labels from the model/);
    expect(() => compile(model, 'm.onnx', { fisher: '1mc', optimizer: 'sgd' })).not.toThrow();
  });
});
