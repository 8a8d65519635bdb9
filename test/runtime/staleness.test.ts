/**
 * Algorithm 2 of SP-NGD on the worked trace of the design notes (5.4), its limits in alpha, and what follows for the guards of a
 * layer's parts. No numbers are approximate.
 */
import { describe, expect, it } from 'vitest';
import type { Manifest } from '../../ir/artifact.js';
import { SAMPLED } from '../../ir/fisher.js';
import { changeOf } from '../../ir/staleness.js';
import { Refreshes } from '../../runtime/training/refreshes.js';
import type { StalenessSettings } from '../../runtime/training/settings.js';
import { type Change, decided, neverRefreshed, refreshed, similarity } from '../../runtime/training/staleness.js';
import { tinyFiles, tinyManifest } from './tiny-artifact.js';

const ALPHA = 0.1;
/** Not similar to X_-1; similar to X_-1 but not to X_-2; similar to both. */
const outcomes: Record<string, Change> = { N: [0.5, 0.01], W: [0.05, 0.5], B: [0.05, 0.05] };

/** Steps of the refreshes, one for each outcome, and the intervals chosen after them. */
function trace(kinds: string, bounded = false): { steps: number[]; intervals: number[]; next: number } {
  let r = neverRefreshed;
  const steps: number[] = [];
  const intervals: number[] = [];
  for (const kind of kinds) {
    steps.push(r.next);
    r = decided(refreshed(r, r.next), similarity(outcomes[kind], ALPHA), bounded);
    intervals.push(r.interval);
  }
  return { steps, intervals, next: r.next };
}

describe('Algorithm 2', () => {
  it('gives the worked trace', () => {
    const { steps, intervals, next } = trace('NWBBBWBNB');
    expect(intervals).toEqual([1, 1, 2, 3, 5, 5, 10, 5, 15]);
    expect(steps).toEqual([1, 2, 3, 5, 8, 13, 18, 28, 33]);
    expect(next).toBe(48);
  });

  it('bounded, does not jump past the interval that failed, until that one has been tried again', () => {
    expect(trace('NWBBBWBNBBB', true).intervals).toEqual([1, 1, 2, 3, 5, 5, 10, 5, 10, 15, 25]);
    // It fails once more: the limit falls with it.
    expect(trace('NWBBBWBNBNBWB', true).intervals).toEqual([1, 1, 2, 3, 5, 5, 10, 5, 10, 5, 10, 10, 20]);
    // Halving twice: 5 is the limit, not 10.
    expect(trace('NWBBBWBNNBBB', true).intervals.slice(7)).toEqual([5, 2, 5, 7, 12]);
  });

  it('takes what is not finite, or exactly alpha away, for not similar', () => {
    const r = { next: 9, last: 5, interval: 4, before: 4 };
    const of = (change: Change) => decided(r, similarity(change, ALPHA), false).interval;
    expect(of([Number.NaN, 0])).toBe(2);
    expect(of([Number.POSITIVE_INFINITY, 0])).toBe(2);
    expect(of([0.1, 0])).toBe(2);
    expect(of([0, Number.NaN])).toBe(4);
    expect(of([0, 0])).toBe(8);
  });
});

/** A layer `w` with both factors and pi, and a unit block `g.F`. */
const manifest: Manifest = (() => {
  const m = tinyManifest(tinyFiles());
  const entry = (name: string, of: string, shape: number[], role: 'factor' | 'history' | 'inverse') => ({
    ...m.state[0],
    ...{ name, of, shape, role, layout: shape.length === 2 && shape[0] === shape[1] ? 'packed-lower' : 'dense' },
    init: { kind: 'fill' as const, value: 0 },
  });
  const state = [
    entry('w.A', 'w', [4, 4], 'factor'),
    entry('w.G', 'w', [2, 2], 'factor'),
    entry('w.pi', 'w', [], 'history'),
    entry('g.F', 'g', [3, 5], 'factor'),
  ] as Manifest['state'];
  return { ...m, state };
})();
const settings: StalenessSettings = {
  kind: 'adaptive',
  alpha: 0.1,
  bounded: false,
  lag: 0,
  interval: 1,
  pairs: 'keep',
};
const names = ['w.A', 'w.G', 'g.F'];

type Changes = (name: string, refresh: number) => Change;

/** For each step, which statistics were refreshed; `change` by how often each has been. */
function run(steps: number, change: Changes, options: Partial<StalenessSettings> = {}, split?: number) {
  const make = (saved?: ReturnType<Refreshes['save']>) =>
    new Refreshes(manifest, { ...settings, ...options }, saved && JSON.parse(JSON.stringify(saved)));
  let refreshes = make();
  const counts = new Map<string, number>();
  const seen: Record<string, number[]> = Object.fromEntries(names.map((n) => [n, []]));
  const guards: Record<string, boolean>[] = [];
  const reports = Array.from({ length: steps }, (_, i) => {
    const step = i + 1;
    if (step === split) refreshes = make(refreshes.save());
    const on = refreshes.begin(step);
    const all = [...names, 'w.A.inverse', 'w.G.inverse', 'w.pi'];
    guards.push(Object.fromEntries(all.map((n) => [n, on(`due(${n})`)])));
    const metrics: Record<string, number> = {};
    for (const n of names) {
      if (on(`due(${n})`)) {
        seen[n].push(step);
        counts.set(n, (counts.get(n) ?? 0) + 1);
      }
      const [last, before] = change(n, counts.get(n)!);
      metrics[`${changeOf(n)}[0]`] = last;
      metrics[`${changeOf(n)}[1]`] = before;
    }
    return refreshes.end(step, metrics);
  });
  return { seen, guards, reports, shares: refreshes.shares() };
}

