/**
 * Convolutions and their input gradients. A grid iteration owns some images (or rows of one) of one group. It copies them
 * with their padding into group memory, channel by channel; then the im2col matrix of textbooks is already there: the
 * elements that one tap contributes to a row of outputs are contiguous, so tiles (output channels x positions of a row)
 * read the copy directly, tap by tap, and nothing is ever unfolded.
 */
import {
  add,
  type Binding,
  div,
  type Expr,
  i32,
  letI,
  loop,
  max,
  min,
  mul,
  ref,
  rem,
  type Stmt,
  store,
  sub,
} from '../../ir/kernel.js';
import { concrete } from '../../ir/types.js';
import { type Axis, backwardAxis, forwardAxis, present, type Taps } from './contraction-axes.js';
import { type Convolution, convolutionOfNode } from './contraction-convolution.js';
import {
  alloc,
  type Contraction,
  ceilDiv,
  clear,
  evenly,
  maybeLoop,
  roundUp,
  strips,
  type TileChoice,
  tileCols,
  tileShapes,
  tileTask,
  when,
  within,
} from './contraction-tile.js';
import { reshapeIndex } from './indices.js';

/** Elements of group memory for staged images: with a tile's weights they should stay in a second-level cache. */
const STAGE = 48 * 1024;
const MOST_CHUNKS = 16;
/** Weights up to this many elements stay in cache while all columns go by; larger ones are walked through once. */
const RESIDENT = 64 * 1024;

interface Correlation {
  readonly images: number;
  readonly groups: number;
  /** Channels of a group: summed over, and of the result. */
  readonly channels: number;
  readonly results: number;
  readonly kernel: readonly [number, number];
  readonly rows: Axis;
  readonly cols: Axis;
  /** Distances in the weights' memory: neighbouring groups, results, channels. */
  readonly weightStride: { readonly group: number; readonly result: number; readonly channel: number };
  readonly weight: (group: Expr, result: Expr, channel: Expr, ky: Expr, kx: Expr) => Expr;
  readonly source: (image: Expr, channel: Expr, row: Expr, col: Expr) => Expr;
  readonly finish: (image: Expr, channel: Expr, row: Expr, col: Expr, element: Expr) => Stmt[];
}

/**
 * With one tap, no padding and stride 1, positions have no geometry: the image is cut into rows that fill tiles and of
 * which at least one fits into group memory.
 */
function pointwiseRows(positions: number, channels: number): [number, number] {
  let best = positions;
  let bestScore = -1;
  for (let cols = 1; cols <= positions; cols++) {
    if (positions % cols !== 0) continue;
    const score = cols / roundUp(cols, 8) - (cols * channels > STAGE ? 0.25 : 0) + cols / positions / 1000;
    if (score > bestScore) [best, bestScore] = [cols, score];
  }
  return [positions / best, best];
}

function correlationOf({ anchor, elements, finish }: Contraction): Correlation {
  const forward = anchor.op === 'conv';
  const conv: Convolution = convolutionOfNode(anchor);
  const [image, weights] = anchor.operands;
  const imageShape = concrete(image.type.shape);
  const resultShape = concrete(anchor.results[0].type.shape);
  const pointwise = [conv.rows, conv.cols].every(
    (a) => a.kernel === 1 && a.stride === 1 && a.input === a.output && a.pad === 0,
  );
  let { rows, cols } = conv;
  const [channels, results] = forward ? [conv.inputs, conv.outputs] : [conv.outputs, conv.inputs];
  if (pointwise) {
    const [h, w] = pointwiseRows(rows.input * cols.input, channels);
    rows = { ...rows, input: h, output: h };
    cols = { ...cols, input: w, output: w };
  }
  const viewOf = (shape: readonly number[], to: 'input' | 'output'): number[] => [
    shape[0],
    shape[1],
    rows[to],
    cols[to],
  ];
  const [imageView, resultView] = forward
    ? [viewOf(imageShape, 'input'), viewOf(resultShape, 'output')]
    : [viewOf(imageShape, 'output'), viewOf(resultShape, 'input')];
  const axis = forward ? forwardAxis : backwardAxis;
  const taps = conv.kernel[0] * conv.kernel[1];
  const [o, c] = [conv.outputs, conv.inputs];
  return {
    images: conv.images,
    groups: conv.groups,
    channels,
    results,
    kernel: conv.kernel,
    rows: axis(rows),
    cols: axis(cols),
    weightStride: {
      group: o * c * taps,
      result: forward ? c * taps : taps,
      channel: forward ? taps : c * taps,
    },
    weight: (g, result, channel, ky, kx) => {
      const [oi, ci] = forward ? [result, channel] : [channel, result];
      return elements.at(weights, [add(mul(g, i32(o)), oi), ci, ky, kx]);
    },
    source: (n, ch, y, x) => elements.at(image, reshapeIndex([n, ch, y, x], imageView, imageShape)),
    finish: (n, ch, y, x, e) => finish(reshapeIndex([n, ch, y, x], resultView, resultShape), e),
  };
}

