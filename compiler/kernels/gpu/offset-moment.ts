/**
 * The second moment of a window's patches by offset correlations (`contraction-offsets.ts`) for a GPU. A workgroup owns a distance
 * between taps and a block of channels. It multiplies them over each rectangle of strips; a thread keeps what each rectangle
 * sums in scratch memory, and adds up its own for each pair of taps at that distance.
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
import { flagOf } from '../../../ir/ops/declare.js';
import { product } from '../../../ir/types.js';
import { convolutionOfNode } from '../contraction-convolution.js';
import { type FlatOffsets, flatOffsetsOf } from '../contraction-offsets.js';
import { ceilDiv, when } from '../contraction-tile.js';
import { type Frame, finishKernel } from '../frame.js';
import { type BlockChoice, stagedSum } from './block-choice.js';
import type { Contraction } from './product.js';
import { triangular } from './triangle.js';

/** Positions up to which a quotient may be taken in f32: (k + 0.5) / n is then never rounded over an integer. */
const EXACT = 2 ** 19;

/** `values[index]` of a few values: uniform where the index is, as a barrier needs it, and as a table in memory is not. */
function pick(values: readonly number[], index: Expr): Expr {
  const step = values.length > 1 ? values[1] - values[0] : 0;
  if (values.every((v, n) => v === values[0] + n * step)) return add(i32(values[0]), mul(index, i32(step)));
  const last = values.length - 1;
  return values.slice(0, last).reduceRight((rest, v, n) => select(eq(index, i32(n)), i32(v), rest), i32(values[last]));
}

const strip = (of: FlatOffsets, n: Expr, field: 'first' | 'count' | 'distance'): Expr =>
  pick(
    of.strips.map((s) => s[field]),
    n,
  );

const pairOf = (of: FlatOffsets, n: Expr, field: 'tap' | 'partner' | 'lo' | 'hi'): Expr =>
  pick(
    of.pairs.map((p) => p[field]),
    n,
  );

/** Goes through the strips, or the pairs of taps, of one offset. */
function over(variable: string, of: FlatOffsets, what: 'strips' | 'pairs', offset: Expr, body: readonly Stmt[]): Stmt {
  const bound = (end: 'lo' | 'hi'): Expr =>
    pick(
      of.offsets.map((o) => o[what][end]),
      offset,
    );
  return loop('serial', variable, bound('hi'), body, bound('lo'));
}

const addF = (a: Expr, b: Expr): Expr => ({ kind: 'binary', op: 'add', a, b });
const mulF = (a: Expr, b: Expr): Expr => ({ kind: 'binary', op: 'mul', a, b });
const inverse = (of: Expr): Expr => ({ kind: 'binary', op: 'div', a: f32(1), b: unary('toF32', of) });

