/**
 * Updates against their formulas (SP-NGD eq 23, 24 and the KL clip), computed here from gradients of the same step; then what
 * they are for: natural gradient reaches a low loss in fewer steps than SGD. Float64: 1e-12.
 */
import { describe, expect, it } from 'vitest';
import { insertUpdate, type UpdateOptions } from '../../compiler/optimizer/insert-update.js';
import { mergeCommonSubexpressions } from '../../compiler/passes/common-subexpressions.js';
import { removeDeadCode } from '../../compiler/passes/dead-code.js';
import { expandComposites } from '../../compiler/passes/expand-composites.js';
import { evaluate } from '../../ir/evaluate.js';
import { type Func, findFunction, type Module } from '../../ir/graph.js';
import { verifyModule } from '../../ir/verify.js';
import { convnet, differentiated, initialState, mlp, type Net, noise, withCurvature } from '../nets.js';

type State = Record<string, Float64Array>;
interface Step {
  readonly module: Module;
  readonly train: Func;
  readonly names: readonly string[];
}

function compile(net: Net, batch: number, options: UpdateOptions): Step {
  const { module } = options.optimizer === 'spngd' ? withCurvature(net, batch) : differentiated(net, batch);
  const done = insertUpdate(module, options);
  verifyModule(done.module);
  return { module: done.module, train: findFunction(done.module, 'train'), names: done.metrics.train };
}

function run(s: Step, inputs: Record<string, ArrayLike<number> | number>, state: State) {
  const given = Object.fromEntries(
    s.train.inputs.map((i) => [i.name, typeof inputs[i.name] === 'number' ? [inputs[i.name]] : inputs[i.name]]),
  );
  const result = evaluate(s.train, given as never, state);
  const metrics = Object.fromEntries(s.names.map((n, i) => [n, result.outputs.metrics[i]]));
  return { ...result, metrics };
}

const data = { x: noise(20, 2), target: [0, 2, 1, 1], valid: [1, 1, 1, 1] };
const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((s, v, i) => s + v * b[i], 0);
const norm = (a: ArrayLike<number>) => Math.sqrt(dot(a, a));

function expectClose(a: ArrayLike<number>, b: ArrayLike<number>, tolerance = 1e-12): void {
  const scale = Math.max(...Array.from(b, Math.abs), 1e-300);
  expect(Math.max(...Array.from(a, (v, i) => Math.abs(v - b[i]))) / scale).toBeLessThan(tolerance);
}

describe('sgd', () => {
  it('is momentum with weight decay on weights, not on biases', () => {
    const s = compile(mlp, 4, { optimizer: 'sgd' });
    const scalars = { lr: 0.1, momentum: 0.9, weight_decay: 0.01 };
    const start = initialState(s.module);
    const first = run(s, { ...data, ...scalars }, start);
    const second = run(s, { ...data, ...scalars }, first.state);
    const plain = differentiated(mlp, 4).train;
    const gradients = (state: State) => evaluate(plain, data as never, state).outputs;
    const [g1, g2] = [gradients(start), gradients(first.state)];
    for (const [p, wd] of [
      ['w1', 0.01],
      ['b1', 0],
      ['w2', 0.01],
      ['b2', 0],
    ] as const) {
      const v1 = start[p].map((w, i) => -0.1 * (g1[`gradient(${p})`][i] + wd * w));
      const w1 = start[p].map((w, i) => w + v1[i]);
      const v2 = w1.map((w, i) => -0.1 * (g2[`gradient(${p})`][i] + wd * w) + 0.9 * v1[i]);
      expectClose(first.state[p], w1);
      expectClose(second.state[`${p}.velocity`], v2);
      expectClose(
        second.state[p],
        w1.map((w, i) => w + v2[i]),
      );
    }
    expect(s.names).toEqual(['loss', 'correct', 'count']);
    expect(s.train.outputs.map((o) => o.name)).toEqual(['metrics']);
  });
});

