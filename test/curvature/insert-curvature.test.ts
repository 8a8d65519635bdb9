/**
 * Factors against their definitions (SP-NGD eq 8-16), computed here example by example and position by position from
 * activations and output gradients; preconditioned gradients by multiplying them back with the damped factors. All in float64,
 * so only summation order differs: 1e-12 relative.
 */
import { describe, expect, it } from 'vitest';
import { evaluate } from '../../ir/evaluate.js';
import type { Module, Value } from '../../ir/graph.js';
import { tensor } from '../../ir/types.js';
import {
  type Compiled,
  convnet,
  initialState,
  mlp,
  N,
  type Net,
  noise,
  shared,
  window,
  withCurvature,
} from '../nets.js';
import { difference, EXACT, expectPreconditioned, lossGradients, matrix, moment, transposed } from './reference.js';

const LAMBDA = 0.03;
type State = Record<string, Float64Array>;

function run(c: Compiled, inputs: Record<string, ArrayLike<number>>, state?: State, due?: (g: string) => boolean) {
  const scalars = { damping: [LAMBDA] };
  return evaluate(c.train, { ...scalars, ...inputs } as never, state ?? initialState(c.module), due);
}

const labels = [0, 2, 1, 1, 0, 2];
const reportOf = (m: Module, name: string) => m.parameters.find((p) => p.name === name);

describe('fully connected layers', () => {
  const c = withCurvature(mlp, 6);
  const valid = [1, 1, 1, 1, 0, 0];
  const x = noise(30, 77);
  const { outputs, state, values } = run(c, { x, target: labels, valid });

  const g2 = lossGradients(matrix(values.get('s2')!, 6, 3).slice(0, 4), labels);
  const w2 = matrix(initialState(c.module).w2, 3, 4);
  const h = matrix(values.get('h1')!, 6, 4).slice(0, 4);
  const g1 = g2.map((g, n) => h[n].map((v, j) => (1 - v * v) * g.reduce((s, gk, k) => s + gk * w2[k][j], 0)));
  const a1 = matrix(x, 6, 5)
    .slice(0, 4)
    .map((r) => [...r, 1]);
  const a2 = h.map((r) => [...r, 1]);

  it('have A over inputs with a ones column and G over outputs, means over the valid examples', () => {
    expect(difference(state['w1.A'], moment(a1, 4))).toBeLessThan(EXACT);
    expect(difference(state['w1.G'], moment(g1, 4))).toBeLessThan(EXACT);
    expect(difference(state['w2.A'], moment(a2, 4))).toBeLessThan(EXACT);
    expect(difference(state['w2.G'], moment(g2, 4))).toBeLessThan(EXACT);
  });

  it('are preconditioned with their bias, whichever way the weight lies', () => {
    const join = (w: number[][], b: ArrayLike<number>) => w.map((row, i) => [...row, b[i]]);
    const at = (kind: string, w: string, b: string, read: (d: Float64Array) => number[][]) =>
      join(read(outputs[`${kind}(${w})`]), outputs[`${kind}(${b})`]);
    const first = (d: Float64Array) => transposed(matrix(d, 5, 4));
    const second = (d: Float64Array) => matrix(d, 3, 4);
    expectPreconditioned(
      at('natural', 'w1', 'b1', first),
      at('gradient', 'w1', 'b1', first),
      state['w1.A'],
      state['w1.G'],
      LAMBDA,
    );
    expectPreconditioned(
      at('natural', 'w2', 'b2', second),
      at('gradient', 'w2', 'b2', second),
      state['w2.A'],
      state['w2.G'],
      LAMBDA,
    );
    expect(reportOf(c.module, 'b2')).toMatchObject({ rule: 'kfac-dense', why: 'a column of w2' });
  });

  it('do not see padding rows: factors and natural gradients are those of the smaller batch', () => {
    const small = withCurvature(mlp, 4);
    const alone = run(small, { x: x.slice(0, 20), target: labels.slice(0, 4), valid: [1, 1, 1, 1] });
    for (const s of ['w1.A', 'w1.G', 'w2.A', 'w2.G']) expect(difference(state[s], alone.state[s])).toBeLessThan(EXACT);
    for (const o of ['natural(w1)', 'natural(b2)'])
      expect(difference(outputs[o], alone.outputs[o])).toBeLessThan(1e-10);
  });

  it('use what is stored while nothing is due', () => {
    const next = run(c, { x: noise(30, 5), target: labels, valid }, state, () => false);
    for (const s of Object.keys(state)) expect(next.state[s]).toEqual(state[s]);
    const onlyG = run(c, { x: noise(30, 5), target: labels, valid }, state, (g) => g === 'due(w1.G)');
    expect(onlyG.state['w1.A']).toEqual(state['w1.A']);
    expect(onlyG.state['w1.G']).not.toEqual(state['w1.G']);
    expect(onlyG.state['w1.G.inverse']).not.toEqual(state['w1.G.inverse']);
    expect(onlyG.state['w1.A.inverse']).toEqual(state['w1.A.inverse']);
  });

  it('shared over positions: A is their mean, G their sum (expand)', () => {
    const net = withCurvature(shared, 3);
    const data = noise(36, 8);
    const got = run(net, { x: data, target: [0, 1, 1], valid: [1, 0, 1] });
    const w = matrix(initialState(net.module).w, 3, 5);
    const out = matrix(initialState(net.module).out, 5, 2);
    const logits = matrix(got.values.get('y')!, 3, 2);
    const [as, gs]: [number[][], number[][]] = [[], []];
    for (const n of [0, 2]) {
      const p = 1 / (1 + Math.exp(logits[n][0] - logits[n][1]));
      const g = [1 - p, p].map((v, k) => v - ([0, 1, 1][n] === k ? 1 : 0));
      for (let t = 0; t < 4; t++) {
        const a = [...data.slice((n * 4 + t) * 3, (n * 4 + t + 1) * 3)];
        as.push([...a, 1]);
        gs.push(
          w[0].map((_, j) => {
            const s = a.reduce((sum, v, i) => sum + v * w[i][j], initialState(net.module).bias[j]);
            return (1 - Math.tanh(s) ** 2) * (g[0] * out[j][0] + g[1] * out[j][1]);
          }),
        );
      }
    }
    expect(difference(got.state['w.A'], moment(as, 8))).toBeLessThan(EXACT);
    expect(difference(got.state['w.G'], moment(gs, 2))).toBeLessThan(EXACT);
  });
});