interface Plan extends TileChoice {
  /** Images, and rows of coordinates, of one stage. */
  readonly images: number;
  readonly rows: number;
  /** Stages that one grid iteration goes through. */
  readonly stages: number;
  readonly imageBlocks: number;
  readonly rowBlocks: number;
  readonly chunks: number;
}

function planOf(p: Correlation, choice: Partial<TileChoice>): Plan {
  const { mr, nr } = { ...tileShapes[0], ...choice };
  const rows = p.rows.hi - p.rows.lo;
  const width = p.cols.hi - p.cols.lo + p.cols.reach;
  const perRow = p.rows.planes.length * p.cols.planes.length * p.channels * width;
  const budget = choice.nc ? choice.nc * p.channels : STAGE;
  const wholeImage = perRow * (rows + p.rows.reach);
  const images = Math.max(1, Math.min(p.images, Math.floor(budget / wholeImage)));
  const fitting = Math.max(1, Math.floor(budget / perRow) - p.rows.reach);
  const rowsOfStage = images > 1 || wholeImage <= budget ? rows : evenly(rows, Math.max(1, fitting), 1);
  const imageBlocks = ceilDiv(p.images, images);
  const rowBlocks = ceilDiv(rows, rowsOfStage);
  const stages = imageBlocks * rowBlocks;
  const perChunk = ceilDiv(stages, Math.min(stages, MOST_CHUNKS));
  const chunks = ceilDiv(stages, perChunk);
  const splits = Math.max(1, Math.min(ceilDiv(p.results, 4 * mr), Math.floor(4 / (chunks * p.groups))));
  const mc = evenly(p.results, choice.mc ?? ceilDiv(p.results, splits), mr);
  return {
    mr,
    nr,
    kc: p.channels,
    mc,
    nc: nr,
    images,
    rows: rowsOfStage,
    stages: perChunk,
    imageBlocks,
    rowBlocks,
    chunks,
  };
}

