/**
 * The plan of work for threads, on programs of random steps: whatever segments run, two steps of which one writes what the other
 * touches run in their order; each step is in one piece; and a piece waits for nobody that none of its steps need wait for.
 */
import { expect, it } from 'vitest';
import type { Buffer, KernelInfo, ProgramFunction, Step } from '../../ir/program.js';
import { planWork, type Work } from '../../runtime/devices/wasm/work.js';
import { Rng } from '../fuzz/rng.js';

interface Problem {
  readonly func: ProgramFunction;
  readonly buffers: ReadonlyMap<string, Buffer>;
  readonly kernels: ReadonlyMap<string, KernelInfo>;
}

/** Steps over buffers that overlap, some of them in segments with a guard. */
function problem(rng: Rng): Problem {
  const buffers = new Map<string, Buffer>();
  for (let b = 0; b < 12; b++) {
    const bytes = 256 * rng.int(1, 4);
    const offset = 256 * rng.int(0, 20);
    const role = 'transient' as const;
    buffers.set(`b${b}`, {
      ...{ name: `b${b}`, memory: 'main', offset, dtype: 'f32', layout: 'dense' },
      shape: [],
      bytes,
      role,
    });
  }
  const kernels = new Map<string, KernelInfo>();
  for (let k = 0; k < 8; k++) {
    const access = rng.list(1, 4, () => rng.pick(['read', 'read', 'readwrite'] as const));
    const cost = rng.pick([0, 1e-6, 8e-6, 1e-4, 1e-2]);
    const others = { flops: 0, bytes: 0, scratch: 0, computes: [], source: '', stopped: '' };
    const requires = { features: [], limits: {} };
    kernels.set(`k${k}`, { name: `k${k}`, grid: rng.int(1, 40), access, cost, requires, ...others });
  }
  const names = [...buffers.keys()];
  let slot = 0;
  const step = (): Step => {
    const kernel = `k${rng.int(0, 7)}`;
    return {
      slot: `s${slot++}`,
      variants: [kernel],
      args: kernels.get(kernel)!.access.map(() => rng.pick(names)),
      source: '',
    };
  };
  const segments = rng.list(1, 8, (i) => {
    const guard = rng.chance(0.5) ? `due(${rng.int(0, 2)})` : undefined;
    return { name: `g${i}`, guard, steps: rng.list(1, 8, step) };
  });
  return { func: { name: 'f', inputs: [], outputs: [], segments }, buffers, kernels };
}

const plan = ({ func, buffers, kernels }: Problem, threads: number): Work =>
  planWork(func, buffers, (s) => kernels.get(s.variants[0])!, threads);

interface Placed {
  readonly step: Step;
  readonly guard?: string;
}

function conflict({ buffers, kernels }: Problem, a: Placed, b: Placed): boolean {
  const touched = ({ step }: Placed) =>
    step.args.map((name, i) => {
      const { offset, bytes } = buffers.get(name)!;
      const writes = kernels.get(step.variants[0])!.access[i] === 'readwrite';
      return { begin: offset, end: offset + bytes, writes };
    });
  return touched(a).some((x) => touched(b).some((y) => (x.writes || y.writes) && x.begin < y.end && y.begin < x.end));
}

/** Pieces that wait for each piece, directly or not, where only some pieces run. */
function later({ pieces }: Work, runs: (piece: number) => boolean): ReadonlySet<number>[] {
  const out: Set<number>[] = pieces.map(() => new Set());
  for (let p = pieces.length - 1; p >= 0; p--)
    for (const n of pieces[p].next) {
      expect(n).toBeGreaterThan(p);
      if (!runs(n)) continue;
      out[p].add(n);
      for (const m of out[n]) out[p].add(m);
    }
  return out;
}

it.each(Array.from({ length: 150 }, (_, seed) => seed))('random steps, seed %i', (seed) => {
  const rng = new Rng(seed);
  const made = problem(rng);
  const { func } = made;
  const work = plan(made, rng.int(2, 5));
  const steps = func.segments.flatMap((s): Placed[] => s.steps.map((step) => ({ step, guard: s.guard })));
  const segments = func.segments.flatMap((s, i) => s.steps.map(() => i));
  expect(work.pieces.flatMap((p) => p.calls)).toEqual(steps.map((_, i) => i));
  const pieceOf = work.pieces.flatMap((p, i) => p.calls.map(() => i));
  for (const { calls, segment, shares } of work.pieces) {
    for (const c of calls) expect(segments[c]).toBe(segment);
    expect(shares).toBeGreaterThanOrEqual(1);
    expect(shares).toBeLessThanOrEqual(calls.length > 1 ? 1 : work.calls[calls[0]].grid);
  }
  for (let which = 0; which < 8; which++) {
    const on = (guard: string | undefined): boolean => guard === undefined || ((which >> Number(guard[4])) & 1) === 1;
    const after = later(work, (p) => on(steps[work.pieces[p].calls[0]].guard));
    steps.forEach((b, j) => {
      for (let i = 0; i < j; i++) {
        const a = steps[i];
        if (!on(a.guard) || !on(b.guard) || pieceOf[i] === pieceOf[j] || !conflict(made, a, b)) continue;
        expect(after[pieceOf[i]].has(pieceOf[j]), `${a.step.slot} before ${b.step.slot}`).toBe(true);
      }
    });
  }
  work.pieces.forEach(({ calls, next }) => {
    for (const n of next)
      expect(calls.some((a) => work.pieces[n].calls.some((b) => conflict(made, steps[a], steps[b])))).toBe(true);
  });
});

it('the steps of a long chain are not one piece', () => {
  const made = problem(new Rng(1));
  const step = { ...made.func.segments[0].steps[0], args: ['b0'] };
  const kernels = new Map([
    ['k', { ...made.kernels.get('k0')!, name: 'k', cost: 5e-6, access: ['readwrite' as const] }],
  ]);
  const steps = Array.from({ length: 40 }, () => ({ ...step, variants: ['k'] }));
  const func = { ...made.func, segments: [{ name: 's', steps }] };
  const work = plan({ ...made, func, kernels }, 2);
  expect(work.pieces.map((p) => p.calls.length)).toEqual(Array.from({ length: 10 }, () => 4));
});
