/**
 * The graph of adaptive staleness in float64: what it stores and how far it says that a statistic has moved, against Frobenius
 * norms of whole matrices. Only summation order differs: 1e-12 relative.
 */
import { describe, expect, it } from 'vitest';
import { evaluate } from '../../ir/evaluate.js';
import { failuresOf } from '../../ir/staleness.js';
import { convnet, initialState, noise, withCurvature } from '../nets.js';
import { difference, EXACT } from './reference.js';

const BATCH = 4;
const adaptive = withCurvature(convnet, BATCH, {}, { staleness: 'adaptive' });
const off = withCurvature(convnet, BATCH);
const statistics = adaptive.module.state.filter((s) => s.role === 'factor');
type State = Record<string, Float64Array>;

const inputs = (step: number) =>
  ({
    x: noise(BATCH * 60, 100 + step),
    target: [0, 2, 1, 1],
    valid: [1, 1, 1, step === 1 ? 0 : 1],
    damping: [0.03],
  }) as never;
const step = (at: number, state: State, due?: (guard: string) => boolean) =>
  evaluate(adaptive.train, inputs(at), state, due);

/** All elements of the matrices that are stored: both triangles; both halves of a 2x2 block. */
function whole({ type }: (typeof statistics)[number], stored: Float64Array): number[] {
  if (type.layout === 'dense') {
    const n = stored.length / 3;
    return [...stored, ...stored.subarray(n, 2 * n)];
  }
  const n = Number(type.shape.at(-1));
  const size = (n * (n + 1)) / 2;
  return Array.from({ length: (stored.length / size) * n * n }, (_, k) => {
    const [i, j] = [Math.floor((k % (n * n)) / n), k % n];
    const [high, low] = [Math.max(i, j), Math.min(i, j)];
    return stored[Math.floor(k / (n * n)) * size + (high * (high + 1)) / 2 + low];
  });
}

const norm = (v: readonly number[]): number => Math.sqrt(v.reduce((s, x) => s + x * x, 0));
const relativeChange = (s: (typeof statistics)[number], x: Float64Array, old: Float64Array): number => {
  const [a, b] = [whole(s, x), whole(s, old)];
  return norm(a.map((v, i) => v - b[i])) / norm(b);
};

describe('adaptive staleness', () => {
  it('covers every factor and every unit block, also those of groups', () => {
    expect(statistics.map((s) => s.name)).toEqual(['c1.A', 'c1.G', 'bn.gamma.F', 'c2.A', 'c2.G', 'fc.A', 'fc.G']);
    expect(statistics.find((s) => s.name === 'c2.A')?.type.shape).toHaveLength(3);
  });

  it('keeps the last two values, and says how far the newest lies from each', () => {
    const states = [initialState(adaptive.module)];
    const results = [0, 1, 2, 3].map((at) => {
      const result = step(at, states[at]);
      states.push(result.state);
      return result;
    });
    for (const s of statistics) {
      const values = results.map((r) => r.state[s.name]);
      results.forEach((r, at) => {
        const change = r.outputs[`change(${s.name})`];
        expect(r.state[`${s.name}.history`]).toEqual(at === 0 ? values[0].map(() => 0) : values[at - 1]);
        for (const k of [1, 2]) {
          if (at < k) expect(change[k - 1]).toBe(Number.POSITIVE_INFINITY);
          else expect(Math.abs(change[k - 1] / relativeChange(s, values[at], values[at - k]) - 1)).toBeLessThan(EXACT);
        }
      });
    }
  });

  it('with everything due gives the same factors, inverses and directions as without', () => {
    const [a, b] = [adaptive, off].map((c) => {
      const first = evaluate(c.train, inputs(0), initialState(c.module));
      return evaluate(c.train, inputs(1), first.state);
    });
    for (const name of Object.keys(b.state)) expect(a.state[name], name).toEqual(b.state[name]);
    for (const name of Object.keys(b.outputs))
      if (name !== 'failed_inversions') expect(a.outputs[name], name).toEqual(b.outputs[name]);
    // Adaptive, failures are told for each inverse.
    expect(a.outputs.failed_inversions).toBeUndefined();
    const factors = adaptive.module.state
      .filter((s) => s.role === 'inverse')
      .map((s) => s.name.replace('.inverse', ''));
    for (const name of factors) expect(a.outputs[failuresOf(name)], name).toEqual(Float64Array.of(0));
  });

  it('touches nothing of what is not due', () => {
    const { state } = step(2, step(1, step(0, initialState(adaptive.module)).state).state);
    const still = step(3, state, () => false);
    for (const name of Object.keys(state)) expect(still.state[name], name).toEqual(state[name]);
    const onlyG = step(3, state, (g) => ['due(c1.G)', 'due(c1.G.inverse)'].includes(g));
    const moved = Object.keys(state).filter((name) => difference(onlyG.state[name], state[name]) > 0);
    expect(moved.sort()).toEqual(['c1.G', 'c1.G.change', 'c1.G.history', 'c1.G.inverse']);
  });

  it('inverts with the pi that is kept, or with a new one', () => {
    const { state } = step(0, initialState(adaptive.module));
    const built = ['due(fc.G)', 'due(fc.G.inverse)'];
    const kept = step(1, state, (g) => built.includes(g));
    const anew = step(1, state, (g) => [...built, 'due(fc.pi)', 'due(fc.A.inverse)'].includes(g));
    expect(kept.state['fc.pi']).toEqual(state['fc.pi']);
    expect(kept.state['fc.A.inverse']).toEqual(state['fc.A.inverse']);
    const trace = (name: string, from: State) => {
      const n = Number(statistics.find((s) => s.name === name)!.type.shape[0]);
      return Array.from({ length: n }, (_, i) => from[name][(i * (i + 3)) / 2]).reduce((s, v) => s + v, 0) / n;
    };
    const pi = Math.sqrt(trace('fc.A', anew.state) / trace('fc.G', anew.state));
    expect(anew.state['fc.pi'][0]).toBeCloseTo(pi, 12);
    expect(difference(anew.state['fc.A.inverse'], state['fc.A.inverse'])).toBeGreaterThan(1e-6);
    expect(difference(anew.state['fc.G.inverse'], kept.state['fc.G.inverse'])).toBeGreaterThan(1e-6);
  });

  it('of fixed intervals has guards, and neither history nor change', () => {
    const fixed = withCurvature(convnet, BATCH, {}, { staleness: 'fixed' });
    const names = fixed.module.state.map((s) => s.name);
    expect(names.filter((n) => /history|change/.test(n))).toEqual([]);
    expect(names).toContain('fc.pi');
    expect(fixed.train.outputs.filter((o) => o.name.startsWith('change'))).toEqual([]);
  });
});