export function lowerCorrelation(contraction: Contraction): Stmt[] {
  const p = correlationOf(contraction);
  const plan = planOf(p, contraction.choice);
  const { mr, nr } = plan;
  const [kh, kw] = p.kernel;
  const taps = kh * kw;
  const [group, m0, image0, row0, images, rows] = ['group', 'm0', 'image0', 'row0', 'images', 'rows'].map(ref);

  // stage[plane][channel][image][row][col]; channels keep off each other's cache lines.
  const width = p.cols.hi - p.cols.lo + p.cols.reach;
  const height = plan.rows + p.rows.reach;
  const channelSize = plan.images * height * width;
  const channelStride = channelSize % 256 === 0 ? channelSize + 16 : channelSize;
  const planeStride = p.channels * channelStride;
  const planeCount = p.rows.planes.length * p.cols.planes.length;
  const planeOf = (py: number, px: number): number => (py * p.cols.planes.length + px) * planeStride;
  const at = (image: Expr, row: Expr, col: Expr | number): Expr =>
    add(add(mul(image, i32(height * width)), mul(row, i32(width))), typeof col === 'number' ? i32(col) : col);

  // weights[(m - m0) / mr][tap][channel][mr]
  const weightTile = taps * p.channels;
  const packWeights: Stmt[] = strips(
    'group',
    'm',
    { lo: m0, hi: add(m0, i32(plan.mc)), total: p.results, size: mr },
    (m, count) => [
      loop('serial', 'i', count, [
        loop('serial', 'c', p.channels, [
          loop('serial', 'ky', kh, [
            loop('vector', 'kx', kw, [
              store(
                'weights',
                add(
                  add(
                    mul(sub(m, m0), i32(weightTile)),
                    mul(add(mul(ref('ky'), i32(kw)), ref('kx')), i32(p.channels * mr)),
                  ),
                  add(mul(ref('c'), i32(mr)), ref('i')),
                ),
                p.weight(group, add(m, ref('i')), ref('c'), ref('ky'), ref('kx')),
              ),
            ]),
          ]),
        ]),
      ]),
    ],
  );

  const copyRow = (py: number, px: number): Stmt[] => {
    const to = add(add(i32(planeOf(py, px)), mul(ref('c'), i32(channelStride))), at(ref('image'), ref('row'), 0));
    const source = add(mul(add(row0, ref('row')), i32(p.rows.scale)), i32(p.rows.planes[py]));
    const { lo, hi } = present(p.cols, px, p.cols.lo, width);
    const col = ref('col');
    const x = add(mul(add(col, i32(p.cols.lo)), i32(p.cols.scale)), i32(p.cols.planes[px]));
    const channel = add(mul(group, i32(p.channels)), ref('c'));
    const value = p.source(add(image0, ref('image')), channel, ref('y'), x);
    const copy: Stmt[] = [
      letI('to', to),
      ...clear('col', 'stage', ref('to'), lo),
      ...(hi > lo ? [loop('vector', 'col', hi, [store('stage', add(ref('to'), col), value)], lo)] : []),
      ...clear('col', 'stage', add(ref('to'), i32(hi)), width - hi),
    ];
    const rowsOfPlane = p.rows.hi - p.rows.lo + p.rows.reach;
    const whole = present(p.rows, py, p.rows.lo, rowsOfPlane);
    const inside = whole.lo === 0 && whole.hi === rowsOfPlane;
    return [
      letI('y', source),
      ...(inside ? copy : [when(within(ref('y'), 0, p.rows.extent), copy, clear('col', 'stage', to, width))]),
    ];
  };
  const stage: Stmt[] = p.rows.planes.flatMap((_, py) =>
    p.cols.planes.map((_, px) =>
      loop('group', 'c', p.channels, [
        loop('group', 'image', images, [loop('serial', 'row', add(rows, i32(p.rows.reach)), copyRow(py, px))]),
      ]),
    ),
  );

  /** Adds what a set of taps contributes; the longest of channels, ky and kx is summed by the tile's own loop. */
  const sumTaps = (tile: string, m: Expr, y: Taps, x: Taps, position: Expr): Stmt[] => {
    const weightBase = add(mul(sub(m, m0), i32(weightTile)), i32((y.first * kw + x.first) * p.channels * mr));
    const imageBase = add(position, i32(planeOf(y.plane, x.plane) + y.at * width + x.at));
    const axes = [
      { name: 'c', count: p.channels, weight: mr, image: channelStride },
      { name: 'ky', count: y.count, weight: y.step * kw * p.channels * mr, image: y.move * width },
      { name: 'kx', count: x.count, weight: x.step * p.channels * mr, image: x.move },
    ];
    const deepest = axes.reduce((best, a) => (a.count > 2 * best.count && best.count < 8 ? a : best));
    const outer = axes.filter((a) => a !== deepest);
    const offset = (key: 'weight' | 'image', base: Expr): Expr =>
      outer.reduce((sum, a) => (a.count === 1 ? sum : add(sum, mul(ref(a.name), i32(a[key])))), base);
    const mma: Stmt = {
      kind: 'tileMma',
      tile,
      operand: 'f32',
      depth: i32(deepest.count),
      a: { memory: 'weights', index: offset('weight', weightBase), row: 1, depth: deepest.weight },
      b: { memory: 'stage', index: offset('image', imageBase), depth: deepest.image, col: 1 },
    };
    return outer.reduceRight<Stmt[]>((body, a) => maybeLoop('serial', a.name, a.count, () => body), [mma]);
  };

  const mRange = { lo: m0, hi: add(m0, i32(plan.mc)), total: p.results, size: mr };
  const lanes: Binding = 'lane';
  const overResults = (body: (m: Expr, count: number) => Stmt[]): Stmt[] => strips(lanes, 'm', mRange, body);
  const tiles = (m: Expr | undefined, mCount: number): Stmt[] => [
    loop(
      lanes,
      'image',
      images,
      p.rows.phases.flatMap((yPhase) =>
        p.cols.phases.flatMap((xPhase) => {
          const count = xPhase.hi - xPhase.lo;
          const task = (mm: Expr, rowsOfTile: number, x: Expr, cols: number): Stmt[] =>
            tileTask({
              rows: rowsOfTile,
              cols: tileCols(cols, nr),
              sum: (tile) =>
                yPhase.taps.flatMap((ty) =>
                  xPhase.taps.flatMap((tx) =>
                    sumTaps(
                      tile,
                      mm,
                      ty,
                      tx,
                      at(ref('image'), sub(ref('y'), row0), add(x, i32(xPhase.lo - p.cols.lo))),
                    ),
                  ),
                ),
              rowLimit: i32(rowsOfTile),
              colLimit: i32(cols),
              each: (row, col, element) =>
                p.finish(
                  add(image0, ref('image')),
                  add(add(mul(group, i32(p.results)), mm), row),
                  add(mul(ref('y'), i32(yPhase.scale)), i32(yPhase.offset)),
                  add(mul(add(add(x, col), i32(xPhase.lo)), i32(xPhase.scale)), i32(xPhase.offset)),
                  element,
                ),
            });
          return [
            loop(
              lanes,
              'y',
              min(add(row0, rows), i32(yPhase.hi)),
              strips(lanes, 'x', { lo: i32(0), hi: i32(count), total: count, size: nr }, (x, cols) =>
                m ? task(m, mCount, x, cols) : overResults((mm, n) => task(mm, n, x, cols)),
              ),
              max(row0, i32(yPhase.lo)),
            ),
          ];
        }),
      ),
    ),
  ];
  const resident = plan.mc * weightTile <= RESIDENT;

  const block = ref('block');
  const resultBlocks = ceilDiv(p.results, plan.mc);
  const stageIndex = ref('stageIndex');
  return [
    loop('grid', 'block', p.groups * resultBlocks * plan.chunks, [
      letI('group', div(block, i32(resultBlocks * plan.chunks))),
      letI('m0', mul(rem(div(block, i32(plan.chunks)), i32(resultBlocks)), i32(plan.mc))),
      alloc('weights', plan.mc * weightTile),
      alloc('stage', planeCount * planeStride + nr),
      letI('firstStage', mul(rem(block, i32(plan.chunks)), i32(plan.stages))),
      ...packWeights,
      loop(
        'serial',
        'stageIndex',
        min(add(ref('firstStage'), i32(plan.stages)), i32(plan.imageBlocks * plan.rowBlocks)),
        [
          letI('image0', mul(div(stageIndex, i32(plan.rowBlocks)), i32(plan.images))),
          letI('images', min(i32(plan.images), sub(i32(p.images), image0))),
          letI('row0', add(mul(rem(stageIndex, i32(plan.rowBlocks)), i32(plan.rows)), i32(p.rows.lo))),
          letI('rows', min(i32(plan.rows), sub(i32(p.rows.hi), row0))),
          ...stage,
          ...(resident ? tiles(undefined, 0) : overResults((m, count) => tiles(m, count))),
        ],
        ref('firstStage'),
      ),
    ]),
  ];
}