export function lowerOffsetMoment(frame: Frame, name: string, contraction: Contraction, choice: BlockChoice): Kernel {
  const { anchor, elements } = contraction;
  const [image, scale, weight] = anchor.operands;
  const { images, groups, inputs: channels, kernel, rows: down, cols: across } = convolutionOfNode(anchor);
  const ones = flagOf(anchor.attrs, 'ones');
  const [dy, dx] = [flatOffsetsOf(down), flatOffsetsOf(across)];
  const taps = product(kernel);
  const features = channels * taps + Number(ones);
  // The constant 1 is one more channel; of its products only those of a tap with itself are wanted.
  const lanes = channels + Number(ones);
  const { rows, cols, tile, depth } = choice;
  const threads = (rows / tile) * (cols / tile);
  const along = ceilDiv(lanes, rows);
  const blocks = (along * (along + 1)) / 2;
  const distances = dy.offsets.length * dx.offsets.length;
  const rectangles = dy.strips.length * dx.strips.length;
  const blockSize = rows * cols;
  const sums = 'offset_sums';

  const [group, pair, m0, n0, t, k0] = ['group', 'pair', 'm0', 'n0', 't', 'k0'].map(ref);
  const [row, col, tall, wide, terms] = ['tile_row', 'tile_col', 'tall', 'wide', 'terms'].map(ref);
  const [oy, ox, sy, sx, py, px] = ['oy', 'ox', 'sy', 'sx', 'py', 'px'].map(ref);

  const exact = images * down.input * across.input <= EXACT;
  const quotient = (a: Expr, b: Expr, inverted: string): Expr =>
    exact ? unary('toI32', mulF(addF(unary('toF32', a), f32(0.5)), ref(inverted))) : div(a, b);
  /** `memory[k - k0][i - i0]`: channels at the rectangle's positions, or at their partners'; zero outside. */
  const stage = (memory: string, i0: Expr, width: number, partner: boolean): Stmt => {
    const e = ref('e');
    const [i, k] = [div(e, i32(depth)), rem(e, i32(depth))];
    const [channel, position] = [add(i0, i), add(k0, k)];
    const at = (first: string, n: Expr, stride: number, distance: string): Expr => {
      const own = add(ref(first), mul(n, i32(stride)));
      return partner ? add(own, ref(distance)) : own;
    };
    const x = sub(ref('rest'), mul(ref('y'), wide));
    const index = [
      ref('n'),
      add(mul(group, i32(channels)), channel),
      at('first_row', ref('y'), down.stride, 'dy'),
      at('first_col', x, across.stride, 'dx'),
    ];
    const exists = lt(position, terms);
    const own = elements.guarded(image, index, and(exists, lt(channel, i32(channels))), undefined, 0);
    const value = ones ? select(and(exists, eq(channel, i32(channels))), f32(1), own) : own;
    const weighted =
      partner && weight ? mulF(value, elements.guarded(weight, [ref('n')], exists, undefined, 0)) : value;
    return loop('group', 'e', width * depth, [
      letI('n', quotient(position, mul(tall, wide), 'per_image')),
      letI('rest', sub(position, mul(ref('n'), mul(tall, wide)))),
      letI('y', quotient(ref('rest'), wide, 'per_row')),
      store(memory, add(mul(k, i32(width)), i), weighted),
    ]);
  };

  // A thread's elements of one rectangle are apart by the number of threads: neighbours are neighbours in memory.
  const rectangle = (a: Expr, b: Expr): Expr =>
    add(ref('own_sums'), mul(add(mul(a, i32(dx.strips.length)), b), i32(blockSize)));
  const correlate = over('sy', dy, 'strips', oy, [
    letI('first_row', strip(dy, sy, 'first')),
    letI('tall', strip(dy, sy, 'count')),
    letI('dy', strip(dy, sy, 'distance')),
    over('sx', dx, 'strips', ox, [
      letI('first_col', strip(dx, sx, 'first')),
      letI('wide', strip(dx, sx, 'count')),
      letI('dx', strip(dx, sx, 'distance')),
      letI('terms', mul(mul(tall, wide), i32(images))),
      ...(exact ? [letF('per_row', inverse(wide)), letF('per_image', inverse(mul(tall, wide)))] : []),
      ...stagedSum(choice, terms, [stage('a_block', m0, rows, false), stage('b_block', n0, cols, true)]),
      {
        kind: 'tileStore',
        tile: 'sums',
        memory: sums,
        index: rectangle(sy, sx),
        row: i32(tile * threads),
        col: threads,
      },
    ]),
  ]);

  const [i, j, tap, other, ei, ej, a, b] = ['i', 'j', 'tap', 'other', 'ei', 'ej', 'a', 'b'].map(ref);
  const finish = (f1: Expr, f2: Expr, value: Expr): Stmt[] => {
    const start = add(mul(group, i32((features * (features + 1)) / 2)), div(mul(f1, add(f1, i32(1))), i32(2)));
    return contraction.finish([add(start, f2)], mulF(value, elements.at(scale, [])));
  };
  const [f1, f2] = [add(mul(i, i32(taps)), tap), add(mul(j, i32(taps)), other)];
  const last = i32(features - 1);
  const isLast = (e: Expr): Expr => eq(e, i32(channels));
  const isChannel = (e: Expr): Expr => lt(e, i32(channels));
  /** The constant times itself: how many positions there are. */
  const count: Stmt[] = [
    { kind: 'var', name: 'count', type: 'f32', value: f32(0) },
    loop('serial', 'c', images, [
      { kind: 'set', name: 'count', value: addF(ref('count'), weight ? elements.at(weight, [ref('c')]) : f32(1)) },
    ]),
    ...finish(last, last, mulF(ref('count'), f32(down.output * across.output))),
  ];
  const ofOnes: Stmt[] = [
    when(and(and(isLast(i), isChannel(j)), eq(tap, other)), finish(last, f2, ref('total'))),
    when(and(and(isLast(i), isLast(j)), and(eq(tap, i32(0)), eq(other, i32(0)))), count),
  ];
  const part = load(sums, add(rectangle(a, b), add(mul(ei, i32(tile * threads)), mul(ej, i32(threads)))));
  const plus: Stmt = { kind: 'set', name: 'total', value: addF(ref('total'), part) };
  const element: Stmt[] = [
    { kind: 'var', name: 'total', type: 'f32', value: f32(0) },
    loop('serial', 'a', ref('a1'), [loop('serial', 'b', ref('b1'), [plus], ref('b0'))], ref('a0')),
    letI('i', add(add(m0, row), ei)),
    letI('j', add(add(n0, col), ej)),
    when(and(and(isChannel(i), isChannel(j)), le(f2, f1)), finish(f1, f2, ref('total'))),
    ...(ones ? ofOnes : []),
  ];
  const results = over('py', dy, 'pairs', oy, [
    over('px', dx, 'pairs', ox, [
      letI('tap', add(mul(pairOf(dy, py, 'tap'), i32(kernel[1])), pairOf(dx, px, 'tap'))),
      letI('other', add(mul(pairOf(dy, py, 'partner'), i32(kernel[1])), pairOf(dx, px, 'partner'))),
      letI('a0', pairOf(dy, py, 'lo')),
      letI('a1', pairOf(dy, py, 'hi')),
      letI('b0', pairOf(dx, px, 'lo')),
      letI('b1', pairOf(dx, px, 'hi')),
      loop('serial', 'ei', tile, [loop('serial', 'ej', tile, element)]),
    ]),
  ]);

  const block = ref('block');
  const perGroup = blocks * distances;
  const body: Stmt[] = [
    { kind: 'alloc', name: 'a_block', space: 'group', type: 'f32', size: rows * depth },
    { kind: 'alloc', name: 'b_block', space: 'group', type: 'f32', size: cols * depth },
    letI('group', div(block, i32(perGroup))),
    letI('pair', rem(block, i32(distances))),
    letI('oy', div(pair, i32(dx.offsets.length))),
    letI('ox', rem(pair, i32(dx.offsets.length))),
    ...triangular(rem(div(block, i32(distances)), i32(blocks)), 'block_row', 'block_col'),
    letI('m0', mul(ref('block_row'), i32(rows))),
    letI('n0', mul(ref('block_col'), i32(cols))),
    loop('lane', 't', threads, [
      letI('tile_row', mul(div(t, i32(cols / tile)), i32(tile))),
      letI('tile_col', mul(rem(t, i32(cols / tile)), i32(tile))),
      letI('own_sums', add(mul(div(block, i32(distances)), i32(rectangles * blockSize)), t)),
      correlate,
      results,
    ]),
  ];
  const scratch: KernelParam[] = [
    { name: sums, type: 'f32', access: 'readwrite', length: groups * blocks * rectangles * blockSize },
  ];
  return finishKernel(frame, name, [loop('grid', 'block', groups * perGroup, body)], { workgroup: threads, scratch });
}