describe('lars', () => {
  /** You et al., algorithm 1: local rate eta |w| / (|g| + beta |w|) on weights; biases step as by SGD without decay. */
  it('is momentum with a rate for each weight that is relative to its norm', () => {
    const s = compile(mlp, 4, { optimizer: 'lars' });
    const [lr, momentum, beta, eta] = [0.5, 0.9, 0.01, 0.02];
    const scalars = { lr, momentum, weight_decay: beta, trust_coefficient: eta };
    // A weight of zero leaves it by a plain step.
    const start = { ...initialState(s.module), w2: new Float64Array(12) };
    const plain = differentiated(mlp, 4).train;
    let [state, velocity]: [State, State] = [start, {}];
    for (let step = 0; step < 3; step++) {
      const g = evaluate(plain, data as never, state).outputs;
      const next = run(s, { ...data, ...scalars }, state).state;
      for (const p of ['w1', 'b1', 'w2', 'b2']) {
        const [w, gradient] = [state[p], g[`gradient(${p})`]];
        const weight = p.startsWith('w');
        const ratio =
          !weight || norm(w) === 0 || norm(gradient) === 0 ? 1 : (eta * norm(w)) / (norm(gradient) + beta * norm(w));
        const before = velocity[p] ?? new Float64Array(w.length);
        velocity = {
          ...velocity,
          [p]: w.map((x, i) => momentum * before[i] - lr * ratio * (gradient[i] + (weight ? beta * x : 0))),
        };
        expectClose(next[`${p}.velocity`], velocity[p]);
        expectClose(
          next[p],
          w.map((x, i) => x + velocity[p][i]),
        );
      }
      state = next;
    }
    expect(s.names).toEqual(['loss', 'correct', 'count']);
  });
});

describe('spngd', () => {
  const scalars = { lr: 0.1, momentum: 0.9, damping: 0.01, kl_bound: 1e-3 };
  const weights = ['w1', 'b1', 'w2', 'b2'];
  const directions = (state: State) =>
    evaluate(withCurvature(mlp, 4).train, { ...data, damping: [0.01] } as never, state).outputs;

  it('steps along the natural gradient, held in the trust region', () => {
    const s = compile(mlp, 4, { optimizer: 'spngd' });
    const start = initialState(s.module);
    const first = run(s, { ...data, ...scalars }, start);
    const o = directions(start);
    const divergence = weights.reduce((sum, p) => sum + 0.01 * dot(o[`natural(${p})`], o[`gradient(${p})`]), 0);
    const nu = Math.min(1, Math.sqrt(1e-3 / divergence));
    expect(nu).toBeLessThan(1);
    expect(first.metrics.kl_scale).toBeCloseTo(nu, 12);
    const second = run(s, { ...data, ...scalars, kl_bound: 1e9 }, first.state);
    expect(second.metrics.kl_scale).toBe(1);
    const o2 = directions(first.state);
    for (const p of weights) {
      const v1 = o[`natural(${p})`].map((u) => -0.1 * nu * u);
      expectClose(
        first.state[p],
        start[p].map((w, i) => w + v1[i]),
      );
      expectClose(
        second.state[`${p}.velocity`],
        o2[`natural(${p})`].map((u, i) => -0.1 * u + 0.9 * v1[i]),
      );
    }
    expect(s.names).toEqual(['loss', 'correct', 'count', 'kl_scale', 'failed_inversions', 'nonfinite']);
  });

  it('rescales weights, not biases; velocity is the step before that', () => {
    const of = (weightRescaling: 'off' | 'shrink' | 'always') => {
      const s = compile(mlp, 4, { optimizer: 'spngd', weightRescaling });
      const start = { ...initialState(s.module), w1: noise(20, 1).map((v) => v * 9) };
      return run(s, { ...data, ...scalars }, start).state;
    };
    const [off, shrink, always] = [of('off'), of('shrink'), of('always')];
    // w1 is [in, out] with 4 outputs, w2 is [out, in] with 3: norms sqrt(2 d_out).
    expect(norm(off.w1)).toBeGreaterThan(Math.sqrt(8));
    expect(norm(off.w2)).toBeLessThan(Math.sqrt(6));
    expect(norm(shrink.w1)).toBeCloseTo(Math.sqrt(8), 8);
    expectClose(shrink.w2, off.w2);
    expect(norm(always.w1)).toBeCloseTo(Math.sqrt(8), 8);
    expect(norm(always.w2)).toBeCloseTo(Math.sqrt(6), 8);
    for (const p of ['b1', 'b2', 'w1.velocity']) expectClose(always[p], off[p]);
  });

  it('lets weights decay beside the natural step, where that is asked for', () => {
    const start = initialState(compile(mlp, 4, { optimizer: 'spngd' }).module);
    const of = (weightDecay: boolean) =>
      run(compile(mlp, 4, { optimizer: 'spngd', weightDecay }), { ...data, ...scalars, weight_decay: 0.01 }, start);
    const [without, decayed] = [of(false), of(true)];
    // The clip holds the natural step alone.
    expect(without.metrics.kl_scale).toBeLessThan(1);
    expect(decayed.metrics.kl_scale).toBeCloseTo(without.metrics.kl_scale, 12);
    for (const p of weights) {
      const wd = p.startsWith('w') ? 0.01 : 0;
      expectClose(
        decayed.state[p],
        without.state[p].map((w, i) => w - 0.1 * wd * start[p][i]),
      );
    }
  });

  it('never lets what is not finite reach the weights, and counts it', () => {
    const s = compile(convnet, 2, { optimizer: 'spngd' });
    const x = noise(120, 6);
    const inputs = { ...scalars, x, target: [0, 2], valid: [1, 1] };
    const good = run(s, inputs, initialState(s.module));
    expect(good.metrics).toMatchObject({ nonfinite: 0, failed_inversions: 0 });
    const bad = run(s, { ...inputs, x: x.with(7, Number.NaN) }, good.state);
    expect(bad.metrics.loss).toBeNaN();
    expect(bad.metrics.nonfinite).toBe(7);
    expect(bad.metrics.failed_inversions).toBeGreaterThan(0);
    for (const p of s.module.parameters) {
      expect(bad.state[p.name]).toEqual(good.state[p.name]);
      expect(bad.state[`${p.name}.velocity`]).toEqual(good.state[`${p.name}.velocity`]);
    }
  });

  it('trains what no rule covers along its plain gradient', () => {
    const module = withCurvature(mlp, 4, {}, { largestFactor: 5 }).module;
    const done = insertUpdate(module, { optimizer: 'spngd', klClip: false });
    const s = { module: done.module, train: findFunction(done.module, 'train'), names: done.metrics.train };
    const start = initialState(s.module);
    const { state } = run(s, { ...data, ...scalars }, start);
    const g = evaluate(differentiated(mlp, 4).train, data as never, start).outputs['gradient(w1)'];
    expectClose(
      state.w1,
      start.w1.map((w, i) => w - 0.1 * g[i]),
    );
    expect(s.train.inputs.map((i) => i.name)).not.toContain('kl_bound');
    expect(s.names).not.toContain('kl_scale');
  });

  it('computes the same once composites are expanded and common nodes are merged', () => {
    const s = compile(convnet, 3, { optimizer: 'spngd', weightRescaling: 'shrink' });
    const lowered = removeDeadCode(mergeCommonSubexpressions(expandComposites(s.module)));
    verifyModule(lowered);
    const inputs = { ...scalars, x: noise(180, 6), target: [0, 2, 1], valid: [1, 1, 0] };
    const start = initialState(s.module);
    const [before, after] = [s, { ...s, train: findFunction(lowered, 'train') }].map((step) =>
      run(step, inputs, start),
    );
    expect(Object.keys(after.state)).toEqual(Object.keys(before.state));
    // Inverses amplify rounding by their condition number, about 1e3 here.
    for (const name of Object.keys(before.state)) expectClose(after.state[name], before.state[name], 1e-10);
    expectClose(after.outputs.metrics, before.outputs.metrics, 1e-10);
  });

  it('gives eval its metrics', () => {
    const { module } = withCurvature(mlp, 4);
    const done = insertUpdate(module, { optimizer: 'spngd' });
    expect(done.metrics.eval).toEqual(['loss_sum', 'correct', 'count']);
    expect(findFunction(done.module, 'eval').outputs.map((o) => o.name)).toEqual(['metrics']);
  });
});

