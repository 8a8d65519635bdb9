/**
 * Convolutions with three rows of taps, and their input gradients, by Winograd's F(4, 3) along rows: four rows of outputs take six rows of
 * products in place of twelve. Columns are summed as ever, so that vectors stay along image rows, where they lie in memory. A grid
 * iteration transforms its weights, then stage after stage of its images; each tile (output channels x positions of four rows) is six
 * register tiles, whose sums meet in a first-level cache and are transformed back there, epilogue included.
 */
import type { Node } from '../../ir/graph.js';
import {
  add,
  div,
  type Expr,
  i32,
  le,
  letI,
  load,
  loop,
  min,
  mul,
  ref,
  rem,
  type Stmt,
  store,
  sub,
} from '../../ir/kernel.js';
import type { Axis, Phase } from './contraction-axes.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { type Chunks, type Correlation, chunksOf, correlationOf, RESIDENT } from './contraction-correlation.js';
import { planStages, type StagePlan, stageRange, stageRow, stageWidth } from './contraction-stage.js';
import {
  alloc,
  type Contraction,
  ceilDiv,
  clear,
  maybeLoop,
  roundUp,
  strips,
  type TileChoice,
  tileCols,
  tileShapes,
  when,
  within,
} from './contraction-tile.js';
import { isWorthwhile, POINTS, ROWS, TAPS, transformData, transformFilter, transformProducts } from './winograd.js';

/** Elements of group memory for transformed images, beside weights that stay in a second-level cache, and beside those that do not. */
const STAGE = 48 * 1024;
const LARGE_STAGE = 192 * 1024;

export function winogradPays(node: Node): boolean {
  if (node.op !== 'conv' && node.op !== 'conv_input_grad') return false;
  const conv = convolutionOfNode(node);
  return isWorthwhile(conv, node.op === 'conv' ? conv.rows.output : conv.rows.input);
}

interface Plan extends TileChoice, Chunks {
  readonly stages: StagePlan;
  readonly width: number;
}

const extentOf = (axis: Axis): number => axis.hi - axis.lo;

function planOf(p: Correlation, choice: Partial<TileChoice>): Plan {
  const { mr, nr } = { ...tileShapes[0], ...choice };
  const width = roundUp(stageWidth(p.cols), 4);
  const perRow = POINTS * p.cols.planes.length * p.channels * width;
  const resident = p.results * p.channels * POINTS * p.kernel[1] <= RESIDENT;
  const budget = choice.nc ? choice.nc * p.channels * POINTS : resident ? STAGE : LARGE_STAGE;
  const stages = planStages(p.images, { lo: 0, hi: ceilDiv(extentOf(p.rows), ROWS), reach: 0 }, perRow, budget);
  return { mr, nr, kc: p.channels, nc: nr, stages, width, ...chunksOf(p, stages, mr, choice.mc) };
}

