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
import { ceilDiv, when } from '../contraction-tile.js';
import type { InverseBatch } from './inverse-batch.js';
import { blockArrays, groupArray, invertBlock, largestOf } from './inverse-block.js';
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

/** A block is `block` wide; a thread's tile 4; `depth` terms of a product are staged at once. */
export interface WideChoice {
  readonly block: number;
  readonly depth: number;
}
const TILE = 4;
/** The block in group memory as a triangle and two stages beside it: 13 KiB of the 16 that every device has. */
const CHOICE: WideChoice = { block: 64, depth: 8 };

/** Words of `state`: the k of panel and of update, then these for each matrix. */
const PHASE = { panel: 0, update: 1 } as const;
const FIRST = 2;
const words = ['damping', 'failed', 'solved', 'bad', 'dead'] as const;
type Word = (typeof words)[number];
/** Values of `solved`. */
const [OPEN, SOLVED, NOT_DUE] = [0, 1, 2];

/** Elements of scratch memory that a matrix needs, about. */
export const scratchOf = (width: number): number => width ** 2;

export function lowerWideInverses(batch: InverseBatch, name: string, choice: WideChoice = CHOICE): InverseRounds {
  return new WideInverses(batch, name, choice).rounds();
}

class WideInverses {
  private readonly blocks: readonly number[];
  private readonly threads: number;
  private readonly scratch: Record<'state' | 'work' | 'panels' | 'inverted' | 'tops', KernelParam>;

