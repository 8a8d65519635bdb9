/**
 * Where the kernels of wide inverses find what they work on: a workgroup's number gives its matrix and its block of it; scratch
 * memory holds the matrices, block row k of R, the inverted diagonal blocks, and a few words for each matrix that say how far it is.
 */
import {
  add,
  and,
  div,
  type Expr,
  eq,
  f32,
  i32,
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
  store,
  sub,
} from '../../../ir/kernel.js';
import { ceilDiv, when } from '../contraction-tile.js';
import type { InverseBatch } from './inverse-batch.js';
import { type Stages, TILE } from './inverse-block.js';

/** Blocks of a multiple of 4. */
export type WideChoice = Stages;

/** Words of `state`: the k of panel and of update, then these for each matrix. */
export const PHASE = { panel: 0, update: 1 } as const;
const FIRST = 2;
const words = ['damping', 'failed', 'solved', 'bad', 'dead'] as const;
type Word = (typeof words)[number];
/** Values of `solved`. */
export const [OPEN, SOLVED, NOT_DUE] = [0, 1, 2];

/** Elements of scratch memory that a matrix needs, about. */
export const wideScratch = (width: number): number => width ** 2;

export class WideLayout {
  /** For each statistic, blocks along a matrix. */
  readonly blocks: readonly number[];
  /** Of a workgroup: a tile of the block each. */
  readonly threads: number;
  readonly scratch: Record<'state' | 'work' | 'panels' | 'inverted' | 'tops', KernelParam>;

  constructor(
    readonly batch: InverseBatch,
    readonly choice: WideChoice,
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

  total(perMatrix: readonly number[]): number {
    return this.batch.statistics.reduce((n, s, i) => n + s.matrices * perMatrix[i], 0);
  }

  /**
   * Where workgroup `slot` finds its matrix, if each matrix of statistic s has perMatrix[s] of them: registers `matrix`, `unit` (its
   * number among those of the matrix), `blocks`, `ld`, `work_base`, `panel_base`.
   */
  locate(perMatrix: readonly number[]): Stmt[] {
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

  word(word: Word): Expr {
    return add(mul(ref('matrix'), i32(words.length)), i32(FIRST + words.indexOf(word)));
  }

  /** Register `name`: a word of `state`, which all threads see alike. */
  look(at: number, name: string, word: Expr): Stmt[] {
    return [store('now', i32(at), load('state', word)), letF(name, load('now', i32(at)))];
  }

  /** Whether there is work for the matrix in this turn. */
  live(spoilt: 'bad' | 'dead'): Expr {
    return and(and(eq(ref('solved'), f32(OPEN)), eq(ref(spoilt), f32(0))), lt(ref('k'), ref('blocks')));
  }

  work(): (i: Expr, j: Expr) => Expr {
    return (i, j) => add(ref('work_base'), add(mul(i, ref('ld')), j));
  }

  panelAt(u: Expr, i: Expr): Expr {
    return add(ref('panel_base'), add(mul(u, ref('ld')), i));
  }

  /** Threads share the elements (i, j <= i) of the workgroup's block. */
  elements(body: readonly Stmt[]): Stmt {
    const { block } = this.choice;
    return loop('group', 'e', block ** 2, [
      letI('i', add(ref('first_row'), div(ref('e'), i32(block)))),
      letI('j', add(ref('first_col'), rem(ref('e'), i32(block)))),
      when(le(ref('j'), ref('i')), body),
    ]);
  }
}

/** Blocks of the lower triangle of n x n blocks. */
export const pairs = (n: number): number => (n * (n + 1)) / 2;

/** Where each part of a row begins. */
export function starts(sizes: readonly number[]): number[] {
  let at = 0;
  return sizes.map((n) => {
    at += n;
    return at - n;
  });
}