export function lowerWinograd(contraction: Contraction): Stmt[] {
  const p = correlationOf(contraction);
  const plan = planOf(p, contraction.choice);
  const { mr, nr, width } = plan;
  const kw = p.kernel[1];
  const planes = p.cols.planes.length;
  const [group, m0, image0, row0, images, rows, image] = names.map(ref);
  const [c, i, row, col, line, point, tileRow] = ['c', 'i', 'row', 'col', 'line', 'point', 'tileRow'].map(ref);

  // weights[(m - m0) / mr][point][kx][channel][mr]
  const weightPoint = kw * p.channels;
  const weightTile = POINTS * weightPoint;
  const results = { lo: m0, hi: add(m0, i32(plan.mc)), total: p.results, size: mr };
  // The tap that reads `distance` rows behind the output's own.
  const [{ first, step, at, move }] = p.rows.phases[0].taps;
  const tapAt = (distance: number): number => first + (step * (distance - at)) / move;
  const transformWeights = strips('group', 'm', results, (m, count) =>
    maybeLoop('serial', 'kx', kw, (kx) => [
      loop('serial', 'c', p.channels, [
        loop(
          'vector',
          'i',
          count,
          transformFilter(Array.from({ length: TAPS }, (_, t) => p.weight(group, add(m, i), c, i32(tapAt(t)), kx))).map(
            (u, n) => {
              const tile = add(mul(sub(m, m0), i32(weightTile)), i32(n * weightPoint * mr));
              return store('weights', add(tile, add(mul(add(mul(kx, i32(p.channels)), c), i32(mr)), i)), u);
            },
          ),
        ),
      ]),
    ]),
  );

  // stage[point][plane][image][tile row][channel][column]
  const stageTile = p.channels * width;
  const stageImage = plan.stages.band * stageTile;
  const stagePlane = plan.stages.images * stageImage;
  const stagePoint = planes * stagePlane;
  const stageAt = (n: Expr, t: Expr): Expr => add(mul(n, i32(stageImage)), mul(t, i32(stageTile)));
  const lines = plan.stages.band * ROWS + TAPS - 1;
  const y = add(add(mul(row0, i32(ROWS)), row), i32(p.rows.lo + p.rows.planes[0]));
  const transformImages = p.cols.planes.map((_, plane) =>
    loop('group', 'image', images, [
      loop('group', 'c', p.channels, [
        loop('serial', 'row', add(mul(rows, i32(ROWS)), i32(TAPS - 1)), [
          letI('line', mul(row, i32(width))),
          letI('y', y),
          when(
            within(ref('y'), 0, p.rows.extent),
            stageRow('lines', line, { cols: p.cols, plane, width }, (x) =>
              p.source(add(image0, image), add(mul(group, i32(p.channels)), c), ref('y'), x),
            ),
            clear('col', 'lines', line, width),
          ),
        ]),
        loop('serial', 'row', rows, [
          loop(
            'vector',
            'col',
            width,
            transformData(
              Array.from({ length: POINTS }, (_, n) =>
                load('lines', add(mul(add(mul(row, i32(ROWS)), i32(n)), i32(width)), col)),
              ),
            ).map((v, n) => {
              const begin = add(stageAt(image, row), i32(n * stagePoint + plane * stagePlane));
              return store('stage', add(add(begin, mul(c, i32(width))), col), v);
            }),
          ),
        ]),
      ]),
    ]),
  );

  /** One of the six sums of a tile, into `products`. */
  const sumPoint = (xPhase: Phase, m: Expr, mCount: number, x: Expr, cols: number): Stmt[] => [
    { kind: 'tileZero', tile: 'tile', rows: mCount, cols, accumulator: 'f32' },
    ...xPhase.taps.flatMap((taps) =>
      maybeLoop('serial', 'kx', taps.count, (kx): Stmt[] => {
        const weight = add(mul(sub(m, m0), i32(weightTile)), mul(point, i32(weightPoint * mr)));
        const begin = add(stageAt(image, sub(tileRow, row0)), mul(point, i32(stagePoint)));
        const tap = add(mul(kx, i32(taps.step)), i32(taps.first));
        const shift = add(mul(kx, i32(taps.move)), i32(taps.plane * stagePlane + taps.at + xPhase.lo - p.cols.lo));
        return [
          {
            kind: 'tileMma',
            tile: 'tile',
            operand: 'f32',
            depth: i32(p.channels),
            a: { memory: 'weights', index: add(weight, mul(tap, i32(p.channels * mr))), row: 1, depth: mr },
            b: { memory: 'stage', index: add(add(begin, x), shift), depth: width, col: 1 },
          },
        ];
      }),
    ),
    {
      kind: 'tileStore',
      tile: 'tile',
      memory: 'products',
      index: mul(point, i32(mr * nr)),
      row: i32(cols),
      col: 1,
    },
  ];

  const tile = (xPhase: Phase, m: Expr, mCount: number, x: Expr, xCount: number): Stmt[] => {
    const [yPhase] = p.rows.phases;
    const cols = tileCols(xCount, nr);
    const products = Array.from({ length: POINTS }, (_, n) =>
      load('products', add(add(mul(i, i32(cols)), col), i32(n * mr * nr))),
    );
    const outputs = transformProducts(products, ROWS);
    const each = (some: readonly number[]): Stmt =>
      loop('lane', 'i', mCount, [
        loop(
          'vector',
          'col',
          xCount,
          some.flatMap((r) =>
            p.finish(
              add(image0, image),
              add(add(mul(group, i32(p.results)), m), i),
              add(mul(tileRow, i32(ROWS)), i32(r + p.rows.lo + yPhase.offset)),
              add(mul(add(add(x, col), i32(xPhase.lo)), i32(xPhase.scale)), i32(xPhase.offset)),
              outputs[r],
            ),
          ),
        ),
      ]);
    const extent = extentOf(p.rows);
    const rest = extent % ROWS;
    const all = each([0, 1, 2, 3]);
    const last = each([0, 1, 2, 3].slice(0, rest));
    return [
      loop('serial', 'point', POINTS, sumPoint(xPhase, m, mCount, x, cols)),
      rest === 0 ? all : when(le(mul(add(tileRow, i32(1)), i32(ROWS)), i32(extent)), [all], [last]),
    ];
  };

  type Body = (m: Expr, count: number) => Stmt[];
  const overResults = (body: Body): Stmt[] => strips('lane', 'm', results, body);
  const overPositions = (within: (body: Body) => Stmt[]): Stmt[] => [
    loop(
      'lane',
      'image',
      images,
      p.cols.phases.map((xPhase) => {
        const total = xPhase.hi - xPhase.lo;
        const columns = { lo: i32(0), hi: i32(total), total, size: nr };
        return loop(
          'lane',
          'tileRow',
          add(row0, rows),
          strips('lane', 'x', columns, (x, xCount) => within((m, mCount) => tile(xPhase, m, mCount, x, xCount))),
          row0,
        );
      }),
    ),
  ];
  const tiles =
    plan.mc * weightTile <= RESIDENT
      ? overPositions(overResults)
      : overResults((m, count) => overPositions((body) => body(m, count)));

  const block = ref('block');
  const resultBlocks = ceilDiv(p.results, plan.mc);
  const allStages = plan.stages.imageBlocks * plan.stages.bands;
  const begin = mul(rem(block, i32(plan.chunks)), i32(plan.perChunk));
  return [
    loop('grid', 'block', p.groups * resultBlocks * plan.chunks, [
      letI('group', div(block, i32(resultBlocks * plan.chunks))),
      letI('m0', mul(rem(div(block, i32(plan.chunks)), i32(resultBlocks)), i32(plan.mc))),
      alloc('weights', plan.mc * weightTile),
      alloc('lines', lines * width),
      alloc('stage', POINTS * stagePoint + nr),
      alloc('products', POINTS * mr * nr),
      ...transformWeights,
      loop(
        'serial',
        'stageIndex',
        min(add(begin, i32(plan.perChunk)), i32(allStages)),
        [
          ...stageRange(ref('stageIndex'), plan.stages, p.images, { lo: 0, hi: ceilDiv(extentOf(p.rows), ROWS) }),
          ...transformImages,
          ...tiles,
        ],
        begin,
      ),
    ]),
  ];
}

const names = ['group', 'm0', 'image0', 'row0', 'images', 'rows', 'image'] as const;