  constructor(
    private readonly batch: InverseBatch,
    private readonly name: string,
    private readonly choice: WideChoice,
  ) {
    const { block } = choice;
    const { statistics, matrices } = batch;
    this.blocks = statistics.map((s) => ceilDiv(s.width, block));
    this.threads = (block / TILE) ** 2;
    const total = (per: (blocks: number) => number): number =>
      statistics.reduce((n, s, i) => n + s.matrices * per(this.blocks[i]), 0);
    const param = (memory: string, length: number): KernelParam => ({
      name: memory,
      type: 'f32',
      access: 'readwrite',
      length,
    });
    this.scratch = {
      state: param('state', FIRST + words.length * matrices),
      work: param(
        'work',
        total((n) => (n * block) ** 2),
      ),
      panels: param(
        'panels',
        total((n) => n * block ** 2),
      ),
      inverted: param('inverted', matrices * block ** 2),
      tops: param('tops', total(pairs)),
    };
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
      this.product({
        a: (t, u) => inverted(t, u),
        b: (c, u) => load('work', column(u, c)),
        each: (t, c, value) => [store('panels', this.panelAt(t, add(i0, c)), value)],
      });
    const body = [
      groupArray('now', 'f32', 3),
      ...this.stages(),
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
        ...this.stages(),
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
          this.product({
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

  private total(perMatrix: readonly number[]): number {
    return this.batch.statistics.reduce((n, s, i) => n + s.matrices * perMatrix[i], 0);
  }

  /**
   * Where workgroup `slot` finds its matrix, if each matrix of statistic s has perMatrix[s] of them: registers `matrix`, `unit` (its
   * number among those of the matrix), `blocks`, `ld`, `work_base`, `panel_base`.
   */
  private locate(perMatrix: readonly number[]): Stmt[] {
    const { batch, blocks } = this;
    const { block } = this.choice;
    const { statistics } = batch;
    const slot = ref('slot');
    const sizes = statistics.map((s, i) => s.matrices * perMatrix[i]);
    const of = (name: string, values: readonly number[]): Stmt => letI(name, batch.choose(slot, sizes, values));
    const local = ref('local');
    const work = blocks.map((n) => (n * block) ** 2);
    const panels = blocks.map((n) => n * block ** 2);
    const times = (per: readonly number[]): number[] => starts(per.map((n, i) => n * statistics[i].matrices));
    return [
      of('blocks', blocks),
      of('per_matrix', perMatrix),
      letI('within', sub(slot, batch.choose(slot, sizes, starts(sizes)))),
      letI('local', div(ref('within'), ref('per_matrix'))),
      letI('unit', rem(ref('within'), ref('per_matrix'))),
      letI('matrix', add(batch.choose(slot, sizes, starts(statistics.map((s) => s.matrices))), local)),
      letI('ld', mul(ref('blocks'), i32(block))),
      letI('work_base', add(batch.choose(slot, sizes, times(work)), mul(local, mul(ref('ld'), ref('ld'))))),
      letI('panel_base', add(batch.choose(slot, sizes, times(panels)), mul(local, mul(ref('ld'), i32(block))))),
    ];
  }

  private word(word: Word): Expr {
    return add(mul(ref('matrix'), i32(words.length)), i32(FIRST + words.indexOf(word)));
  }

  /** Register `name`: a word of `state`, which all threads see alike. */
  private look(at: number, name: string, word: Expr): Stmt[] {
    return [store('now', i32(at), load('state', word)), letF(name, load('now', i32(at)))];
  }

  /** Whether there is work for the matrix in this turn. */
  private live(spoilt: 'bad' | 'dead'): Expr {
    return and(and(eq(ref('solved'), f32(OPEN)), eq(ref(spoilt), f32(0))), lt(ref('k'), ref('blocks')));
  }

  private work(): (i: Expr, j: Expr) => Expr {
    return (i, j) => add(ref('work_base'), add(mul(i, ref('ld')), j));
  }

  private panelAt(u: Expr, i: Expr): Expr {
    return add(ref('panel_base'), add(mul(u, ref('ld')), i));
  }

  /** Threads share the elements (i, j <= i) of the workgroup's block. */
  private elements(body: readonly Stmt[]): Stmt {
    const { block } = this.choice;
    return loop('group', 'e', block ** 2, [
      letI('i', add(ref('first_row'), div(ref('e'), i32(block)))),
      letI('j', add(ref('first_col'), rem(ref('e'), i32(block)))),
      when(le(ref('j'), ref('i')), body),
    ]);
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

  private stages(): Stmt[] {
    const { block, depth } = this.choice;
    return [groupArray('a_block', 'f32', block * depth), groupArray('b_block', 'f32', block * depth)];
  }

  /** The product of two blocks, sum over u of a(i, u) b(j, u); `each` gets its elements (i, j). */
  private product({
    a,
    b,
    each,
  }: {
    readonly a: (i: Expr, u: Expr) => Expr;
    readonly b: (j: Expr, u: Expr) => Expr;
    readonly each: (i: Expr, j: Expr, value: Expr) => Stmt[];
  }): Stmt {
    const { block, depth } = this.choice;
    const across = block / TILE;
    const [e, t, u0, row, col] = ['e', 't', 'u0', 'tile_row', 'tile_col'].map(ref);
    const stage = (memory: string, factor: (i: Expr, u: Expr) => Expr): Stmt =>
      loop('group', 'e', block * depth, [store(memory, e, factor(rem(e, i32(block)), add(u0, div(e, i32(block)))))]);
    return loop('lane', 't', this.threads, [
      letI('tile_row', mul(div(t, i32(across)), i32(TILE))),
      letI('tile_col', mul(rem(t, i32(across)), i32(TILE))),
      { kind: 'tileZero', tile: 'sums', rows: TILE, cols: TILE, accumulator: 'f32' },
      loop(
        'serial',
        'u0',
        block,
        [
          stage('a_block', a),
          stage('b_block', b),
          {
            kind: 'tileMma',
            tile: 'sums',
            operand: 'f32',
            depth: i32(depth),
            a: { memory: 'a_block', index: row, row: 1, depth: block },
            b: { memory: 'b_block', index: col, depth: block, col: 1 },
          },
        ],
        0,
        depth,
      ),
      {
        kind: 'tileEach',
        tile: 'sums',
        row: 'r',
        col: 'c',
        element: 'sum',
        rowLimit: i32(TILE),
        colLimit: i32(TILE),
        body: each(add(row, ref('r')), add(col, ref('c')), ref('sum')),
      },
    ]);
  }
}

/** Blocks of the lower triangle of n x n blocks. */
const pairs = (n: number): number => (n * (n + 1)) / 2;

/** Where each part of a row begins. */
function starts(sizes: readonly number[]): number[] {
  let at = 0;
  return sizes.map((n) => {
    at += n;
    return at - n;
  });
}
