/**
 * The second moment of a window's patches by offset correlations: an image's channels times themselves at each distance that
 * two taps can have (`contraction-offsets.ts`), 25 of them for a 3 x 3 window instead of 81 pairs of taps. Channels are packed
 * once, not once for each tap, and a tile's two panels stay in a first-level cache for all distances. What each rectangle, a strip
 * of rows and one of columns, sums rests in group memory; at the end a tile's rectangles are added up for each pair of taps. A
 * grid iteration owns some channels as rows. Strips and pairs of taps are read from a table: the code is the same for every window.
 */
import {
  add,
  and,
  div,
  type Expr,
  eq,
  f32,
  i32,
  le,
  letI,
  load,
  loop,
  lt,
  max,
  min,
  mul,
  ref,
  rem,
  type Stmt,
  select,
  sub,
} from '../../ir/kernel.js';
import { product } from '../../ir/types.js';
import type { AxisWindow } from './contraction-axes.js';
import { convolutionOfNode } from './contraction-convolution.js';
import {
  correlate,
  joinRectangles,
  type Panels,
  packChannels,
  packValues,
  Table,
  weighPanels,
} from './contraction-offset-panels.js';
import { flatOffsetsOf, MOST_SUMS } from './contraction-offsets.js';
import { secondMomentOf } from './contraction-second-moment.js';
import { planStages, stageRange } from './contraction-stage.js';
import {
  alloc,
  type Contraction,
  ceilDiv,
  clear,
  evenly,
  isFirst,
  restTile,
  tileShapes,
  when,
} from './contraction-tile.js';

/** Positions of a stage: a tile's two panels of them stay in a first-level cache. */
const POSITIONS = 512;
/** Channels that are rows of one grid iteration. */
const ROWS = 32;

const stripFields = ['first', 'count', 'distance', 'upper'] as const;
const pairFields = ['tap', 'partner', 'lo', 'hi'] as const;

/** Strips and pairs of taps of an axis in a kernel's table. */
function axisIn(table: Table, axis: AxisWindow) {
  const { strips, pairs } = flatOffsetsOf(axis);
  const upper = strips.map((s) => ({ ...s, upper: Math.floor((s.first + Math.min(0, s.distance)) / axis.stride) }));
  const [strip, pair] = [table.add(stripFields, upper), table.add(pairFields, pairs)];
  return { strips, pairs, strip, pair };
}

