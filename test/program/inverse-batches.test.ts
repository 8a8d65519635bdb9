/**
 * Inverses of many statistics that share dispatches, as programs: any widths, any of them due, spoilt ones beside sound ones,
 * in one workgroup each or in the phases of wide ones, against the float64 evaluator.
 */
import { describe, expect, it } from 'vitest';
import { fuse } from '../../compiler/kernels/fuse.js';
import { lowerForGpu } from '../../compiler/kernels/gpu/lower.js';
import { lowerRegion } from '../../compiler/kernels/lower.js';
import { assemble } from '../../compiler/program/assemble.js';
import { MOST_BINDINGS } from '../../compiler/program/bindings.js';
import type { BatchOptions } from '../../compiler/program/inverse-batches.js';
import { printWgsl, workgroupsOf } from '../../compiler/targets/webgpu/print.js';
import { Builder } from '../../ir/builder.js';
import { evaluate } from '../../ir/evaluate.js';
import { findFunction, type Module, type StateEntry } from '../../ir/graph.js';
import { dispatchesOf } from '../../ir/program.js';
import { parseProgram } from '../../ir/text/parse-program.js';
import { printProgram } from '../../ir/text/print-program.js';
import { symmetric, type TensorType, tensor } from '../../ir/types.js';
import { verifyKernel, verifyProgram } from '../../ir/verify.js';
import { loc, noise } from '../nets.js';
import { complaints } from '../targets/validate-wgsl.js';
import { type By, ProgramRun } from './run-program.js';

interface Statistic {
  readonly name: string;
  readonly width: number;
  readonly matrices?: number;
  readonly kind?: Kind;
  /** In place of a matrix of that kind. */
  readonly given?: { readonly x: Float64Array; readonly shift: number };
}

const packed = (n: number): number => (n * (n + 1)) / 2;

const at = (i: number, j: number): number => (i < j ? packed(j) + i : packed(i) + j);

/** A packed matrix times a vector. */
const times = (x: Float64Array, v: Float64Array): Float64Array =>
  v.map((_, i) => v.reduce((sum, e, j) => sum + x[at(i, j)] * e, 0));

/** A factor: the second moment of vectors of noise, twice as many as it is wide or `rank`. */
function moment(n: number, seed: number, rank = 2 * n): Float64Array {
  const v = noise(n * rank, seed);
  const out = new Float64Array(packed(n));
  for (let r = 0; r < rank; r++)
    for (let i = 0, k = 0; i < n; i++) for (let j = 0; j <= i; j++) out[k++] += (v[r * n + i] * v[r * n + j]) / rank;
  return out.map(Math.fround);
}

/** What may be wrong with a matrix. Its mean eigenvalue is about a third, its shift a tenth of that. */
const kinds = {
  sound: (x: Float64Array) => x,
  // A negative eigenvalue at the far end, so that many pivots are good before the bad one: some attempts.
  indefinite: (x: Float64Array) => x.with(x.length - 1, -2),
  hopeless: (x: Float64Array) => x.with(x.length - 1, -1e9),
  nan: (x: Float64Array) => x.with(x.length >> 1, Number.NaN),
  infinite: (x: Float64Array) => x.with(0, Number.POSITIVE_INFINITY),
  zero: (x: Float64Array) => x.fill(0),
  huge: (x: Float64Array) => x.map((e) => Math.fround(e * 1e30)),
} satisfies Record<string, (x: Float64Array) => Float64Array>;
type Kind = keyof typeof kinds;
const SHIFT = 1 / 32;
const shiftOf = (kind: Kind): number => (kind === 'huge' ? Math.fround(SHIFT * 1e30) : SHIFT);

