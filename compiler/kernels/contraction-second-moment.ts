/**
 * Second moments: the sum over examples and positions of v v^T, v a patch of the image (a 1 x 1 one for second_moment), maybe
 * with a constant 1 at its end. The patches of some positions are packed into panels of features, in the order of the
 * result; both operands of a tile are read from these panels. Only tiles that touch the lower triangle are computed. A grid
 * iteration owns some rows, whose partial sums rest in group memory while the positions go by.
 */
import {
  add,
  div,
  type Expr,
  eq,
  f32,
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
import { flagOf, numberOf } from '../../ir/ops/declare.js';
import { concrete, product } from '../../ir/types.js';
import { type Axis, forwardAxis, type Taps } from './contraction-axes.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { planStages, type StagePlan, stageOf, stageRange } from './contraction-stage.js';
import {
  alloc,
  type Contraction,
  ceilDiv,
  clear,
  evenly,
  isFirst,
  type TileChoice,
  tileShapes,
  tileTask,
  when,
} from './contraction-tile.js';
import { reshapeIndex } from './indices.js';

/** Elements of packed patches that should stay in a second-level cache, and the least and most positions of them. */
const PANELS = 64 * 1024;
const FEWEST = 64;
const MOST = 512;
const MOST_CHUNKS = 16;

export interface SecondMoment {
  readonly images: number;
  readonly groups: number;
  readonly channels: number;
  readonly kernel: readonly [number, number];
  readonly rows: Axis;
  readonly cols: Axis;
  readonly ones: boolean;
  /** Patches are single elements, all inside the image: they are packed from where they lie. */
  readonly points: boolean;
  /** Neighbouring channels are neighbours in memory. */
  readonly channelLast: boolean;
  readonly source: (image: Expr, channel: Expr, row: Expr, col: Expr) => Expr;
  readonly weight?: (image: Expr) => Expr;
  /** j <= i. */
  readonly finish: (group: Expr, i: Expr, j: Expr, element: Expr) => Stmt[];
}

/** The longest divisor of `positions` up to `most`: positions without geometry are cut into rows of that length. */
function rowOf(positions: number, most: number): number {
  for (let w = Math.min(positions, most); w > 1; w--) if (positions % w === 0) return w;
  return 1;
}

const along = (extent: number): Axis =>
  forwardAxis({ kernel: 1, stride: 1, pad: 0, dilation: 1, input: extent, output: extent });

export function secondMomentOf({ anchor, elements, finish }: Contraction): SecondMoment {
  const [x, scale, weight] = anchor.operands;
  const shape = concrete(x.type.shape);
  const ones = flagOf(anchor.attrs, 'ones');
  const conv = anchor.op === 'patch_second_moment' ? convolutionOfNode(anchor) : undefined;
  const axis = conv ? 1 : numberOf(anchor.attrs, 'axis');
  const [outer, inner] = [product(shape.slice(0, axis)), product(shape.slice(axis + 1))];
  const width = rowOf(inner, MOST / 2);
  const view = conv ? shape : [outer, shape[axis], inner / width, width];
  const kernel = conv?.kernel ?? [1, 1];
  const channels = conv?.inputs ?? shape[axis];
  const d = channels * product(kernel) + (ones ? 1 : 0);
  const factor = elements.at(scale, []);
  const examples = outer / shape[0];
  return {
    images: view[0],
    groups: conv?.groups ?? 1,
    channels,
    kernel,
    rows: conv ? forwardAxis(conv.rows) : along(view[2]),
    cols: conv ? forwardAxis(conv.cols) : along(width),
    ones,
    points: !conv || [conv.rows, conv.cols].every((a) => a.kernel === 1 && a.pad === 0),
    channelLast: view[2] * view[3] === 1,
    source: (n, c, iy, ix) => elements.at(x, reshapeIndex([n, c, iy, ix], view, shape)),
    weight: weight && ((n) => elements.at(weight, [conv ? n : div(n, i32(examples))])),
    finish: (g, i, j, e) => {
      const row = div(mul(i, add(i, i32(1))), i32(2));
      return finish([add(mul(g, i32((d * (d + 1)) / 2)), add(row, j))], mul(e, factor));
    },
  };
}

interface Plan extends TileChoice {
  readonly features: number;
  readonly stages: StagePlan;
  /** Most positions of one stage. */
  readonly positions: number;
}

function planOf(p: SecondMoment, choice: Partial<TileChoice>): Plan {
  const { mr, nr } = { ...tileShapes[0], ...choice };
  const features = p.channels * product(p.kernel) + (p.ones ? 1 : 0);
  const width = p.cols.hi - p.cols.lo;
  const wanted = choice.kc ?? Math.min(MOST, Math.max(FEWEST, Math.floor(PANELS / features)));
  // In positions: rows count as they are, without the reach of the window.
  const stages = planStages(p.images, { ...p.rows, reach: 0 }, width, Math.max(width, wanted));
  const fewest = Math.max(128, ceilDiv(features, Math.max(1, Math.floor(MOST_CHUNKS / p.groups))));
  const mc = evenly(features, choice.mc ?? fewest, nr);
  return { mr, nr, kc: wanted, mc, nc: nr, features, stages, positions: stages.images * stages.band * width };
}

export function lowerSecondMoment(contraction: Contraction): Stmt[] {
  const { anchor, elements } = contraction;
  const p = secondMomentOf(contraction);
  const plan = planOf(p, contraction.choice);
  const { mr, nr, features } = plan;
  const [kh, kw] = p.kernel;
  const [group, m0, image0, row0, images, rows] = ['group', 'm0', 'image0', 'row0', 'images', 'rows'].map(ref);
  const [c, n, y, x, panel, lane] = ['c', 'image', 'y', 'x', 'panel', 'lane'].map(ref);
  const width = p.cols.hi - p.cols.lo;
  const rowBlocks = ceilDiv(features, plan.mc);
  const end = min(i32(features), add(m0, i32(plan.mc)));

  // panels[f / nr][position][nr]; `weighted` the same times the example's weight, for one side of the product.
  const panelSize = plan.positions * nr;
  const panels = ceilDiv(features, nr);
  const right = p.weight ? 'weighted' : 'panels';
  const position = (image: Expr, row: Expr, col: Expr): Expr => add(mul(add(mul(image, rows), row), i32(width)), col);
  const put = (place: Expr, image: Expr, value: Expr): Stmt[] => [
    store('panels', place, value),
    ...(p.weight ? [store('weighted', place, mul(value, p.weight(add(image0, image))))] : []),
  ];
  const featureAt = (f: Expr): Expr => add(mul(div(f, i32(nr)), i32(panelSize)), rem(f, i32(nr)));
  const overPositions = (body: readonly Stmt[]): Stmt => {
    return loop('serial', 'image', images, [loop('serial', 'y', rows, [loop('vector', 'x', width, body)])]);
  };
  const packed = (f: Expr, value: Expr): Stmt[] => [
    letI('to', featureAt(f)),
    overPositions(put(add(ref('to'), mul(position(n, y, x), i32(nr))), n, value)),
  ];

  const stage = stageOf({
    memory: 'stage',
    channels: p.channels,
    rows: p.rows,
    cols: p.cols,
    images: plan.stages.images,
    band: plan.stages.band,
    slack: 0,
  });
  const channel = add(mul(group, i32(p.channels)), c);
  const packTaps = (ty: Taps, tx: Taps): Stmt[] => {
    const [u, v] = ['u', 'v'].map(ref);
    const [ky, kx] = [add(mul(u, i32(ty.step)), i32(ty.first)), add(mul(v, i32(tx.step)), i32(tx.first))];
    const from = add(
      add(i32(stage.plane(ty.plane, tx.plane) + ty.at * stage.row + tx.at), mul(c, i32(stage.channel))),
      add(mul(u, i32(ty.move * stage.row)), mul(v, i32(tx.move))),
    );
    const at = add(add(ref('from'), mul(n, i32(stage.image))), add(mul(y, i32(stage.row)), x));
    return [
      loop('group', 'c', min(i32(p.channels), div(add(end, i32(kh * kw - 1)), i32(kh * kw))), [
        loop('serial', 'u', ty.count, [
          loop('serial', 'v', tx.count, [
            letI('from', from),
            ...packed(add(mul(c, i32(kh * kw)), add(mul(ky, i32(kw)), kx)), {
              kind: 'load',
              memory: 'stage',
              index: at,
            }),
          ]),
        ]),
      ]),
    ];
  };
  const packPatches = (): Stmt[] => [
    ...stage.copy({ images, row0, rows }, (image, ch, iy, ix) =>
      p.source(add(image0, image), add(mul(group, i32(p.channels)), ch), iy, ix),
    ),
    ...p.rows.phases[0].taps.flatMap((ty) => p.cols.phases[0].taps.flatMap((tx) => packTaps(ty, tx))),
  ];
  const packPoints = (): Stmt[] => {
    const at = (row: Expr, col: Expr): [Expr, Expr] => [
      mul(add(row0, row), i32(p.rows.scale)),
      mul(col, i32(p.cols.scale)),
    ];
    const channelCount = min(i32(p.channels), end);
    if (!p.channelLast) {
      // Four channels at a time, so that a target can turn 4 x 4 blocks in registers; what is weighted is read off the panels.
      const fours = elements.inMemory(anchor.operands[0]) ? p.channels - (p.channels % 4) : 0;
      const place = add(ref('to'), mul(position(n, y, x), i32(nr)));
      const move = (k: number): Stmt =>
        store('panels', add(place, i32(k)), p.source(add(image0, n), add(channel, i32(k)), ...at(y, x)));
      const some = (from: number, to: number, moves: readonly Stmt[]): Stmt[] =>
        from === to
          ? []
          : [
              loop(
                'group',
                'c',
                min(i32(to), channelCount),
                [letI('to', featureAt(c)), overPositions(moves)],
                from,
                moves.length,
              ),
            ];
      const example = mul(rows, i32(width * nr));
      const e = add(ref('to'), ref('e'));
      const weigh = loop('group', 'panel', div(add(channelCount, i32(nr - 1)), i32(nr)), [
        loop('serial', 'image', images, [
          letI('to', add(mul(panel, i32(panelSize)), mul(n, example))),
          loop('vector', 'e', example, [
            store('weighted', e, mul(load('panels', e), p.weight?.(add(image0, n)) ?? f32(1))),
          ]),
        ]),
      ]);
      const all = [...some(0, fours, [0, 1, 2, 3].map(move)), ...some(fours, p.channels, [move(0)])];
      return p.weight ? [...all, weigh] : all;
    }
    const move = (f: Expr): Stmt[] =>
      put(
        add(add(mul(panel, i32(panelSize)), mul(n, i32(nr))), lane),
        n,
        p.source(add(image0, n), add(mul(group, i32(p.channels)), f), i32(0), i32(0)),
      );
    const whole = Math.floor(p.channels / nr);
    const f = add(mul(panel, i32(nr)), lane);
    const part = (lo: number, hi: Expr, count: number): Stmt =>
      loop('group', 'panel', hi, [loop('serial', 'image', images, [loop('vector', 'lane', count, move(f))])], lo);
    return [
      part(0, min(i32(whole), div(add(end, i32(nr - 1)), i32(nr))), nr),
      ...(p.channels % nr === 0 ? [] : [part(whole, i32(whole + 1), p.channels % nr)]),
    ];
  };

  const [i, j] = ['i', 'j'].map(ref);
  const stageCount = plan.stages.imageBlocks * plan.stages.bands;
  const half = mul(div(i, i32(nr)), i32(nr));
  const tiles = loop(
    'lane',
    'i',
    end,
    [
      loop(
        'lane',
        'j',
        add(i, i32(mr)),
        tileTask({
          rows: mr,
          cols: nr,
          sum: (tile) => [
            {
              kind: 'tileMma',
              tile,
              operand: 'f32',
              depth: ref('positions'),
              // Rows are a part of a panel.
              a: { memory: 'panels', index: add(mul(half, i32(plan.positions)), sub(i, half)), row: 1, depth: nr },
              b: { memory: right, index: mul(j, i32(plan.positions)), depth: nr, col: 1 },
            },
          ],
          partial:
            stageCount === 1
              ? undefined
              : {
                  memory: 'sums',
                  index: add(mul(sub(i, m0), i32(panels * nr)), mul(j, i32(mr))),
                  first: isFirst(ref('stageIndex')),
                  last: eq(ref('stageIndex'), i32(stageCount - 1)),
                },
          rowLimit: features % mr === 0 ? i32(mr) : min(i32(mr), sub(i32(features), i)),
          colLimit: i32(nr),
          each: (row, col, element) => {
            const [r, k] = [add(i, row), add(j, col)];
            return [when(le(k, r), p.finish(group, r, k, element))];
          },
        }),
        0,
        nr,
      ),
    ],
    m0,
    mr,
  );

  const block = ref('block');
  const stageIndex = ref('stageIndex');
  const body: Stmt[] = [
    ...stageRange(stageIndex, plan.stages, p.images, p.rows),
    letI('positions', mul(mul(images, rows), i32(width))),
    ...(p.points ? packPoints() : packPatches()),
    ...(p.ones ? packed(i32(features - 1), f32(1)) : []),
    tiles,
  ];
  const unusedLanes = panels * nr - features;
  return [
    loop('grid', 'block', p.groups * rowBlocks, [
      letI('group', div(block, i32(rowBlocks))),
      letI('m0', mul(rem(block, i32(rowBlocks)), i32(plan.mc))),
      ...(p.points ? [] : [stage.alloc]),
      alloc('panels', panels * panelSize),
      ...(p.weight ? [alloc('weighted', panels * panelSize)] : []),
      ...(stageCount > 1 ? [alloc('sums', plan.mc * panels * nr)] : []),
      // Lanes without a feature are computed and dropped: zeros are the quickest to compute with.
      ...(unusedLanes > 0 ? clear('z', 'panels', i32((panels - 1) * panelSize), panelSize) : []),
      ...(unusedLanes > 0 && p.weight ? clear('z', 'weighted', i32((panels - 1) * panelSize), panelSize) : []),
      ...(stageCount === 1 ? [letI('stageIndex', i32(0)), ...body] : [loop('serial', 'stageIndex', stageCount, body)]),
    ]),
  ];
}
