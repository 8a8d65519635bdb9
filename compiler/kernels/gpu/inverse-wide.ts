/**
 * Damped inverses of wide matrices for a GPU, as many workgroups as there are blocks: the sweep of inverse.ts as dispatches that
 * wait for each other. `panel` makes block row k of R for every matrix, a workgroup for each block of columns; `update` adds
 * R^T R, one for each block of the triangle, and the workgroup that finishes the next diagonal block inverts it at once. The two
 * take turns and count k in memory, so that they are the same dispatches every time. An attempt is as many turns as the widest
 * matrix has blocks; matrices that are done, not due or spoilt sit it out.
 */
import {
  add,
  and,
  div,
  type Expr,
  eq,
  f32,
  i32,
  type Kernel,
  type KernelParam,
  le,
  letF,
  letI,
  load,
  loop,
  lt,
  mul,
  ref,
  rem,
  type Stmt,
  select,
  store,
  sub,
  unary,
} from '../../../ir/kernel.js';
import { when } from '../contraction-tile.js';
import type { InverseBatch } from './inverse-batch.js';
import { blockArrays, groupArray, invertBlock, largestOf, multiplyBlocks, stageArrays } from './inverse-block.js';
import { NOT_DUE, OPEN, PHASE, pairs, SOLVED, starts, type WideChoice, WideLayout } from './inverse-layout.js';
import { triangular } from './triangle.js';

/** Kernels that run one behind the other, so many times. */
export interface Round {
  readonly kernels: readonly Kernel[];
  readonly times: number;
}

export interface InverseRounds {
  readonly rounds: readonly Round[];
  /** Parameters that all kernels share by their names. */
  readonly scratch: readonly KernelParam[];
}

/** The block in group memory as a triangle and two stages beside it: 13 KiB of the 16 that every device has. */
const CHOICE: WideChoice = { block: 64, depth: 8 };

export function lowerWideInverses(batch: InverseBatch, name: string, choice: WideChoice = CHOICE): InverseRounds {
  return new WideInverses(batch, name, choice).rounds();
}

class WideInverses extends WideLayout {
  constructor(
    batch: InverseBatch,
    private readonly name: string,
    choice: WideChoice,
  ) {
    super(batch, choice);
  }

  rounds(): InverseRounds {
    const { retries } = this.batch;
    const [begin, fill, panel, update, decide, write] = [
      this.begin(),
      this.fill(),
      this.panel(),
      this.update(),
      this.decide(),
      this.write(),
    ];
    const turns = { kernels: [panel, update], times: Math.max(...this.blocks) };
    const attempts = Array.from({ length: retries }, (): Round[] => [turns, { kernels: [decide, fill], times: 1 }]);
    return {
      rounds: [{ kernels: [begin, fill], times: 1 }, ...attempts.flat(), turns, { kernels: [decide, write], times: 1 }],
      scratch: Object.values(this.scratch),
    };
  }

  /** A matrix takes the shift that it begins with; one that is not due needs nothing. */
  private begin(): Kernel {
    const { batch } = this;
    const matrix = ref('matrix');
    const body = [
      ...batch.cases(matrix, (s, local) => [store('state', this.word('damping'), s.shift(local))]),
      store('state', this.word('failed'), f32(0)),
      store('state', this.word('solved'), select(eq(batch.due(matrix), i32(1)), f32(OPEN), f32(NOT_DUE))),
    ];
    return this.kernel('begin', [loop('grid', 'matrix', batch.matrices, body)], 64);
  }

  /** work = X + damping I, padded with the identity; the first diagonal block is inverted. */
  private fill(): Kernel {
    const [i, j] = ['i', 'j'].map(ref);
    const packed = add(div(mul(i, add(i, i32(1))), i32(2)), j);
    const work = this.work();
    return this.blocksOfTriangle('fill', [
      groupArray('now', 'f32', 2),
      ...this.arrays(),
      when(eq(ref('slot'), i32(0)), [store('state', i32(PHASE.panel), f32(0))]),
      ...this.look(0, 'solved', this.word('solved')),
      ...this.look(1, 'damping', this.word('damping')),
      when(eq(ref('solved'), f32(OPEN)), [
        ...this.batch.cases(ref('matrix'), (s, local) => [
          this.elements([
            when(
              lt(i, i32(s.width)),
              [store('work', work(i, j), add(s.element(local, packed), select(eq(i, j), ref('damping'), f32(0))))],
              [store('work', work(i, j), select(eq(i, j), f32(1), f32(0)))],
            ),
          ]),
        ]),
        when(eq(ref('unit'), i32(0)), this.invert(i32(0))),
      ]),
    ]);
  }