function moduleOf(statistics: readonly Statistic[]): Module {
  const b = new Builder('train', loc);
  const state: StateEntry[] = [];
  const read = (name: string, type: TensorType, role: StateEntry['role']) => {
    const entry = {
      owner: 'all',
      lifetime: 'training',
      checkpoint: true,
      init: { kind: 'fill', value: 0 },
      loc,
    } as const;
    state.push({ name, type, role, ...entry });
    return b.read(name, type);
  };
  for (const { name, width, matrices = 1 } of statistics) {
    const batch = matrices > 1 ? [matrices] : [];
    const x = read(`${name}.X`, symmetric(width, batch), 'factor');
    const stored = read(`${name}.inverse`, symmetric(width, batch), 'inverse');
    const count = read(`${name}.failures`, tensor('f32', batch), 'counter');
    const root = b.input(`${name}.root`, tensor('f32', batch));
    b.guard = `due(${name})`;
    // Computed in the kernel of the inverse.
    const shift = b.mul(root, root);
    const [fresh, failures] = b.multi('damped_inverse', [x, shift, stored], { attrs: { retries: 5 } });
    const now = b.node('refresh', [fresh, stored], { name: `${name}.now` });
    const counted = b.node('refresh', [failures, count], { name: `${name}.counted` });
    b.guard = undefined;
    b.update(stored.name, now);
    b.update(count.name, counted);
    b.output(`${name}.trace`, b.node('trace', [now]));
  }
  const func = b.finish();
  return { name: 'm', level: 'placed', state, functions: [func], weights: new Map(), parameters: [] };
}

interface Outcome {
  readonly state: Record<string, Float64Array>;
  readonly want: Record<string, Float64Array>;
}

/** One step from the same state, in which `due` are due; what it leaves, and what the evaluator says. */
function step(
  statistics: readonly Statistic[],
  by: By,
  due: (name: string) => boolean,
  options: BatchOptions,
): Outcome {
  const module = moduleOf(statistics);
  const gpu = by !== 'wasm';
  const assembled = assemble(module, fuse, gpu ? lowerForGpu : lowerRegion, gpu ? 'webgpu' : 'wasm', options);
  for (const k of assembled.kernels) verifyKernel(k);
  verifyProgram(assembled.program, assembled.kernels);
  expect(parseProgram(printProgram(assembled.program))).toEqual(assembled.program);
  const run = new ProgramRun(assembled, by);
  const state: Record<string, Float64Array> = {};
  const inputs: Record<string, Float64Array> = {};
  statistics.forEach(({ name, width, matrices = 1, kind = 'sound', given }, s) => {
    const all = (one: (m: number) => Float64Array): Float64Array =>
      Float64Array.from(Array.from({ length: matrices }, (_, m) => [...one(m)]).flat());
    // Of several matrices the last is the spoilt one.
    const kindOf = (m: number): Kind => (m === matrices - 1 ? kind : 'sound');
    state[`${name}.X`] = given?.x ?? all((m) => kinds[kindOf(m)](moment(width, 100 * s + m + 1)));
    state[`${name}.inverse`] = all((m) => noise(packed(width), 7 * s + m + 50).map(Math.fround));
    state[`${name}.failures`] = new Float64Array(matrices).fill(9);
    inputs[`${name}.root`] = Float64Array.from({ length: matrices }, (_, m) =>
      Math.fround(Math.sqrt(given?.shift ?? shiftOf(kindOf(m)))),
    );
  });
  for (const [name, data] of Object.entries(state)) run.view(name).set(data);
  const on = (guard: string): boolean => due(guard.slice(4, -1));
  const want = evaluate(findFunction(module, 'train'), inputs, state, on).state;
  run.run('train', inputs, on);
  const after = Object.keys(state).map((name) => [name, Float64Array.from(run.view(name))] as const);
  return { state: Object.fromEntries(after), want };
}

/**
 * Cholesky's inverse has a relative error of about condition * 2^-24 times a small factor. The trace is n/3, so with a shift of
 * 1/32 the condition is at most 11 n + 1; a shift that was raised only lowers it.
 */