describe('on badly scaled data', () => {
  // Three classes by distance from the origin along stretched axes: what plain gradient finds slow.
  const n = 48;
  const stretch = [30, 3, 1, 0.3, 0.05];
  const raw = noise(n * 5, 21);
  const x = raw.map((v, i) => v * stretch[i % 5]);
  const target = Array.from({ length: n }, (_, i) => {
    const score = raw[i * 5 + 2] + raw[i * 5 + 3] + raw[i * 5 + 4];
    return score < -0.4 ? 0 : score < 0.4 ? 1 : 2;
  });
  const batch = { x, target, valid: new Array(n).fill(1) };

  function stepsTo(goal: number, s: Step, scalars: Record<string, number>, most: number): number {
    let state: State = initialState(s.module, 0.3);
    for (let step = 1; step <= most; step++) {
      const result = run(s, { ...batch, ...scalars }, state);
      if (result.metrics.loss < goal) return step;
      state = result.state;
    }
    return Number.POSITIVE_INFINITY;
  }

  it('natural gradient learns in 80 steps what SGD does not in 160, at any learning rate', () => {
    const natural = compile(mlp, n, { optimizer: 'spngd' });
    const spngd = stepsTo(0.7, natural, { lr: 0.1, momentum: 0.9, damping: 1e-2, kl_bound: 1e-2 }, 80);
    const plain = compile(mlp, n, { optimizer: 'sgd' });
    const sgd = [0.003, 0.01, 0.03, 0.1, 0.3, 1].map((lr) =>
      stepsTo(0.7, plain, { lr, momentum: 0.9, weight_decay: 0 }, 160),
    );
    expect(spngd).toBeLessThan(80);
    expect(Math.min(...sgd)).toBe(Number.POSITIVE_INFINITY);
  });
});
