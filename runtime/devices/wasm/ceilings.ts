/**
 * What a machine reaches at most, measured: products in a 4 x 8 register tile whose panels stay in a first-level cache, and copies
 * between memories that no second-level cache holds. Both are kernels of a small program, run by the device on all of its threads
 * at once, as a training step is; what counts is what one thread reaches meanwhile.
 */
import { type Manifest, WASM_MODULE } from '../../../ir/artifact.js';
import type { Program } from '../../../ir/program.js';
import { WasmDevice, type WasmOptions } from './device.js';
import { isRelaxed } from './engine.js';
import type { ProfiledRun } from './records.js';

/** Of one thread, while the others run too. */
export interface Ceilings {
  /** Operations a second. */
  readonly flops: number;
  /** Bytes a second, read or written. */
  readonly bytes: number;
}

/** A product's depth, and how often it is repeated: a quarter of a millisecond or more. */
const DEPTH = 256;
const REPEATS = 512;
const [ROWS, COLS] = [4, 8];
/** Bytes that are copied at a time, and in between in one turn of the loop. */
const COPIED = 8 << 20;
const TURN = 64;

/** LEB128, signed: valid as unsigned below 64, too. */
function leb(n: number): number[] {
  if (n >= 0 && n < 64) return [n];
  return [(n & 127) | 128, ...leb(n >> 7)];
}
const get = (local: number): number[] => [0x20, local];
const set = (local: number): number[] => [0x21, local];
const i32 = (n: number): number[] => [0x41, ...leb(n)];
const plus = (local: number, n: number): number[] => [...get(local), ...i32(n), 0x6a, ...set(local)];
const vload = (base: number, offset: number): number[] => [...get(base), 253, 0, 2, ...leb(offset)];
const vstore = (base: number, offset: number, value: readonly number[]): number[] => [
  ...get(base),
  ...value,
  ...[253, 11, 2, ...leb(offset)],
];
/** Repeats `body` until the counter, counted down from `times`, is 0. */
const countdown = (counter: number, times: readonly number[], body: readonly number[]): number[] => [
  ...[...times, ...set(counter), 0x03, 0x40, ...body],
  ...[...get(counter), ...i32(1), 0x6b, 0x22, counter, 0x0d, 0, 0x0b],
];

/** Parameters of a kernel without buffers: scratch, begin, end. */
const [SCRATCH, BEGIN, END] = [0, 1, 2];

/** The tile's sums are stored where the first panel was, so that nothing is left out as useless. */
function tileLoop(relaxed: boolean): number[] {
  const [repeat, depth, a, b] = [3, 4, 5, 6];
  const sums = Array.from({ length: (ROWS * COLS) / 4 }, (_, n) => 7 + n);
  const [left, right, element] = [15, 16, 17];
  const panel = 4 * ROWS * DEPTH;
  const step = [
    ...[...vload(b, 0), ...set(left), ...vload(b, 16), ...set(right)],
    ...Array.from({ length: ROWS }, (_, i) => [
      ...[...get(a), 253, 9, 2, ...leb(4 * i), ...set(element)],
      ...[left, right].flatMap((column, j) => {
        const sum = sums[2 * i + j];
        return relaxed
          ? [...get(element), ...get(column), ...get(sum), 253, 133, 2, ...set(sum)]
          : [...get(sum), ...get(element), ...get(column), 253, 230, 1, 253, 228, 1, ...set(sum)];
      }),
    ]).flat(),
    ...[...plus(a, 4 * ROWS), ...plus(b, 4 * COLS)],
  ];
  const product = [
    ...[...get(SCRATCH), ...set(a), ...get(SCRATCH), ...i32(panel), 0x6a, ...set(b)],
    ...countdown(depth, i32(DEPTH), step),
  ];
  const locals = [2, 4, 0x7f, sums.length + 3, 0x7b];
  return [
    ...locals,
    ...countdown(repeat, [...get(END), ...get(BEGIN), 0x6b, ...i32(REPEATS), 0x6c], product),
    ...sums.flatMap((s, n) => vstore(SCRATCH, 16 * n, get(s))),
    0x0b,
  ];
}