function agrees(statistics: readonly Statistic[], { state, want }: Outcome): void {
  for (const { name, width, matrices = 1 } of statistics) {
    expect([...state[`${name}.failures`]], `${name}: failures`).toEqual([...want[`${name}.failures`]]);
    for (let m = 0; m < matrices; m++) {
      const part = (a: Float64Array): Float64Array => a.slice(m * packed(width), (m + 1) * packed(width));
      const [got, exact] = [part(state[`${name}.inverse`]), part(want[`${name}.inverse`])];
      const largest = exact.reduce((n, e) => Math.max(n, Math.abs(e)), 0);
      const error = got.reduce((n, e, i) => Math.max(n, Math.abs(e - exact[i])), 0);
      // NaN is no number below it.
      expect(error / largest, `${name}[${m}]`).toBeLessThan((11 * width + 1) * 2 ** -22);
    }
  }
}

const one = { block: 8, depth: 4 };
/** As blocks of 8 columns: all of it is wide. */
const wide: BatchOptions = { narrow: 0, choice: one };
const mixed: BatchOptions = { narrow: 12, choice: one };
const forms: readonly (readonly [string, By, BatchOptions])[] = [
  ['wasm', 'wasm', {}],
  ['narrow, interpreter', 'interpreter', {}],
  ['narrow, interpreter, backwards', 'interpreter, backwards', {}],
  ['wide, interpreter', 'interpreter', wide],
  ['wide, interpreter, backwards', 'interpreter, backwards', wide],
  ['both, interpreter', 'interpreter', mixed],
  ['narrow, Dawn', 'Dawn', {}],
  ['both, Dawn', 'Dawn', mixed],
];

const sizes: readonly Statistic[] = [1, 3, 4, 7, 8, 9, 12, 16, 17, 23, 31, 33].map((width) => ({
  name: `n${width}`,
  width,
}));
const groups: Statistic = { name: 'groups', width: 9, matrices: 3 };
const bad: readonly Statistic[] = [
  ...(Object.keys(kinds) as Kind[]).map((kind) => ({ name: kind, width: 17, kind })),
  { name: 'beside', width: 17 },
  { name: 'one', width: 11, matrices: 3, kind: 'nan' },
  { name: 'more', width: 10, matrices: 2, kind: 'indefinite' },
];

describe.each(forms)('%s', (_, by, options) => {
  it('sizes around the edges of blocks, together', () => {
    const all = [...sizes, groups];
    agrees(
      all,
      step(all, by, () => true, options),
    );
  }, 200_000);

  it('what is not due stays as it is', () => {
    const all = [...sizes.slice(4), groups];
    for (const due of [(n: string) => n.length % 2 === 0, (n: string) => n === 'n9', () => false]) {
      const outcome = step(all, by, due, options);
      agrees(all, outcome);
      for (const { name } of all) if (!due(name)) expect(outcome.state[`${name}.failures`][0], name).toBe(9);
    }
  }, 200_000);

  it('spoilt ones get more damping or keep what they had, and nobody beside them sees it', () => {
    const spoilt = step(bad, by, () => true, options);
    agrees(bad, spoilt);
    const failures = (name: string): number[] => [...spoilt.state[`${name}.failures`]];
    expect(failures('beside')).toEqual([0]);
    expect(failures('zero')).toEqual([0]);
    expect(failures('huge')).toEqual([0]);
    expect(failures('indefinite')).toEqual([2]);
    for (const name of ['hopeless', 'nan', 'infinite']) expect(failures(name), name).toEqual([6]);
    expect(failures('one')).toEqual([0, 0, 6]);
    expect(failures('more')).toEqual([0, 2]);
    const sound = step(
      bad.map((s) => ({ ...s, kind: 'sound' as const })),
      by,
      () => true,
      options,
    );
    for (const name of ['sound', 'beside']) {
      const bits = (o: Outcome): Uint8Array => new Uint8Array(o.state[`${name}.inverse`].buffer);
      expect(Buffer.compare(bits(spoilt), bits(sound)), name).toBe(0);
    }
    for (const [name, first, length] of [
      ['one', 0, 2 * packed(11)],
      ['more', 0, packed(10)],
    ] as const) {
      const part = (o: Outcome): number[] => [...o.state[`${name}.inverse`].slice(first, length)];
      expect(part(spoilt), name).toEqual(part(sound));
    }
  }, 200_000);
});

