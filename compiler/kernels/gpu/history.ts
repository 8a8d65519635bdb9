/**
 * The shift of a statistic's history for a GPU: a workgroup takes a row, its threads walk the row side by side, and their sums of
 * squares meet in group memory, joined in a fixed order in two rounds.
 */
import {
  add,
  div,
  eq,
  f32,
  i32,
  type Kernel,
  load,
  loop,
  mul,
  ref,
  rem,
  type Stmt,
  select,
  store,
} from '../../../ir/kernel.js';
import { Frame, finishKernel } from '../frame.js';
import { historyRow, SQUARES, square, sums } from '../history.js';
import type { Region } from '../region.js';
import { THREADS } from './reduction.js';

/** Threads that join the sums of one kind in the first round, and sums that each of them joins. */
const JOINERS = 16;

export function lowerHistory(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  const { rows, locate, below, diagonal, weight, visit, storeSquare } = historyRow(region, frame);
  const [t, u, c, col, j] = ['t', 'u', 'c', 'col', 'j'].map(ref);
  const partial = 'partial';
  const joined: Stmt = { kind: 'var', name: 'sum', type: 'f32', value: f32(0) };
  const addTo = (at: ReturnType<typeof add>): Stmt => ({
    kind: 'accumulate',
    name: 'sum',
    op: 'add',
    value: load(partial, at),
  });
  const [kind, part] = [ref('kind'), ref('part')];
  const body: Stmt[] = [
    ...locate,
    loop('lane', 't', THREADS, [
      ...sums((k) => ({ kind: 'var', name: square(k), type: 'f32', value: f32(0) })),
      loop(
        'serial',
        'col',
        diagonal ? add(below, i32(1)) : below,
        visit(col, diagonal ? select(eq(col, below), f32(1), weight) : weight),
        t,
        THREADS,
      ),
      ...sums((k) => store(partial, add(i32(k * THREADS), t), ref(square(k)))),
    ]),
    loop('lane', 'u', SQUARES * JOINERS, [
      { kind: 'let', name: 'kind', type: 'i32', value: div(u, i32(JOINERS)) },
      { kind: 'let', name: 'part', type: 'i32', value: rem(u, i32(JOINERS)) },
      joined,
      loop('serial', 'j', THREADS / JOINERS, [addTo(add(mul(kind, i32(THREADS)), add(part, mul(j, i32(JOINERS)))))]),
      store(partial, add(mul(kind, i32(THREADS)), part), ref('sum')),
    ]),
    loop('lane', 'c', SQUARES, [
      joined,
      loop('serial', 'j', JOINERS, [addTo(add(mul(c, i32(THREADS)), j))]),
      storeSquare(c, ref('sum')),
    ]),
  ];
  const alloc: Stmt = { kind: 'alloc', name: partial, space: 'group', type: 'f32', size: SQUARES * THREADS };
  return finishKernel(frame, name, [alloc, loop('grid', 'row', rows, body)], { workgroup: THREADS });
}
