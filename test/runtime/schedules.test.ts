import { describe, expect, it } from 'vitest';
import { presetNames, resolvePreset } from '../../ir/presets.js';
import { dampingAt, klBound, learningRate, momentumAt, type Schedule } from '../../runtime/training/schedules.js';

/**
 * The paper's six settings (Table 2) and what equations 21 and 22 give for them, to the digits given here: computed outside this
 * project. [p, e_start, e_end, eta0, m0, then [epoch, eta, m] ...].
 */
const golden: Record<string, [number, number, number, number, number, [number, number, number][]]> = {
  '4K': [
    11,
    1,
    53,
    8.18e-3,
    0.997,
    [
      [10, 1.011276e-3, 0.123257],
      [20, 5.500091e-5, 0.006704],
      [30, 1.036866e-6, 0.000126],
      [35, 6.993814e-8, 8.524e-6],
    ],
  ],
  '8K': [
    8,
    1,
    53.5,
    1.25e-2,
    0.993,
    [
      [10, 2.776832e-3, 0.220592],
      [20, 3.435532e-4, 0.027292],
      [30, 2.014552e-5, 0.0016],
      [35, 2.97173e-6, 2.361e-4],
    ],
  ],
  '16K': [
    8,
    1,
    53.5,
    2.5e-2,
    0.985,
    [
      [10, 5.553664e-3, 0.218814],
      [20, 6.871065e-4, 0.027072],
      [30, 4.029104e-5, 0.001587],
      [35, 5.943461e-6, 2.342e-4],
    ],
  ],
  '32K': [
    3.5,
    1.5,
    49.5,
    3e-2,
    0.97,
    [
      [10, 1.516585e-2, 0.490362],
      [20, 5.459514e-3, 0.176524],
      [30, 1.28203e-3, 0.041452],
      [45, 7.56869e-6, 2.447e-4],
    ],
  ],
  '65K': [
    2.9,
    2,
    64.5,
    4e-2,
    0.95,
    [
      [10, 2.688796e-2, 0.638589],
      [20, 1.493661e-2, 0.354744],
      [30, 7.139755e-3, 0.169569],
      [60, 1.942335e-5, 4.613e-4],
    ],
  ],
  '131K': [
    2.9,
    3,
    100,
    7e-2,
    0.93,
    [
      [10, 5.633305e-2, 0.748425],
      [20, 4.003326e-2, 0.53187],
      [30, 2.717968e-2, 0.361101],
      [90, 9.626314e-5, 1.279e-3],
    ],
  ],
};

const noWarmup = { warmup: 0, warmupFrom: 1 };

describe('schedules', () => {
  it.each(Object.entries(golden))(
    'equal the golden values of batch %s',
    (_batch, [power, start, end, lr, m0, rows]) => {
      const s: Schedule = { kind: 'polynomial', lr, power, start, end, ...noWarmup };
      for (const [epoch, eta, m] of rows) {
        // Seven and four significant digits are given: half a unit of the last one.
        expect(Math.abs(learningRate(s, epoch) / eta - 1)).toBeLessThan(5e-7);
        expect(Math.abs(momentumAt('tied', m0, s, epoch, epoch - 0.01) - m)).toBeLessThanOrEqual(
          m < 1e-3 ? 5.1e-4 * m + 5e-7 : 5.1e-7,
        );
      }
    },
  );

  const s: Schedule = { kind: 'polynomial', lr: 0.1, power: 2, start: 1, end: 5, ...noWarmup };
  it('hold the learning rate before the start and at 0 after the end', () => {
    expect([0, 1, 3, 5, 6].map((e) => learningRate(s, e))).toEqual([0.1, 0.1, 0.1 * 0.25, 0, 0]);
  });
  it('keep what is constant', () => {
    expect(learningRate({ ...s, kind: 'constant' }, 4)).toBe(0.1);
    expect(momentumAt('constant', 0.9, s, 4, 3.9)).toBe(0.9);
    expect(klBound(1e-3, false, s, 4)).toBe(1e-3);
  });
  it('are those of the presets', () => {
    const rows = Object.values(golden);
    expect(presetNames.slice(1)).toHaveLength(rows.length);
    presetNames.slice(1).forEach((name, i) => {
      const p = resolvePreset(name, 'spngd', 64);
      expect([p.lr_power, p.lr_start, p.lr_end, p.lr, p.momentum], name).toEqual(rows[i].slice(0, 5));
      // Its last golden epoch is the preset's last.
      expect(p.epochs).toBe(rows[i][5].at(-1)![0]);
    });
  });

  it('rise linearly from a fraction, and fall from where the warm-up ends', () => {
    const w: Schedule = { kind: 'polynomial', lr: 0.8, power: 1, start: 0, end: 6, warmup: 2, warmupFrom: 0.25 };
    [
      [0, 0.2],
      [1, 0.5],
      [2, 0.8],
      [4, 0.4],
      [6, 0],
    ].forEach(([e, eta]) => {
      expect(learningRate(w, e)).toBeCloseTo(eta, 12);
    });
    // What starts later starts later; a warm-up that outlasts the run goes on to its end.
    expect(learningRate({ ...w, start: 4 }, 3)).toBe(0.8);
    expect(learningRate({ ...w, end: 1 }, 1)).toBeCloseTo(0.5, 12);
  });

  it('correct the momentum where the learning rate changes', () => {
    const rule = (e: number, before: number) => momentumAt('corrected', 0.9, s, e, before);
    expect(rule(0, -0.5)).toBe(0.9);
    expect(rule(1, 0.5)).toBe(0.9);
    expect(rule(3, 2.5)).toBeCloseTo((0.9 * 0.5 ** 2) / 0.625 ** 2, 12);
    expect(rule(5, 4.5)).toBe(0);
    // After a learning rate of zero there is nothing to correct by.
    expect(rule(5.5, 5)).toBe(0.9);
    // Velocities that hold the rate, with this rule, step as velocities without it do: v' = m v' + g, w -= lr v'.
    let [held, bare] = [0, 0];
    for (let step = 0; step < 9; step++) {
      const [e, g] = [step / 2, Math.sin(step)];
      held = rule(e, e - 0.5) * held - learningRate(s, e) * g;
      bare = 0.9 * bare + g;
      expect(held).toBeCloseTo(-learningRate(s, e) * bare, 12);
    }
  });

  it('bring the damping to its value by the recursion of its source', () => {
    const d = { value: 2.5e-4, from: 2.5e-2, warmup: 2 };
    const stepsPerEpoch = 10;
    const alpha = (2 * Math.log10(100)) / 20;
    let lambda = d.from;
    for (let step = 0; step < 40; step++) {
      expect(dampingAt(d, step / stepsPerEpoch, stepsPerEpoch)).toBeCloseTo(lambda, 12);
      lambda = (1 - alpha) * lambda + alpha * d.value;
    }
    expect(dampingAt({ ...d, warmup: 0 }, 0, stepsPerEpoch)).toBe(d.value);
    // Too short a warm-up is one step.
    expect(dampingAt({ ...d, warmup: 0.1 }, 0.1, stepsPerEpoch)).toBe(d.value);
  });

  it('let the KL bound decay with the square of the learning rate', () => {
    expect(klBound(1e-3, true, s, 3)).toBeCloseTo(1e-3 * 0.25 ** 2, 12);
    expect(klBound(Infinity, true, s, 3)).toBe(Infinity);
  });
});