describe('accuracy', () => {
  /** A factor of low rank, as K-FAC's are, with a shift that makes the condition number. */
  const conditions = [1e2, 1e4, 1e6];
  const hard = [17, 33, 40].flatMap((width, i) =>
    conditions.map((condition): Statistic => {
      const x = moment(width, i + 1, width >> 1);
      // The largest eigenvalue, by powers: that of noise stands out.
      let v = new Float64Array(width).fill(1).map((_, k) => 1 + (k % 3));
      for (let t = 0; t < 200; t++) {
        const w = times(x, v);
        const size = Math.hypot(...w);
        v = w.map((e) => e / size);
      }
      const largest = Math.hypot(...times(x, v));
      // The shift is a square of an f32 number, rounded.
      const root = Math.fround(Math.sqrt(largest / condition));
      const shift = Math.fround(root * root);
      return { name: `n${width}c${condition}`, width, given: { x, shift } };
    }),
  );

  /**
   * Largest element of I - M X, by f64 arithmetic. For X from Cholesky's factors it is of the order of condition * 2^-24; how much
   * above is a matter of luck and the order of sums. So it is held to what the same steps one element at a time leave, in f32 all.
   */
  function residual(width: number, m: (i: number, j: number) => number, x: ArrayLike<number>): number {
    let most = 0;
    for (let i = 0; i < width; i++)
      for (let j = 0; j < width; j++) {
        let sum = i === j ? -1 : 0;
        for (let k = 0; k < width; k++) sum += m(i, k) * x[at(k, j)];
        most = Math.max(most, Math.abs(sum));
      }
    return most;
  }

  function plain(width: number, m: (i: number, j: number) => number): Float64Array {
    const f = Math.fround;
    const l = Array.from({ length: width }, () => new Float32Array(width));
    const inverse = Array.from({ length: width }, () => new Float32Array(width));
    for (let j = 0; j < width; j++)
      for (let i = j; i < width; i++) {
        let sum = f(m(i, j));
        for (let k = 0; k < j; k++) sum = f(sum - f(l[i][k] * l[j][k]));
        l[i][j] = i === j ? f(Math.sqrt(sum)) : f(sum / l[j][j]);
      }
    for (let j = 0; j < width; j++)
      for (let i = j; i < width; i++) {
        let sum = i === j ? 1 : 0;
        for (let k = j; k < i; k++) sum = f(sum - f(l[i][k] * inverse[k][j]));
        inverse[i][j] = f(sum / l[i][i]);
      }
    const out = new Float64Array(packed(width));
    for (let i = 0; i < width; i++)
      for (let j = 0; j <= i; j++) {
        let sum = 0;
        for (let k = i; k < width; k++) sum = f(sum + f(inverse[k][i] * inverse[k][j]));
        out[at(i, j)] = sum;
      }
    return out;
  }

  it.each(forms)('%s: residuals as of plain Cholesky in f32, up to a condition of 10^6', (_, by, options) => {
    const { state } = step(hard, by, () => true, options);
    for (const { name, width, given } of hard) {
      const { x, shift } = given!;
      const m = (i: number, j: number): number => x[at(i, j)] + (i === j ? shift : 0);
      const error = residual(width, m, state[`${name}.inverse`]);
      expect(state[`${name}.failures`][0], name).toBe(0);
      expect(error, name).toBeLessThan(3 * residual(width, m, plain(width, m)));
    }
  });
});

it('wide ones in blocks as a real device takes them, Dawn', () => {
  const all = [64, 65, 130].map((width) => ({ name: `n${width}`, width }));
  agrees(
    all,
    step(all, 'Dawn', () => true, { narrow: 0 }),
  );
}, 200_000);

