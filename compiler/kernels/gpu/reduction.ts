/**
 * Sums, maxima, traces and positions of maxima for a GPU. A workgroup owns some results and splits each among some of its
 * threads, which walk the reduced elements side by side; their partial results meet in group memory and are joined in a fixed
 * order, in two rounds. No subgroup operation is used: the result is the same whatever the size of a subgroup.
 */
import {
  add,
  div,
  type Expr,
  i32,
  type Kernel,
  letI,
  load,
  loop,
  lt,
  mul,
  ref,
  rem,
  type Stmt,
  store,
} from '../../../ir/kernel.js';
import { concrete, product } from '../../../ir/types.js';
import type { Dimension } from '../affine.js';
import { when } from '../contraction-tile.js';
import { Elements, epilogueOf } from '../elements.js';
import { Frame, finishKernel } from '../frame.js';
import { flatten } from '../indices.js';
import { spanning } from '../nest.js';
import { bindResult, initial, isSelection, type Reduction, reductionGroups, sharedReductions } from '../reduction.js';
import type { Region } from '../region.js';
import { argmaxOf, diagonalOffset } from '../selection.js';
import { gridOf, type Share, split } from './shares.js';

/** Threads of a workgroup: what every device allows. */
export const THREADS = 256;
/** Partial results that one thread joins in the first round. */
const JOINED = 16;

/** How many results a workgroup owns; the others of its threads share them. A power of two up to THREADS. */
export interface ReductionChoice {
  readonly results: number;
}

/** Reductions over one range of elements, for results in one space. */
interface Task {
  readonly reductions: readonly Reduction[];
  readonly kept: readonly Dimension[];
  readonly reduced: readonly Dimension[];
  readonly keptInnermost: boolean;
  /** Registers that follow from those of the kept dimensions. */
  readonly locate?: readonly Stmt[];
}

/** A share, and the group memory that it needs. */
export type SharedReduction = Share & { readonly allocs: readonly Stmt[] };

export function lowerReduction(region: Region, name: string, choice?: ReductionChoice): Kernel {
  const frame = new Frame(region);
  const partials = new Partials();
  const shares = reductionGroups(frame).map((parts): Share => {
    if (parts[0].anchor!.op === 'argmax') return positionShare(frame, parts[0]);
    const task = isSelection(parts[0]) ? traceTask(frame, parts[0]) : sharedReductions(frame, parts);
    return shareOf(frame, task, choice?.results ?? resultsOf(task), partials);
  });
  const grid = gridOf(frame, shares);
  return finishKernel(frame, name, [...partials.allocs(), ...grid], { workgroup: THREADS });
}

/** Neighbouring threads should read neighbouring elements; and no thread should idle where there is little to reduce. */
function resultsOf({ reduced, keptInnermost }: Task): number {
  const elements = product(reduced.map((d) => d.extent));
  if (keptInnermost) return elements <= 64 ? THREADS : 16;
  return elements <= 16 ? THREADS : elements <= 512 ? 8 : 1;
}

/** Group memory for partial results, which the shares of a kernel use in turn. */
class Partials {
  private readonly counts = { f32: 0, i32: 0 };

  names(reductions: readonly Reduction[]): string[] {
    const used = { f32: 0, i32: 0 };
    const names = reductions.map(({ type }) => `partial_${type}_${used[type]++}`);
    for (const type of ['f32', 'i32'] as const) this.counts[type] = Math.max(this.counts[type], used[type]);
    return names;
  }

  allocs(): Stmt[] {
    return (['f32', 'i32'] as const).flatMap((type) =>
      Array.from(
        { length: this.counts[type] },
        (_, i): Stmt => ({ kind: 'alloc', name: `partial_${type}_${i}`, space: 'group', type, size: THREADS }),
      ),
    );
  }
}

/** @param results of a workgroup: a power of two up to THREADS */
export function reductionShare(frame: Frame, task: Task, results: number): SharedReduction {
  const partials = new Partials();
  return { ...shareOf(frame, task, results, partials), allocs: partials.allocs() };
}