/** As the device computes it for a statistic that moves by `by` each time: what has no history is infinitely far. */
const moving =
  (by: number): Changes =>
  (_, refresh) => [refresh === 1 ? Number.POSITIVE_INFINITY : by, refresh <= 2 ? Number.POSITIVE_INFINITY : by];

describe('refreshes', () => {
  const every = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

  it('with alpha 0 are in each step', () => {
    const { seen, shares } = run(30, moving(0), { alpha: 0 });
    for (const n of names) expect(seen[n]).toEqual(every(30));
    expect(shares).toEqual({ all: 1, A: 1, others: 1 });
  });

  it('with an infinite alpha are in steps 1, 2, 3, 5, 8, 13, ...', () => {
    const { seen } = run(40, moving(1e9), { alpha: Number.POSITIVE_INFINITY });
    for (const n of names) expect(seen[n]).toEqual([1, 2, 3, 5, 8, 13, 21, 34]);
  });

  it('are decided for each statistic alone, and a change is of its step only where it was due', () => {
    const { seen, reports, shares } = run(8, (n, k) => (n === 'w.A' ? moving(0.01)(n, k) : [0.5, 0.5]));
    expect(seen).toEqual({ 'w.A': [1, 2, 3, 5, 8], 'w.G': every(8), 'g.F': every(8) });
    expect(reports[3].refreshed.map((r) => r.name)).toEqual(['w.G', 'g.F']);
    expect(reports[4].refreshed[0]).toEqual({ name: 'w.A', change: [0.01, 0.01], interval: 3 });
    expect(reports.map((r) => r.staleness[0])).toEqual([0, 0, 0, 1, 0, 1, 2, 0]);
    // Whole matrices count: 16 elements of A in 5 of 8 steps; 4 of G and 20 of F in all.
    expect(shares.A).toBe(5 / 8);
    expect(shares.others).toBe(1);
    expect(shares.all).toBe((16 * 5 + 24 * 8) / (40 * 8));
  });

  it('of one factor alone keep pi and leave the other inverse, or invert both anew', () => {
    const onlyG: Changes = (n, k) => (n === 'w.A' ? moving(0.01)(n, k) : [0.5, 0.5]);
    const kept = run(5, onlyG).guards;
    expect(kept[2]).toMatchObject({ 'w.pi': true, 'w.A.inverse': true, 'w.G.inverse': true });
    expect(kept[3]).toMatchObject({ 'w.A': false, 'w.pi': false, 'w.A.inverse': false, 'w.G.inverse': true });
    expect(kept[4]).toMatchObject({ 'w.A': true, 'w.pi': true, 'w.A.inverse': true, 'w.G.inverse': true });
    const anew = run(5, onlyG, { pairs: 'reinvert' }).guards;
    expect(anew[3]).toMatchObject({ 'w.A': false, 'w.pi': true, 'w.A.inverse': true, 'w.G.inverse': true });
    const none = run(4, moving(0.01), { pairs: 'reinvert' }).guards[3];
    expect(Object.values(none)).toEqual(Object.values(none).map(() => false));
  });

  it('draw labels where a statistic is due that is not of inputs', () => {
    const drawsWith = (due: readonly string[]): boolean => {
      const standing = (n: string) => ({ next: due.includes(n) ? 5 : 9, last: 4, interval: 1, before: 1 });
      const statistics = Object.fromEntries(names.map((n) => [n, standing(n)]));
      const count = { steps: 4, A: 0, others: 0 };
      return new Refreshes(manifest, settings, { statistics, waiting: [], count }).begin(5)(SAMPLED);
    };
    expect([['w.G'], ['w.A', 'g.F'], ['w.A'], []].map(drawsWith)).toEqual([true, true, false, false]);
  });

  it('at fixed intervals know no change', () => {
    const { seen, reports } = run(11, moving(9), { kind: 'fixed', interval: 4 });
    for (const n of names) expect(seen[n]).toEqual([1, 5, 9]);
    expect(reports[4].refreshed[0]).toEqual({ name: 'w.A', interval: 4 });
  });

  it('with a lag hold the last interval that is known, and correct it when more is', () => {
    // The outcome of step 1 is known for step 3, that of 2 for 4, that of 3 for 5: 3 chose 2, so 5, not 4; 5 holds 2: 7.
    const { seen } = run(20, moving(0.01), { lag: 1 });
    expect(seen['w.A'].slice(0, 3)).toEqual([1, 2, 3]);
    for (const lag of [1, 2, 5]) {
      expect(run(30, moving(1), { lag }).seen['w.A']).toEqual(every(30));
      expect(run(30, moving(0.01), { lag }).seen['w.A'].length).toBeLessThan(16);
    }
    // What a decision cannot know does not matter to it.
    const late =
      (surprise: number): Changes =>
      (n, k) =>
        k === 4 ? [surprise, surprise] : moving(0.01)(n, k);
    const [calm, moved] = [0.01, 9].map((s) => run(30, late(s), { lag: 3 }).seen['w.A']);
    const fourth = calm[3];
    expect(moved.filter((s) => s <= fourth + 3)).toEqual(calm.filter((s) => s <= fourth + 3));
    expect(moved).not.toEqual(calm);
  });

  it('go on from what was saved', () => {
    for (const lag of [0, 2]) {
      const whole = run(40, moving(0.01), { lag });
      for (const split of [2, 9, 23]) expect(run(40, moving(0.01), { lag }, split)).toEqual(whole);
    }
  });
});