  /** Block row k of R, the inverted diagonal block in its own place. */
  private panel(): Kernel {
    const { blocks } = this;
    const { block } = this.choice;
    const [strip, k, i, j] = ['unit', 'k', 'i', 'j'].map(ref);
    const work = this.work();
    const [i0, k0] = [mul(strip, i32(block)), mul(k, i32(block))];
    const inverted = (r: Expr, c: Expr): Expr =>
      load('inverted', add(mul(ref('matrix'), i32(block ** 2)), add(mul(r, i32(block)), c)));
    const times = (column: (u: Expr, c: Expr) => Expr): Stmt =>
      multiplyBlocks(this.choice, {
        a: (t, u) => inverted(t, u),
        b: (c, u) => load('work', column(u, c)),
        each: (t, c, value) => [store('panels', this.panelAt(t, add(i0, c)), value)],
      });
    const body = [
      groupArray('now', 'f32', 3),
      ...stageArrays(this.choice),
      ...this.locate(blocks),
      ...this.look(0, 'solved', this.word('solved')),
      ...this.look(1, 'bad', this.word('bad')),
      ...this.look(2, 'phase', i32(PHASE.panel)),
      letI('k', unary('toI32', ref('phase'))),
      when(eq(ref('slot'), i32(0)), [store('state', i32(PHASE.update), ref('phase'))]),
      when(eq(strip, i32(0)), [store('state', this.word('dead'), ref('bad'))]),
      when(this.live('bad'), [
        when(
          eq(strip, k),
          [
            loop('group', 'e', block ** 2, [
              letI('i', div(ref('e'), i32(block))),
              letI('j', rem(ref('e'), i32(block))),
              store('panels', this.panelAt(i, add(i0, j)), inverted(i, j)),
            ]),
          ],
          [
            when(
              lt(strip, k),
              [times((u, c) => work(add(k0, u), add(i0, c)))],
              [times((u, c) => work(add(i0, c), add(k0, u)))],
            ),
          ],
        ),
      ]),
    ];
    const slots = this.total(blocks);
    const flops = 2 * block ** 3 * slots;
    return this.kernel('panel', [loop('grid', 'slot', slots, body)], this.threads, flops, 8 * block ** 2 * slots);
  }

  /** work +-= R^T R; the next diagonal block is inverted, and with the last k the largest magnitude of each block is noted. */
  private update(): Kernel {
    const { block } = this.choice;
    const [k, ti, tj] = ['k', 'ti', 'tj'].map(ref);
    const work = this.work();
    const [i0, j0] = [mul(ti, i32(block)), mul(tj, i32(block))];
    const next = add(k, i32(1));
    const old = (i: Expr, j: Expr): Expr => ({
      kind: 'loadIf',
      cond: unary('not', ref('fresh')),
      memory: 'work',
      index: work(i, j),
      otherwise: 0,
    });
    const slots = this.total(this.blocks.map(pairs));
    return this.blocksOfTriangle(
      'update',
      [
        groupArray('now', 'f32', 3),
        groupArray('seen', 'f32', this.threads),
        ...stageArrays(this.choice),
        ...this.arrays(),
        ...this.look(0, 'solved', this.word('solved')),
        ...this.look(1, 'dead', this.word('dead')),
        ...this.look(2, 'phase', i32(PHASE.update)),
        letI('k', unary('toI32', ref('phase'))),
        when(eq(ref('slot'), i32(0)), [store('state', i32(PHASE.panel), add(ref('phase'), f32(1)))]),
        when(this.live('dead'), [
          letF('sign', select(le(ti, k), f32(1), f32(-1))),
          {
            kind: 'let',
            name: 'fresh',
            type: 'bool',
            value: { kind: 'binary', op: 'or', a: eq(ti, k), b: eq(tj, k) },
          },
          multiplyBlocks(this.choice, {
            a: (i, u) => load('panels', this.panelAt(u, add(i0, i))),
            b: (j, u) => load('panels', this.panelAt(u, add(j0, j))),
            each: (row, col, value) => {
              const [i, j] = [add(i0, row), add(j0, col)];
              return [store('work', work(i, j), add(old(i, j), mul(ref('sign'), value)))];
            },
          }),
          when(and(eq(ti, next), eq(tj, next)), this.invert(mul(next, i32(block)))),
          when(eq(next, ref('blocks')), [
            ...largestOf(this.threads, i32(block ** 2), (e) => {
              const [i, j] = [add(i0, div(e, i32(block))), add(j0, rem(e, i32(block)))];
              return { value: load('work', work(i, j)), inside: le(j, i) };
            }),
            store('tops', ref('slot'), ref('largest')),
          ]),
        ]),
      ],
      { flops: 2 * block ** 3 * slots, bytes: 16 * block ** 2 * slots },
    );
  }