function copyLoop(): number[] {
  const [repeat, turns, from, to] = [3, 4, 5, 6];
  const turn = [0, 16, 32, 48].flatMap((o) => vstore(to, o, vload(from, o)));
  const copy = [
    ...[...get(SCRATCH), ...set(from), ...get(SCRATCH), ...i32(COPIED), 0x6a, ...set(to)],
    ...countdown(turns, i32(COPIED / TURN), [...turn, ...plus(from, TURN), ...plus(to, TURN)]),
  ];
  return [1, 4, 0x7f, ...countdown(repeat, [...get(END), ...get(BEGIN), 0x6b], copy), 0x0b];
}

/** Two functions of three i32 over the shared memory. */
function moduleOf(bodies: Readonly<Record<string, readonly number[]>>): Uint8Array {
  const text = (s: string): number[] => [s.length, ...Buffer.from(s)];
  const length = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, n >> 7]);
  const section = (id: number, content: readonly number[]): number[] => [id, ...length(content.length), ...content];
  const names = Object.keys(bodies);
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 3, 0x7f, 0x7f, 0x7f, 0]),
    ...section(2, [1, ...text('env'), ...text('memory'), 2, 3, 0, 0x80, 0x80, 0x04]),
    ...section(3, [names.length, ...names.map(() => 0)]),
    ...section(7, [names.length, ...names.flatMap((n, i) => [...text(n), 0, i])]),
    ...section(10, [names.length, ...Object.values(bodies).flatMap((b) => [...length(b.length), ...b])]),
  ]);
}

/** Calls of each, of which the fastest share counts. */
const RUNS = 4;

/** @param program whose kernels are to be compared: relaxed ones are compared with relaxed ones */
export async function measureCeilings(
  program: Program,
  options: Pick<WasmOptions, 'threads' | 'threadModule'>,
): Promise<Ceilings> {
  const { threads = 1 } = options;
  const relaxed = isRelaxed(program);
  const features = ['simd128', ...(relaxed ? ['relaxed-simd'] : [])];
  const costs = { flops: 2 * ROWS * COLS * DEPTH * REPEATS, bytes: 2 * COPIED };
  const grids = { flops: 32 * threads, bytes: 8 * threads };
  const names = ['flops', 'bytes'] as const;
  const own: Program = {
    ...program,
    memories: [{ name: 'main', bytes: 0 }],
    buffers: [],
    kernels: names.map((name) => ({
      ...{ name, grid: grids[name], scratch: 2 * COPIED, access: [], flops: 0, bytes: 0 },
      // Modelled seconds that make it worth several shares for each thread.
      ...{ cost: 1, requires: { features, limits: {} }, computes: [], source: '', stopped: '' },
    })),
    functions: names.map((name) => {
      const steps = [{ slot: 's0', variants: [name], args: [], source: '' }];
      return { name, inputs: [], outputs: [], segments: [{ name, steps }] };
    }),
  };
  const files = new Map([[WASM_MODULE, moduleOf({ flops: tileLoop(relaxed), bytes: copyLoop() })]]);
  const best = { flops: 0, bytes: 0 };
  const profile = ({ func, shares }: ProfiledRun): void => {
    const name = func as (typeof names)[number];
    const work = (costs[name] * grids[name]) / shares.length;
    for (const { begin, end } of shares) best[name] = Math.max(best[name], (1e9 * work) / (end - begin));
  };
  const manifest = { programs: [own] } as unknown as Manifest;
  const device = await WasmDevice.open({ dir: '', manifest, files, weights: new Map() }, { ...options, profile });
  for (let n = 0; n < RUNS; n++) for (const name of names) device.run(name);
  device.close();
  return best;
}
