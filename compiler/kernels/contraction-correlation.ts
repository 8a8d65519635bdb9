/**
 * Convolutions and their input gradients. A grid iteration owns some images (or rows of one) of one group. It copies them
 * with their padding into group memory, channel by channel; then the im2col matrix of textbooks is already there: the
 * elements that one tap contributes to a row of outputs are contiguous, so tiles (output channels x positions of a row)
 * read the copy directly, tap by tap, and nothing is ever unfolded.
 */
import {
  add,
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
import { type Axis, backwardAxis, forwardAxis, type Phase, type Taps } from './contraction-axes.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { planStages, type StagePlan, stageOf, stageRange, stageWidth } from './contraction-stage.js';
import {
  alloc,
  type Contraction,
  ceilDiv,
  evenly,
  maybeLoop,
  strips,
  type TileChoice,
  tileCols,
  tileShapes,
  tileTask,
} from './contraction-tile.js';

/** Elements of group memory for staged images: with a tile's weights they should stay in a second-level cache. */
const STAGE = 48 * 1024;
const MOST_CHUNKS = 16;
/** Grid iterations below which results are split. */
const ENOUGH = 8;
/** Positions of one grid iteration for which packing its weights is a small part of the work. */
const WORTH_PACKING = 256;
/** Channels that are summed tap after tap before the next ones: what they read should stay in a first-level cache. */
const CHANNELS = 64;
/** Weights up to this many elements stay in cache while all columns go by; larger ones are walked through once. */
export const RESIDENT = 64 * 1024;

export interface Correlation {
  readonly images: number;
  readonly groups: number;
  /** Channels of a group: summed over, and of the result. */
  readonly channels: number;
  readonly results: number;
  readonly kernel: readonly [number, number];
  readonly rows: Axis;
  readonly cols: Axis;
  readonly weight: (group: Expr, result: Expr, channel: Expr, ky: Expr, kx: Expr) => Expr;
  readonly source: (image: Expr, channel: Expr, row: Expr, col: Expr) => Expr;
  readonly finish: (image: Expr, channel: Expr, row: Expr, col: Expr, element: Expr) => Stmt[];
}

export function correlationOf({ anchor, elements, finish }: Contraction): Correlation {
  const forward = anchor.op === 'conv';
  const conv = convolutionOfNode(anchor);
  const [image, weights] = anchor.operands;
  const [channels, results] = forward ? [conv.inputs, conv.outputs] : [conv.outputs, conv.inputs];
  const axis = forward ? forwardAxis : backwardAxis;
  const o = conv.outputs;
  return {
    images: conv.images,
    groups: conv.groups,
    channels,
    results,
    kernel: conv.kernel,
    rows: axis(conv.rows),
    cols: axis(conv.cols),
    weight: (g, result, channel, ky, kx) => {
      const [oi, ci] = forward ? [result, channel] : [channel, result];
      return elements.at(weights, [add(mul(g, i32(o)), oi), ci, ky, kx]);
    },
    source: (n, ch, y, x) => elements.at(image, [n, ch, y, x]),
    finish: (n, ch, y, x, e) => finish([n, ch, y, x], e),
  };
}

/** How a grid shares out the stages of all images and the results. */
export interface Chunks {
  /** Stages that one grid iteration goes through, and how many such chunks there are. */
  readonly perChunk: number;
  readonly chunks: number;
  /** Results of one grid iteration. */
  readonly mc: number;
}

/** @param most results of an iteration, if it is given */
export function chunksOf(p: Correlation, stages: StagePlan, mr: number, most?: number): Chunks {
  const count = stages.imageBlocks * stages.bands;
  const positions = p.images * (p.rows.hi - p.rows.lo) * (p.cols.hi - p.cols.lo);
  const perChunk = ceilDiv(count, Math.max(1, Math.min(count, MOST_CHUNKS, Math.floor(positions / WORTH_PACKING))));
  const chunks = ceilDiv(count, perChunk);
  // With few positions results are split instead, so that the grid has work to share out.
  const splits = Math.max(1, Math.min(ceilDiv(p.results, 16), Math.floor(ENOUGH / (chunks * p.groups))));
  return { perChunk, chunks, mc: evenly(p.results, most ?? ceilDiv(p.results, splits), mr) };
}

interface Plan extends TileChoice, Chunks {
  readonly stages: StagePlan;
}

function planOf(p: Correlation, choice: Partial<TileChoice>): Plan {
  const { mr, nr } = { ...tileShapes[0], ...choice };
  const perRow = p.rows.planes.length * p.cols.planes.length * p.channels * stageWidth(p.cols);
  const stages = planStages(p.images, p.rows, perRow, choice.nc ? choice.nc * p.channels : STAGE);
  const kc = evenly(p.channels, choice.kc ?? CHANNELS, 1);
  return { mr, nr, kc, nc: nr, stages, ...chunksOf(p, stages, mr, choice.mc) };
}

export function lowerCorrelation(contraction: Contraction): Stmt[] {
  const p = correlationOf(contraction);
  const plan = planOf(p, contraction.choice);
  const { mr, nr } = plan;
  const [kh, kw] = p.kernel;
  const [group, m0, image0, row0, images, rows, image] = names.map(ref);
  const stage = stageOf({
    memory: 'stage',
    channels: p.channels,
    rows: p.rows,
    cols: p.cols,
    images: plan.stages.images,
    band: plan.stages.band,
    slack: nr,
  });

  // weights[(m - m0) / mr][channel block][tap][channel][mr]
  const blocks = ceilDiv(p.channels, plan.kc);
  const blockSize = kh * kw * plan.kc;
  const weightTile = blocks * blockSize;
  const results = { lo: m0, hi: add(m0, i32(plan.mc)), total: p.results, size: mr };
  const [i, c] = ['i', 'c'].map(ref);
  const channelsOf = (b: Expr): Expr =>
    blocks * plan.kc === p.channels ? i32(plan.kc) : min(i32(plan.kc), sub(i32(p.channels), mul(b, i32(plan.kc))));
  const packWeights = strips('group', 'm', results, (m, count) =>
    maybeLoop('serial', 'b', blocks, (b) => [
      loop('serial', 'c', channelsOf(b), [
        ...maybeLoop('serial', 'ky', kh, (ky) =>
          maybeLoop('serial', 'kx', kw, (kx) => {
            const tile = add(mul(sub(m, m0), i32(weightTile)), mul(b, i32(blockSize * mr)));
            const inner = add(mul(add(mul(ky, i32(kw)), kx), i32(plan.kc * mr)), add(mul(c, i32(mr)), i));
            const value = p.weight(group, add(m, i), add(mul(b, i32(plan.kc)), c), ky, kx);
            return [loop('vector', 'i', count, [store('weights', add(tile, inner), value)])];
          }),
        ),
      ]),
    ]),
  );

  /** Adds what a set of taps contributes; the longest of channels, ky and kx is summed by the tile's own loop. */
  const sumTaps = (tile: string, m: Expr, b: Expr, y: Taps, x: Taps, position: Expr): Stmt[] => {
    const weightBase = add(
      add(mul(sub(m, m0), i32(weightTile)), mul(b, i32(blockSize * mr))),
      i32((y.first * kw + x.first) * plan.kc * mr),
    );
    const imageBase = add(
      add(position, mul(b, i32(plan.kc * stage.channel))),
      i32(stage.plane(y.plane, x.plane) + y.at * stage.row + x.at),
    );
    const axes = [
      { name: 'c', count: plan.kc, weight: mr, image: stage.channel },
      { name: 'ky', count: y.count, weight: y.step * kw * plan.kc * mr, image: y.move * stage.row },
      { name: 'kx', count: x.count, weight: x.step * plan.kc * mr, image: x.move },
    ];
    const deepest = axes.reduce((best, a) => (blocks === 1 && a.count > 2 * best.count && best.count < 8 ? a : best));
    const outer = axes.filter((a) => a !== deepest);
    const offset = (key: 'weight' | 'image', base: Expr): Expr =>
      outer.reduce((sum, a) => (a.count === 1 ? sum : add(sum, mul(ref(a.name), i32(a[key])))), base);
    const mma: Stmt = {
      kind: 'tileMma',
      tile,
      operand: 'f32',
      depth: deepest === axes[0] ? channelsOf(b) : i32(deepest.count),
      a: { memory: 'weights', index: offset('weight', weightBase), row: 1, depth: deepest.weight },
      b: { memory: 'stage', index: offset('image', imageBase), depth: deepest.image, col: 1 },
    };
    return outer.reduceRight<Stmt[]>((body, a) => maybeLoop('serial', a.name, a.count, () => body), [mma]);
  };

  const tile = (yPhase: Phase, xPhase: Phase, m: Expr, mCount: number, x: Expr, xCount: number): Stmt[] => {
    const y = ref('y');
    const at = add(
      add(mul(image, i32(stage.image)), mul(sub(y, row0), i32(stage.row))),
      add(x, i32(xPhase.lo - p.cols.lo)),
    );
    return tileTask({
      rows: mCount,
      cols: tileCols(xCount, nr),
      sum: (name) =>
        maybeLoop('serial', 'b', blocks, (b) =>
          yPhase.taps.flatMap((ty) => xPhase.taps.flatMap((tx) => sumTaps(name, m, b, ty, tx, at))),
        ),
      rowLimit: i32(mCount),
      colLimit: i32(xCount),
      each: (row, col, element) =>
        p.finish(
          add(image0, image),
          add(add(mul(group, i32(p.results)), m), row),
          add(mul(y, i32(yPhase.scale)), i32(yPhase.offset)),
          add(mul(add(add(x, col), i32(xPhase.lo)), i32(xPhase.scale)), i32(xPhase.offset)),
          element,
        ),
    });
  };
  type Body = (m: Expr, count: number) => Stmt[];
  const overResults = (body: Body): Stmt[] => strips('lane', 'm', results, body);
  const overPositions = (within: (body: Body) => Stmt[]): Stmt[] => [
    loop(
      'lane',
      'image',
      images,
      p.rows.phases.flatMap((yPhase) =>
        p.cols.phases.map((xPhase) => {
          const total = xPhase.hi - xPhase.lo;
          const columns = { lo: i32(0), hi: i32(total), total, size: nr };
          const rowOfTiles = strips('lane', 'x', columns, (x, xCount) =>
            within((m, mCount) => tile(yPhase, xPhase, m, mCount, x, xCount)),
          );
          return loop('lane', 'y', min(add(row0, rows), i32(yPhase.hi)), rowOfTiles, max(row0, i32(yPhase.lo)));
        }),
      ),
    ),
  ];
  const tiles =
    plan.mc * weightTile <= RESIDENT
      ? overPositions(overResults)
      : overResults((m, count) => overPositions((body) => body(m, count)));

  const block = ref('block');
  const resultBlocks = ceilDiv(p.results, plan.mc);
  const allStages = plan.stages.imageBlocks * plan.stages.bands;
  const first = mul(rem(block, i32(plan.chunks)), i32(plan.perChunk));
  return [
    loop('grid', 'block', p.groups * resultBlocks * plan.chunks, [
      letI('group', div(block, i32(resultBlocks * plan.chunks))),
      letI('m0', mul(rem(div(block, i32(plan.chunks)), i32(resultBlocks)), i32(plan.mc))),
      alloc('weights', plan.mc * weightTile),
      stage.alloc,
      ...packWeights,
      loop(
        'serial',
        'stageIndex',
        min(add(first, i32(plan.perChunk)), i32(allStages)),
        [
          ...stageRange(ref('stageIndex'), plan.stages, p.images, p.rows),
          ...stage.copy({ images, row0, rows }, (n, ch, y, x) =>
            p.source(add(image0, n), add(mul(group, i32(p.channels)), ch), y, x),
          ),
          ...tiles,
        ],
        first,
      ),
    ]),
  ];
}

const names = ['group', 'm0', 'image0', 'row0', 'images', 'rows', 'image'] as const;