  /** Whether the attempt succeeded; if not, ten times the damping. */
  private decide(): Kernel {
    const { batch, threads } = this;
    const { statistics } = batch;
    const perMatrix = this.blocks.map(pairs);
    const matrix = ref('matrix');
    const firstTop = starts(statistics.map((s, i) => s.matrices * perMatrix[i]));
    const local = sub(matrix, batch.chooseBy(matrix, starts(statistics.map((s) => s.matrices))));
    const body = [
      groupArray('now', 'f32', 1),
      groupArray('seen', 'f32', threads),
      letI('count', batch.chooseBy(matrix, perMatrix)),
      letI('first_top', add(batch.chooseBy(matrix, firstTop), mul(local, ref('count')))),
      ...this.look(0, 'solved', this.word('solved')),
      when(eq(ref('solved'), f32(OPEN)), [
        ...largestOf(threads, ref('count'), (e) => ({ value: load('tops', add(ref('first_top'), e)) })),
        when(
          and(eq(load('state', this.word('bad')), f32(0)), lt(ref('largest'), f32(Number.POSITIVE_INFINITY))),
          [store('state', this.word('solved'), f32(SOLVED))],
          [
            store('state', this.word('failed'), add(load('state', this.word('failed')), f32(1))),
            store('state', this.word('damping'), mul(load('state', this.word('damping')), f32(10))),
          ],
        ),
      ]),
    ];
    return this.kernel('decide', [loop('grid', 'matrix', batch.matrices, body)], threads);
  }

  /** The inverse, or the previous one where no attempt succeeded. */
  private write(): Kernel {
    const [i, j] = ['i', 'j'].map(ref);
    const packed = add(div(mul(i, add(i, i32(1))), i32(2)), j);
    const work = this.work();
    const solved = eq(ref('solved'), f32(SOLVED));
    const give = this.batch.cases(ref('matrix'), (s, local) => {
      if (s.inverse === undefined) return [];
      const to = add(mul(local, i32((s.width * (s.width + 1)) / 2)), packed);
      const value = select(solved, load('work', work(i, j)), s.previous(local, packed));
      return [this.elements([when(lt(i, i32(s.width)), [store(s.inverse, to, value)])])];
    });
    return this.blocksOfTriangle('write', [
      groupArray('now', 'f32', 1),
      ...this.look(0, 'solved', this.word('solved')),
      when(lt(ref('solved'), f32(NOT_DUE)), [
        ...give,
        when(
          eq(ref('unit'), i32(0)),
          this.batch.cases(ref('matrix'), (s, local) =>
            s.failures === undefined ? [] : [store(s.failures, local, load('state', this.word('failed')))],
          ),
        ),
      ]),
    ]);
  }

  private kernel(part: string, body: readonly Stmt[], workgroup: number, flops = 0, bytes?: number): Kernel {
    return this.batch.kernel(`${this.name}_${part}`, body, Object.values(this.scratch), { workgroup, flops, bytes });
  }

  /** A workgroup for each block (ti, tj <= ti) of each matrix. */
  private blocksOfTriangle(part: string, body: readonly Stmt[], cost?: { flops: number; bytes: number }): Kernel {
    const perMatrix = this.blocks.map(pairs);
    const { block } = this.choice;
    const all = [
      ...this.locate(perMatrix),
      ...triangular(ref('unit'), 'ti', 'tj'),
      letI('first_row', mul(ref('ti'), i32(block))),
      letI('first_col', mul(ref('tj'), i32(block))),
      ...body,
    ];
    const slots = this.total(perMatrix);
    return this.kernel(part, [loop('grid', 'slot', slots, all)], this.threads, cost?.flops, cost?.bytes);
  }

  private arrays(): Stmt[] {
    const { block } = this.choice;
    return [groupArray('flags', 'f32', 1), groupArray('w', 'f32', pairs(block)), ...blockArrays(block)];
  }

  /** Inverts the diagonal block that begins at row `at`. */
  private invert(at: Expr): Stmt[] {
    const { block } = this.choice;
    const work = this.work();
    const triangle = (row: Expr, col: Expr): Expr => add(div(mul(row, add(row, i32(1))), i32(2)), col);
    const [row, col] = ['row', 'col'].map(ref);
    return [
      store('flags', i32(0), f32(0)),
      ...invertBlock({
        rows: block,
        m: i32(block),
        at: triangle,
        square: false,
        element: (r, c) => load('work', work(add(at, r), add(at, c))),
        spoil: store('flags', i32(0), f32(1)),
      }),
      loop('group', 'e', block ** 2, [
        letI('row', div(ref('e'), i32(block))),
        letI('col', rem(ref('e'), i32(block))),
        when(
          le(col, row),
          [store('inverted', add(mul(ref('matrix'), i32(block ** 2)), ref('e')), load('w', triangle(row, col)))],
          [store('inverted', add(mul(ref('matrix'), i32(block ** 2)), ref('e')), f32(0))],
        ),
      ]),
      store('state', this.word('bad'), load('flags', i32(0))),
    ];
  }
}