describe('convolutions and batch normalisation', () => {
  const c = withCurvature(convnet, 4);
  const valid = [1, 1, 1, 0];
  const x = noise(4 * 60, 3);
  const { outputs, state, values } = run(c, { x, target: [0, 2, 1, 0], valid });
  const dy = (weight: string): { data: Float64Array; of: Value } => {
    const node = c.train.nodes.find((n) => n.op === 'conv_weight_grad' && n.results[0].name === `d.${weight}`)!;
    return { data: values.get(node.operands[1].name)!, of: node.operands[1] };
  };

  /** Patches of example n in group g, channel-major, by the definition of im2col. */
  function patches(
    data: ArrayLike<number>,
    [n, channels, height, width]: number[],
    group: number,
    groups: number,
    kernel: number[],
    pad: number,
    stride: number,
  ): number[][] {
    const [oh, ow] = [height, width].map((s, i) => Math.floor((s + 2 * pad - kernel[i]) / stride) + 1);
    const out: number[][] = [];
    for (let y = 0; y < oh; y++)
      for (let z = 0; z < ow; z++) {
        const v: number[] = [];
        for (let ch = 0; ch < channels / groups; ch++)
          for (let ky = 0; ky < kernel[0]; ky++)
            for (let kx = 0; kx < kernel[1]; kx++) {
              const [iy, ix] = [y * stride - pad + ky, z * stride - pad + kx];
              const inside = iy >= 0 && iy < height && ix >= 0 && ix < width;
              v.push(inside ? data[((n * channels + group * (channels / groups) + ch) * height + iy) * width + ix] : 0);
            }
        out.push(v);
      }
    return out;
  }

  /** count * dy of example n at each position, channels [from, to). */
  function outputGradients(
    data: ArrayLike<number>,
    n: number,
    channels: number,
    positions: number,
    from: number,
    to: number,
  ): number[][] {
    return Array.from({ length: positions }, (_, p) =>
      Array.from({ length: to - from }, (_, k) => 3 * data[(n * channels + from + k) * positions + p]),
    );
  }

  it('have A as the mean over positions of patches with a ones column, and G as the sum over positions', () => {
    const as = [0, 1, 2].flatMap((n) => patches(x, [n, 2, 6, 5], 0, 1, [3, 3], 1, 1).map((v) => [...v, 1]));
    const gs = [0, 1, 2].flatMap((n) => outputGradients(dy('c1').data, n, 4, 30, 0, 4));
    expect(difference(state['c1.A'], moment(as, 3 * 30))).toBeLessThan(EXACT);
    expect(difference(state['c1.G'], moment(gs, 3))).toBeLessThan(EXACT);
    const join = (kind: string) =>
      matrix(outputs[`${kind}(c1)`], 4, 18).map((row, i) => [...row, outputs[`${kind}(c1.bias)`][i]]);
    expectPreconditioned(join('natural'), join('gradient'), state['c1.A'], state['c1.G'], LAMBDA);
  });

  it('have one pair of factors for each group', () => {
    const h = values.get('h1')!;
    for (const g of [0, 1]) {
      const as = [0, 1, 2].flatMap((n) => patches(h, [n, 4, 6, 5], g, 2, [3, 2], 1, 2));
      const gs = [0, 1, 2].flatMap((n) => outputGradients(dy('c2').data, n, 6, 9, g * 3, g * 3 + 3));
      const A = state['c2.A'].slice(g * 78, g * 78 + 78);
      const G = state['c2.G'].slice(g * 6, g * 6 + 6);
      expect(difference(A, moment(as, 3 * 9))).toBeLessThan(EXACT);
      expect(difference(G, moment(gs, 3))).toBeLessThan(EXACT);
      const part = (kind: string) => matrix(outputs[`${kind}(c2)`].slice(g * 36, g * 36 + 36), 3, 12);
      expectPreconditioned(part('natural'), part('gradient'), A, G, LAMBDA);
    }
  });

  it('have 2x2 blocks of per-example (gamma, beta) gradients', () => {
    const node = c.train.nodes.find((n) => n.op === 'batch_norm_grad')!;
    const d = values.get(node.operands[1].name)!;
    const s = values.get('s1')!;
    for (let k = 0; k < 4; k++) {
      const at = (n: number) => Array.from({ length: 30 }, (_, p) => (n * 4 + k) * 30 + p);
      const all = [0, 1, 2].flatMap(at);
      const mean = all.reduce((sum, i) => sum + s[i], 0) / 90;
      const variance = all.reduce((sum, i) => sum + (s[i] - mean) ** 2, 0) / 90;
      const v = [0, 1, 2].map((n) => [
        at(n).reduce((sum, i) => sum + (3 * d[i] * (s[i] - mean)) / Math.sqrt(variance + 1e-3), 0),
        at(n).reduce((sum, i) => sum + 3 * d[i], 0),
      ]);
      const [gg, gb, bb] = moment(v, 3);
      const F = state['bn.gamma.F'];
      expect(difference([F[k], F[4 + k], F[8 + k]], [gg, gb, bb])).toBeLessThan(EXACT);
      const u = ['bn.gamma', 'bn.beta'].map((p) => outputs[`natural(${p})`][k]);
      const back = [(gg + LAMBDA) * u[0] + gb * u[1], gb * u[0] + (bb + LAMBDA) * u[1]];
      expect(
        difference(
          back,
          ['bn.gamma', 'bn.beta'].map((p) => outputs[`gradient(${p})`][k]),
        ),
      ).toBeLessThan(1e-10);
    }
  });

  it('do not see padding rows, whatever these hold', () => {
    const alone = run(withCurvature(convnet, 3), { x: x.slice(0, 180), target: [0, 2, 1], valid: [1, 1, 1] });
    for (const s of Object.keys(state)) {
      if (!/\.(A|G|F)$/.test(s)) continue;
      expect(difference(state[s], alone.state[s]), s).toBeLessThan(EXACT);
    }
    for (const p of c.module.parameters) {
      const name = `natural(${p.name})`;
      expect(difference(outputs[name], alone.outputs[name]), name).toBeLessThan(1e-10);
    }
  });

  it('are reported', () => {
    expect(c.module.parameters.map((p) => [p.name, p.rule])).toEqual([
      ['c1', 'kfac-conv'],
      ['c1.bias', 'kfac-conv'],
      ['bn.gamma', 'unit-bn'],
      ['bn.beta', 'unit-bn'],
      ['c2', 'kfac-conv'],
      ['fc', 'kfac-dense'],
      ['fc.bias', 'kfac-dense'],
    ]);
  });
});