function shareOf(frame: Frame, task: Task, results: number, partials: Partials): Share {
  const { reductions, kept, reduced, locate = [] } = task;
  const resultCount = product(kept.map((d) => d.extent));
  const elementCount = product(reduced.map((d) => d.extent));
  const threads = THREADS / results;
  const [t, u, c, r, j] = ['t', 'u', 'c', 'r', 'j'].map((n) => frame.fresh(n));
  const sums = reductions.map(() => frame.fresh('a'));
  /** The thread's work on result `at * results + number`, where there is such a result. */
  const ofResult = (at: Expr, number: Expr, body: readonly Stmt[]): Stmt[] => {
    const result = frame.fresh('o');
    const inside = [...split(ref(result), kept), ...locate, ...body];
    return [
      letI(result, add(mul(at, i32(results)), number)),
      ...(resultCount % results === 0 ? inside : [when(lt(ref(result), i32(resultCount)), inside)]),
    ];
  };
  const declare = reductions.map((x, k): Stmt => ({ kind: 'var', name: sums[k], type: x.type, value: initial(x) }));
  const accumulate = (values: readonly Expr[]): Stmt[] =>
    reductions.map((x, k) => ({ kind: 'accumulate', name: sums[k], op: x.sum ? 'add' : 'max', value: values[k] }));
  const walk = (first: Expr): Stmt =>
    loop(
      'serial',
      r,
      elementCount,
      [...split(ref(r), reduced), ...accumulate(reductions.map((x) => x.value))],
      first,
      threads,
    );
  const finish = reductions.flatMap((x, k) => [bindResult(x, ref(sums[k])), ...x.stores]);
  if (threads === 1)
    return {
      count: Math.ceil(resultCount / results),
      body: (at) => [loop('lane', t, THREADS, ofResult(at, ref(t), [...declare, walk(i32(0)), ...finish]))],
    };
  const memories = partials.names(reductions);
  /** Thread `name` of the first `count` joins `parts` partial results, `count` apart. */
  const join = (name: string, parts: number, count: number): Stmt[] => [
    ...declare,
    loop('serial', j, parts, accumulate(memories.map((m) => load(m, add(ref(name), mul(ref(j), i32(count))))))),
  ];
  const put = (name: string): Stmt[] => memories.map((m, k) => store(m, ref(name), ref(sums[k])));
  const joiners = threads > JOINED ? threads / JOINED : 1;
  return {
    count: Math.ceil(resultCount / results),
    body: (at) => [
      loop('lane', t, THREADS, [
        ...declare,
        ...ofResult(at, rem(ref(t), i32(results)), [walk(div(ref(t), i32(results)))]),
        ...put(t),
      ]),
      ...(joiners === 1
        ? []
        : [loop('lane', u, results * joiners, [...join(u, JOINED, results * joiners), ...put(u)])]),
      loop('lane', c, results, [
        ...join(c, joiners === 1 ? threads : joiners, results),
        ...ofResult(at, ref(c), finish),
      ]),
    ],
  };
}

function traceTask(frame: Frame, region: Region): Task {
  const anchor = region.anchor!;
  const [x] = anchor.operands;
  const shape = concrete(x.type.shape);
  const n = shape[shape.length - 1];
  const batch = shape.slice(0, -2);
  const elements = new Elements(region, frame.parameters);
  const { index, dims } = spanning(frame, batch);
  const i = frame.fresh('i');
  const offset = add(mul(flatten(index, batch), i32((n * (n + 1)) / 2)), diagonalOffset(ref(i)));
  const result = frame.fresh('r');
  return {
    reductions: [
      {
        sum: true,
        type: 'f32',
        value: elements.at(x, [offset]),
        result,
        stores: epilogueOf(region, elements)(index, ref(result)),
      },
    ],
    kept: dims,
    reduced: [{ name: i, extent: n, role: 'reduced' }],
    keptInnermost: false,
  };
}

/** A thread looks for one maximum. */
function positionShare(frame: Frame, region: Region): Share {
  const { dims, body } = argmaxOf(frame, region);
  const count = product(dims.map((d) => d.extent));
  const [t, result] = [frame.fresh('t'), frame.fresh('o')];
  return {
    count: Math.ceil(count / THREADS),
    body: (at) => [
      loop('lane', t, THREADS, [
        letI(result, add(mul(at, i32(THREADS)), ref(t))),
        when(lt(ref(result), i32(count)), [...split(ref(result), dims), ...body]),
      ]),
    ],
  };
}