export function lowerOffsetMoment(contraction: Contraction): Stmt[] {
  const { anchor, choice, elements } = contraction;
  const p = secondMomentOf(contraction);
  const { rows: down, cols: across, kernel } = convolutionOfNode(anchor);
  const { mr, nr } = { ...tileShapes[0], ...choice };
  const table = new Table();
  const [dy, dx] = [axisIn(table, down), axisIn(table, across)];
  const [height, width, step] = [down.input, across.input, down.stride];
  const taps = product(kernel);
  const { channels } = p;
  const features = channels * taps + Number(p.ones);
  // The constant 1 is one more channel; of its products only those at distance 0 are wanted.
  const lanes = channels + Number(p.ones);
  const panels = ceilDiv(lanes, nr);
  const tileSize = mr * nr;
  // A tile's rectangles, and behind them what is joined of them.
  const joined = dy.strips.length * dx.strips.length * tileSize;
  const sumsSize = joined + tileSize;
  const most = Math.max(1, Math.floor(MOST_SUMS / (panels * sumsSize))) * mr;
  const mc = evenly(lanes, Math.min(choice.mc ?? ROWS, most), mr);
  const rowBlocks = ceilDiv(lanes, mc);

  // Rows are staged in bands of whole strides, with the rows below that partners reach.
  const reach = (kernel[0] - 1) * down.dilation;
  const whole = { lo: 0, hi: ceilDiv(height, step), reach: 0 };
  const stages = planStages(p.images, whole, width * step, Math.max(width * step, choice.kc ?? POSITIONS));
  const stagedRows = stages.bands === 1 ? height : Math.min(height, stages.band * step + reach);
  const imageSize = stagedRows * width * nr;
  const panelSize = stages.images * imageSize;
  const right = p.weight ? 'weighted' : 'panels';

  const [group, m0, _image0, _images, row0, rows] = ['group', 'm0', 'image0', 'images', 'row0', 'rows'].map(ref);
  const [image, i, j, r, e] = ['image', 'i', 'j', 'r', 'e'].map(ref);
  const end = min(i32(lanes), add(m0, i32(mc)));
  const top = stages.bands === 1 ? i32(0) : mul(row0, i32(step));

  const toPanels: Panels = {
    ...{ moment: p, nr, width, imageSize, panelSize, staged: ref('staged'), top, end },
    inMemory: elements.inMemory(anchor.operands[0]),
  };
  const pack: Stmt[] = [
    letI('staged', min(i32(stagedRows), sub(i32(height), top))),
    ...packChannels(toPanels),
    ...(p.ones ? packValues(toPanels, i32(channels), [f32(1)]) : []),
    ...weighPanels(toPanels, panels),
  ];

  /** Adds to the sum of a rectangle what the stage has of it. */
  const sumRectangles = (): Stmt[] => {
    const [sy, sx] = ['sy', 'sx'].map(ref);
    // Of a position's row and its partner's, the upper one is in the stage's band.
    const ofBand: Stmt[] =
      stages.bands === 1
        ? [letI('from', i32(0)), letI('tall', dy.strip(sy, 'count'))]
        : [
            letI('from', max(i32(0), sub(row0, dy.strip(sy, 'upper')))),
            letI('tall', sub(min(dy.strip(sy, 'count'), sub(add(row0, rows), dy.strip(sy, 'upper'))), ref('from'))),
          ];
    const row = sub(add(dy.strip(sy, 'first'), mul(ref('from'), i32(step))), top);
    const position = (row: Expr, col: Expr): Expr => mul(add(mul(row, i32(width)), col), i32(nr));
    const sum: Stmt[] = [
      letI('wide', dx.strip(sx, 'count')),
      letI('own', add(ref('left'), position(row, dx.strip(sx, 'first')))),
      letI('partner', add(ref('right'), position(add(row, ref('dy')), add(dx.strip(sx, 'first'), ref('dx'))))),
      letI('place', add(ref('sumsAt'), mul(add(mul(sy, i32(dx.strips.length)), sx), i32(tileSize)))),
      { kind: 'tileZero', tile: 'tile', rows: mr, cols: nr, accumulator: 'f32' },
      correlate(
        { own: 'panels', partner: right, imageSize },
        { count: ref('tall'), move: step * width * nr },
        { count: ref('wide'), move: across.stride * nr },
      ),
      ...restTile(
        { tile: 'tile', rows: mr, cols: nr, memory: 'sums', index: ref('place') },
        isFirst(ref('stageIndex')),
      ),
    ];
    const isWanted = or(lt(i, i32(channels)), and(eq(ref('dy'), i32(0)), eq(ref('dx'), i32(0))));
    return [
      loop('serial', 'sy', dy.strips.length, [
        ...ofBand,
        letI('dy', dy.strip(sy, 'distance')),
        loop('serial', 'sx', dx.strips.length, [
          letI('dx', dx.strip(sx, 'distance')),
          ...(p.ones && channels % mr === 0 ? [when(isWanted, sum)] : sum),
        ]),
      ]),
    ];
  };

  /** `body` in each tile that touches the lower triangle, of channels. */
  const overTiles = (body: Stmt[]): Stmt => {
    const number = add(mul(div(sub(i, m0), i32(mr)), i32(panels)), div(j, i32(nr)));
    const tile = [letI('sumsAt', mul(number, i32(sumsSize))), ...body];
    return loop('lane', 'i', end, [loop('lane', 'j', add(i, i32(mr)), tile, 0, nr)], m0, mr);
  };
  const half = mul(div(i, i32(nr)), i32(nr));
  const tiles = overTiles([
    letI('left', add(mul(half, i32(panelSize / nr)), sub(i, half))),
    letI('right', mul(j, i32(panelSize / nr))),
    ...sumRectangles(),
  ]);

  const [py, px] = ['py', 'px'].map(ref);
  const rectangle = (a: Expr, b: Expr): Expr =>
    add(ref('sumsAt'), mul(add(mul(a, i32(dx.strips.length)), b), i32(tileSize)));
  const joinedAt = add(ref('sumsAt'), i32(joined));
  const join = joinRectangles(joinedAt, tileSize, rectangle);
  const isOne = and(eq(sub(ref('lastRow'), ref('firstRow')), i32(1)), eq(sub(ref('lastCol'), ref('firstCol')), i32(1)));
  const finish = (below: boolean): Stmt[] => {
    const row = add(mul(add(i, r), i32(taps)), ref('tap'));
    const col = add(mul(add(j, e), i32(taps)), ref('other'));
    const stores = p.finish(group, row, col, load('sums', add(ref('at'), add(mul(r, i32(nr)), e))));
    return below
      ? [loop('serial', 'r', mr, [loop('vector', 'e', nr, stores)])]
      : [
          loop('serial', 'r', min(i32(mr), sub(i32(channels), i)), [
            loop('serial', 'e', nr, [when(le(col, row), stores)]),
          ]),
        ];
  };
  /** The constant's row, in the tile that has it: sums of patches. */
  const finishOnes = (): Stmt => {
    const col = add(mul(add(j, e), i32(taps)), ref('tap'));
    const value = load('sums', add(ref('at'), add(i32((channels % mr) * nr), e)));
    const isHere = and(lt(i32(channels), add(i, i32(mr))), eq(ref('tap'), ref('other')));
    const stores = p.finish(group, i32(features - 1), col, value);
    return when(isHere, [loop('vector', 'e', min(i32(nr), sub(i32(channels), j)), stores)]);
  };
  const isBelow = and(le(add(j, i32(nr)), i), le(add(i, i32(mr)), i32(channels)));
  const results = overTiles([
    loop('serial', 'py', dy.pairs.length, [
      letI('firstRow', dy.pair(py, 'lo')),
      letI('lastRow', dy.pair(py, 'hi')),
      loop('serial', 'px', dx.pairs.length, [
        letI('firstCol', dx.pair(px, 'lo')),
        letI('lastCol', dx.pair(px, 'hi')),
        letI('tap', add(mul(dy.pair(py, 'tap'), i32(kernel[1])), dx.pair(px, 'tap'))),
        letI('other', add(mul(dy.pair(py, 'partner'), i32(kernel[1])), dx.pair(px, 'partner'))),
        when(isOne, [], join),
        letI('at', select(isOne, rectangle(ref('firstRow'), ref('firstCol')), joinedAt)),
        when(isBelow, finish(true), finish(false)),
        ...(p.ones ? [finishOnes()] : []),
      ]),
    ]),
  ]);
  /** The constant times itself: how many positions there are. */
  const { weight } = p;
  const count: Stmt[] = [
    { kind: 'var', name: 'count', type: 'f32', value: f32(0) },
    loop('serial', 'image', p.images, [
      { kind: 'set', name: 'count', value: add(ref('count'), weight ? weight(image) : f32(1)) },
    ]),
    ...p.finish(group, i32(features - 1), i32(features - 1), mul(ref('count'), f32(down.output * across.output))),
  ];

  const block = ref('block');
  const unused = panels * nr - lanes;
  return [
    loop('grid', 'block', p.groups * rowBlocks, [
      letI('group', div(block, i32(rowBlocks))),
      letI('m0', mul(rem(block, i32(rowBlocks)), i32(mc))),
      ...table.statements,
      alloc('panels', panels * panelSize),
      ...(p.weight ? [alloc('weighted', panels * panelSize)] : []),
      alloc('sums', ceilDiv(mc, mr) * panels * sumsSize),
      ...(unused > 0 ? clear('z', 'panels', i32((panels - 1) * panelSize), panelSize) : []),
      loop('serial', 'stageIndex', stages.imageBlocks * stages.bands, [
        ...stageRange(ref('stageIndex'), stages, p.images, whole),
        ...pack,
        tiles,
      ]),
      results,
      ...(p.ones ? [when(le(i32(lanes), add(m0, i32(mc))), count)] : []),
    ]),
  ];
}

const or = (a: Expr, b: Expr): Expr => ({ kind: 'binary', op: 'or', a, b });
