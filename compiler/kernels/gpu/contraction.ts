/**
 * Contractions for a GPU. A workgroup owns a block of the result; for each stretch of the inner dimension its threads stage a
 * block of both factors in group memory, computing them on the way, and each adds to its tile of the result in registers.
 * Where one side of the result is too narrow to fill a tile, every result element is a sum of products of its own.
 */
import {
  add,
  and,
  div,
  type Expr,
  i32,
  type Kernel,
  le,
  letI,
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
import { Elements, epilogueOf } from '../elements.js';
import { Frame, finishKernel } from '../frame.js';
import type { Region } from '../region.js';
import { type BlockChoice, stagedSum } from './block-choice.js';
import { offsetBlocks } from './offset-cost.js';
import { lowerOffsetMoment } from './offset-moment.js';
import { type Factor, type Product, productOf } from './product.js';
import { reductionShare, THREADS } from './reduction.js';
import { gridOf } from './shares.js';
import { triangular } from './triangle.js';

/** From the one that reads memory the least to the one that gives work to the most workgroups. */
export const blockChoices: readonly BlockChoice[] = [
  { rows: 128, cols: 128, tile: 8, depth: 8 },
  { rows: 64, cols: 64, tile: 8, depth: 16 },
  { rows: 32, cols: 32, tile: 4, depth: 16 },
  { rows: 16, cols: 16, tile: 2, depth: 32 },
];
/** Workgroups that keep a large device busy: two for each of about 130 multiprocessors. */
const ENOUGH = 256;
/** A result narrower than this leaves most of a tile empty. */
const NARROW = 6;

/** How a contraction is computed: in blocks; each result alone by `THREADS / results` threads; or by offset correlations. */
export type ContractionChoice = BlockChoice | { readonly results: number } | { readonly correlate: BlockChoice };

export function lowerContraction(region: Region, name: string, choice?: ContractionChoice): Kernel {
  const anchor = region.anchor!;
  if ([...anchor.operands, ...anchor.results].some((v) => v.type.dtype !== 'f32'))
    throw new Error(`${name}: ${anchor.op} is lowered for f32 only`);
  const frame = new Frame(region);
  const elements = new Elements(region, frame.parameters);
  const contraction = { anchor, elements, finish: epilogueOf(region, elements) };
  const correlate = choice ? 'correlate' in choice && choice.correlate : offsetBlocks(anchor, blockChoices.slice(0, 3));
  if (correlate) return lowerOffsetMoment(frame, name, contraction, correlate);
  const p = productOf(contraction);
  const chosen = choice && !('correlate' in choice) ? choice : choose(p);
  return 'results' in chosen ? alone(frame, name, p, chosen.results) : blocked(frame, name, p, chosen);
}

function choose(p: Product): BlockChoice | { readonly results: number } {
  if (Math.min(p.m, p.n) < NARROW) return { results: p.k <= 64 ? THREADS : p.k <= 512 ? 8 : 1 };
  const fits = blockChoices.find((c) => blocksOf(p, c) >= ENOUGH && c.rows <= 2 * p.m && c.cols <= 2 * p.n);
  if (fits) return fits;
  return blockChoices[Math.max(p.m, p.n) <= 16 ? 3 : 2];
}

function blocksOf(p: Product, { rows, cols }: BlockChoice): number {
  const [r, c] = [ceilDiv(p.m, rows), ceilDiv(p.n, cols)];
  return p.batch * (p.symmetric ? (r * (r + 1)) / 2 : r * c);
}

/** Each result as a reduction over k. */
function alone(frame: Frame, name: string, p: Product, results: number): Kernel {
  const [batch, m, n, k, r] = ['batch', 'm', 'n', 'k', 'r'].map((v) => frame.fresh(v));
  const pairs = (p.m * (p.m + 1)) / 2;
  const pair = frame.fresh('pair');
  const locate = p.symmetric ? triangular(ref(pair), m, n) : [];
  const share = reductionShare(
    frame,
    {
      reductions: [
        {
          sum: true,
          type: 'f32',
          value: mul(p.a(ref(batch), ref(m), ref(k)), p.b(ref(batch), ref(n), ref(k))),
          result: r,
          stores: p.finish(ref(batch), ref(m), ref(n), ref(r)),
        },
      ],
      kept: p.symmetric
        ? [
            { name: batch, extent: p.batch, role: 'kept' },
            { name: pair, extent: pairs, role: 'kept' },
          ]
        : [
            { name: batch, extent: p.batch, role: 'kept' },
            { name: m, extent: p.m, role: 'kept' },
            { name: n, extent: p.n, role: 'kept' },
          ],
      reduced: [{ name: k, extent: p.k, role: 'reduced' }],
      keptInnermost: false,
      locate,
    },
    results,
  );
  return finishKernel(frame, name, [...share.allocs, ...gridOf(frame, [share])], { workgroup: THREADS });
}

function blocked(frame: Frame, name: string, p: Product, choice: BlockChoice): Kernel {
  const { rows, cols, tile, depth } = choice;
  const [across, down] = [cols / tile, rows / tile];
  const threads = across * down;
  const [rowBlocks, colBlocks] = [ceilDiv(p.m, rows), ceilDiv(p.n, cols)];
  const perMatrix = blocksOf({ ...p, batch: 1 }, choice);
  const [batch, m0, n0, t, row, col, k0] = ['batch', 'm0', 'n0', 't', 'tile_row', 'tile_col', 'k0'].map(ref);

  /** `memory[k - k0][i - i0]`, zero outside of the matrix. */
  const stage = (memory: string, factor: Factor, i0: Expr, extent: number, width: number, alongK: boolean): Stmt => {
    const e = ref('e');
    const [i, k] = alongK ? [div(e, i32(depth)), rem(e, i32(depth))] : [rem(e, i32(width)), div(e, i32(width))];
    const [gi, gk] = [add(i0, i), add(k0, k)];
    const conditions = [
      ...(extent % width === 0 ? [] : [lt(gi, i32(extent))]),
      ...(p.k % depth === 0 ? [] : [lt(gk, i32(p.k))]),
    ];
    const inside = conditions.length === 0 ? undefined : conditions.reduce(and);
    return loop('group', 'e', width * depth, [
      store(memory, add(mul(k, i32(width)), i), factor(batch, gi, gk, inside)),
    ]);
  };
  const place = (index: Expr): Stmt[] => {
    if (p.symmetric) return [...triangular(index, 'block_row', 'block_col')];
    return [letI('block_row', div(index, i32(colBlocks))), letI('block_col', rem(index, i32(colBlocks)))];
  };
  const block = ref('block');
  const body: Stmt[] = [
    { kind: 'alloc', name: 'a_block', space: 'group', type: 'f32', size: rows * depth },
    { kind: 'alloc', name: 'b_block', space: 'group', type: 'f32', size: cols * depth },
    letI('batch', p.batch === 1 ? i32(0) : div(block, i32(perMatrix))),
    ...(rowBlocks === 1 && colBlocks === 1
      ? [letI('block_row', i32(0)), letI('block_col', i32(0))]
      : place(p.batch === 1 ? block : rem(block, i32(perMatrix)))),
    letI('m0', mul(ref('block_row'), i32(rows))),
    letI('n0', mul(ref('block_col'), i32(cols))),
    loop('lane', 't', threads, [
      letI('tile_row', mul(div(t, i32(across)), i32(tile))),
      letI('tile_col', mul(rem(t, i32(across)), i32(tile))),
      ...stagedSum(choice, p.k, [
        stage('a_block', p.a, m0, p.m, rows, p.alongK.a),
        stage('b_block', p.b, n0, p.n, cols, p.alongK.b),
      ]),
      letI('first_row', add(m0, row)),
      letI('first_col', add(n0, col)),
      {
        kind: 'tileEach',
        tile: 'sums',
        row: 'i',
        col: 'j',
        element: 'sum',
        rowLimit: p.m % rows === 0 ? i32(tile) : sub(i32(p.m), ref('first_row')),
        colLimit: p.n % cols === 0 ? i32(tile) : sub(i32(p.n), ref('first_col')),
        body: finishTile(p),
      },
    ]),
  ];
  return finishKernel(frame, name, [loop('grid', 'block', p.batch * perMatrix, body)], { workgroup: threads });
}

function finishTile(p: Product): Stmt[] {
  const [m, n] = [add(ref('first_row'), ref('i')), add(ref('first_col'), ref('j'))];
  const stores = p.finish(ref('batch'), m, n, ref('sum'));
  return p.symmetric ? [when(le(n, m), stores)] : stores;
}
