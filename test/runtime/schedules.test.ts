import { describe, expect, it } from 'vitest';
import { klBound, learningRate, momentumAt, type Schedule } from '../../runtime/training/schedules.js';

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

describe('schedules', () => {
  it.each(Object.entries(golden))(
    'equal the golden values of batch %s',
    (_batch, [power, start, end, lr, m0, rows]) => {
      const s: Schedule = { kind: 'polynomial', lr, power, start, end };
      for (const [epoch, eta, m] of rows) {
        // Seven and four significant digits are given: half a unit of the last one.
        expect(Math.abs(learningRate(s, epoch) / eta - 1)).toBeLessThan(5e-7);
        expect(Math.abs(momentumAt('tied', m0, s, epoch) - m)).toBeLessThanOrEqual(
          m < 1e-3 ? 5.1e-4 * m + 5e-7 : 5.1e-7,
        );
      }
    },
  );

  const s: Schedule = { kind: 'polynomial', lr: 0.1, power: 2, start: 1, end: 5 };
  it('hold the learning rate before the start and at 0 after the end', () => {
    expect([0, 1, 3, 5, 6].map((e) => learningRate(s, e))).toEqual([0.1, 0.1, 0.1 * 0.25, 0, 0]);
  });
  it('keep what is constant', () => {
    expect(learningRate({ ...s, kind: 'constant' }, 4)).toBe(0.1);
    expect(momentumAt('constant', 0.9, s, 4)).toBe(0.9);
    expect(klBound(1e-3, false, s, 4)).toBe(1e-3);
  });
  it('let the KL bound decay with the square of the learning rate', () => {
    expect(klBound(1e-3, true, s, 3)).toBeCloseTo(1e-3 * 0.25 ** 2, 12);
    expect(klBound(Infinity, true, s, 3)).toBe(Infinity);
  });
});