describe('what no rule covers', () => {
  const verdict = (net: Net, name: string) =>
    reportOf(withCurvature(net, 2, { loss: 'softmax-cross-entropy' }).module, name);
  const x = (b: Parameters<Net['forward']>[0]) => b.input('x', tensor('f32', [N, 3]));

  it('keeps a weight used twice on its plain gradient', () => {
    const net: Net = {
      forward: (b, p) => {
        const w = p('w', [3, 3]);
        return b.matmul(b.node('tanh', [b.matmul(x(b), w)]), w);
      },
    };
    expect(verdict(net, 'w')).toMatchObject({ rule: 'plain', why: expect.stringContaining('used more than once') });
    expect(withCurvature(net, 2).train.outputs.map((o) => o.name)).not.toContain('natural(w)');
  });

  it('names masked weights, scales, and factors that are too wide', () => {
    const masked: Net = { forward: (b, p) => b.matmul(x(b), b.node('relu', [p('w', [3, 2])])) };
    expect(verdict(masked, 'w')?.why).toContain('relu_grad');
    const scaled: Net = { forward: (b, p) => b.mul(b.matmul(x(b), p('w', [3, 2])), p('scale', [2])) };
    expect(verdict(scaled, 'scale')).toMatchObject({
      rule: 'plain',
      why: 'it is a scale without a shift that is trained',
    });
    expect(verdict(scaled, 'w')?.rule).toBe('kfac-dense');
    const wide = withCurvature(mlp, 2, {}, { largestFactor: 5 });
    expect(reportOf(wide.module, 'w1')).toMatchObject({ rule: 'plain', why: expect.stringContaining('6 wide') });
    expect(reportOf(wide.module, 'b1')?.rule).toBe('plain');
    expect(reportOf(wide.module, 'w2')?.rule).toBe('kfac-dense');
  });

  it('keeps gamma plain where beta is frozen, and a bias plain where its weight is', () => {
    const norm = withCurvature({ ...convnet, frozen: ['bn.beta', 'fc'] }, 2).module;
    expect(reportOf(norm, 'bn.gamma')).toMatchObject({ rule: 'plain', why: expect.stringContaining('other half') });
    expect(reportOf(norm, 'fc.bias')?.rule).toBe('plain');
  });

  it('refuses a bias that sees another gradient than its layer', () => {
    const net: Net = {
      forward: (b, p) => {
        const attrs = window(0);
        const image = b.input('x', tensor('f32', [N, 1, 3, 3]));
        const y = b.node('relu', [b.node('conv', [image, p('w', [2, 1, 3, 3])], { attrs })]);
        return b.reshape(b.add(y, p('late', [2, 1, 1])), [N, 2]);
      },
    };
    expect(verdict(net, 'late')?.rule).toBe('plain');
    expect(verdict(net, 'w')).toMatchObject({ rule: 'kfac-conv', why: 'A 9, G 2' });
  });
});

describe('failed inversions', () => {
  it('keep the inverse before them, are counted, and start from zero', () => {
    const c = withCurvature(mlp, 4);
    const inputs = { x: noise(20, 1), target: [0, 1, 2, 0], valid: [1, 1, 1, 1] };
    const good = run(c, inputs);
    expect(good.outputs.failed_inversions[0]).toBe(0);
    const poisoned = { ...inputs, x: noise(20, 1).with(3, Number.NaN) };
    const bad = run(c, poisoned, good.state);
    for (const s of ['w1.A.inverse', 'w1.G.inverse', 'w2.A.inverse', 'w2.G.inverse'])
      expect(bad.state[s]).toEqual(good.state[s]);
    // Four inverses, each tried once and five times again.
    expect(bad.outputs.failed_inversions[0]).toBe(24);
    expect([...run(c, poisoned).state['w1.A.inverse']].every((v) => v === 0)).toBe(true);
  });
});