describe('the program', () => {
  const assembled = (options: BatchOptions, all: readonly Statistic[] = sizes) =>
    assemble(moduleOf(all), fuse, lowerForGpu, 'webgpu', options);
  const program = (...given: Parameters<typeof assembled>) => assembled(...given).program;
  const inverseSegments = (p: ReturnType<typeof program>) =>
    p.functions[0].segments.filter((s) => s.guard?.startsWith('due(inverses'));

  it('has one dispatch for all narrow inverses, and says whose', () => {
    const { program: p, kernels } = assembled({});
    const [segment, ...others] = inverseSegments(p);
    expect(others).toEqual([]);
    expect(segment.steps).toHaveLength(1);
    expect(p.functions[0].batches).toEqual([
      { guard: 'due(inverses.0)', of: [...sizes].reverse().map((s) => `due(${s.name})`), buffer: 'train.due.0' },
    ]);
    const kernel = kernels.find((k) => k.name === segment.steps[0].variants[0])!;
    expect(workgroupsOf(kernel)).toEqual([sizes.length, 1]);
  });

  it('repeats two dispatches for wide ones, as often as the widest has blocks in each attempt', () => {
    const p = program(wide);
    const blocks = Math.ceil(33 / 8);
    const repeated = inverseSegments(p).filter((s) => s.repeat !== undefined);
    expect(repeated.map((s) => [s.repeat, s.steps.length])).toEqual(Array(6).fill([blocks, 2]));
    const all = dispatchesOf({ ...p.functions[0], segments: inverseSegments(p) });
    expect(all).toBe(6 * (2 * blocks + 2) + 2);
  });

  it('is valid WGSL at the widths of a large net, in the group memory that every device has', async () => {
    const widths = [64, 147, 256, 257, 512, 1152, 2304, 4608];
    const { program: p, kernels } = assembled(
      {},
      widths.map((width) => ({ name: `n${width}`, width })),
    );
    const used = new Set(inverseSegments(p).flatMap((s) => s.steps.map((t) => t.variants[0])));
    // One for the narrow ones, six for the phases of wide ones.
    expect(used.size).toBe(7);
    for (const kernel of kernels.filter((k) => used.has(k.name))) {
      const text = printWgsl(kernel);
      expect(await complaints(text), kernel.name).toEqual([]);
      const shared = [...text.matchAll(/var<workgroup> \w+: array<[fi]32, (\d+)>/g)];
      expect(shared.reduce((n, [, size]) => n + 4 * Number(size), 0)).toBeLessThanOrEqual(16_384);
      expect(kernel.params.length).toBeLessThanOrEqual(MOST_BINDINGS);
    }
  });

  it('bounds the scratch memory of a batch', () => {
    // Three of 8192 x 8192: a batch each.
    const p = program(
      { narrow: 4 },
      [1, 2, 3].map((i) => ({ name: `w${i}`, width: 8192 })),
    );
    expect(p.functions[0].batches).toHaveLength(3);
    const work = p.buffers.filter((b) => b.name.endsWith('.work')).map((b) => b.bytes);
    expect(work).toEqual(Array(3).fill(4 * 8192 ** 2));
    // A thousand of 9 x 9 have none of a width of 200 beside them, whose place each of theirs would be.
    const many = program({}, [
      { name: 'many', width: 9, matrices: 960 },
      ...[200, 100, 9].map((width) => ({ name: `n${width}`, width })),
    ]);
    expect(many.functions[0].batches!.map((b) => b.of.join()).sort()).toEqual([
      'due(many),due(n9)',
      'due(n200),due(n100)',
    ]);
    const state = p.buffers.filter((b) => b.role === 'state').reduce((n, b) => n + b.bytes, 0);
    expect(p.plan.peak - state).toBeLessThan(1.2 * 4 * 8192 ** 2);
  });
});
