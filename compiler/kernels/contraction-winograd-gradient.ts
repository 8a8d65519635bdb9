/**
 * Weight gradients of windows with three rows by Winograd's F(3, 4): the three rows of taps that four rows of output gradients contribute
 * to take six rows of products in place of twelve. Both operands are transformed where they are staged, inputs channel-last; the products
 * of all examples and positions are summed first, and transformed back once.
 */
import type { Node } from '../../ir/graph.js';
import {
  add,
  div,
  type Expr,
  f32,
  i32,
  le,
  letI,
  load,
  loop,
  lt,
  min,
  mul,
  ref,
  rem,
  type Stmt,
  store,
  sub,
} from '../../ir/kernel.js';
import {
  type ChannelLast,
  clearRow,
  columnCopies,
  copyRow,
  lengthOf,
  type Staged,
  stagedAxis,
} from './contraction-channel-last.js';
import { type Convolution, convolutionOfNode } from './contraction-convolution.js';
import { planStages, type StagePlan, stageRange } from './contraction-stage.js';
import {
  alloc,
  type Contraction,
  ceilDiv,
  evenly,
  isFirst,
  maybeLoop,
  restTile,
  strips,
  type TileChoice,
  tileCols,
  tileShapes,
  when,
  within,
} from './contraction-tile.js';
import { isWorthwhile, POINTS, ROWS, TAPS, transformData, transformFilter, transformProducts } from './winograd.js';

/** Elements of group memory for transformed images: a sixth of them, and of the gradients, is in use at a time. */
const STAGE = 72 * 1024;
/** Positions of a row up to which each tap has its copy; longer loops are worth less than here, where a copy is transformed as well. */
const SHORT_ROW = 8;
/** Grid iterations that are worth having. Each transforms what it reads, so blocks have many channels. */
const ENOUGH = 2;
const [LEAST_INPUTS, MOST_INPUTS] = [16, 64];
const [LEAST_OUTPUTS, MOST_OUTPUTS] = [8, 128];

export function winogradGradientPays(node: Node): boolean {
  if (node.op !== 'conv_weight_grad') return false;
  const conv = convolutionOfNode(node);
  return isWorthwhile(conv, conv.rows.output);
}

interface Plan extends TileChoice {
  /** Input channels of one grid iteration. */
  readonly channels: number;
  readonly channelBlocks: number;
  readonly rowBlocks: number;
  readonly stages: StagePlan;
}

function planOf(conv: Convolution, copies: readonly Staged[], choice: Partial<TileChoice>): Plan {
  const { mr, nr } = { ...tileShapes[0], ...choice };
  const most = Math.min(MOST_INPUTS, Math.max(LEAST_INPUTS, conv.inputs >> 1));
  const channels = Math.min(conv.inputs, evenly(conv.inputs, choice.nc ?? most, 8));
  const channelBlocks = ceilDiv(conv.inputs, channels);
  const share = ceilDiv(ENOUGH, conv.groups * channelBlocks);
  const outputs = Math.min(MOST_OUTPUTS, Math.max(LEAST_OUTPUTS, ceilDiv(conv.outputs, share)));
  const mc = evenly(conv.outputs, choice.mc ?? outputs, mr);
  const perRow = copies.length * POINTS * lengthOf(copies[0], copies[0].positions) * channels;
  const tileRows = { lo: 0, hi: ceilDiv(conv.rows.output, ROWS), reach: 0 };
  const stages = planStages(conv.images, tileRows, perRow, choice.kc ? choice.kc * channels * POINTS : STAGE);
  return { mr, nr, kc: 0, mc, nc: channels, channels, channelBlocks, rowBlocks: ceilDiv(conv.outputs, mc), stages };
}

export function lowerWinogradGradient({ anchor, elements, finish, choice }: Contraction): Stmt[] {
  const conv = convolutionOfNode(anchor);
  const [x, dy] = anchor.operands;
  const kw = conv.kernel[1];
  const copies = columnCopies(conv, stagedAxis(conv.rows), stagedAxis(conv.cols), SHORT_ROW);
  const [colAxis] = copies;
  const plan = planOf(conv, copies, choice);
  const { mr, nr, channels } = plan;
  const [group, c0, m0, image0, row0, images, rows] = names.map(ref);
  const [image, row, y, at, i, col, point] = ['image', 'row', 'y', 'at', 'i', 'col', 'point'].map(ref);
  const { band } = plan.stages;

  // raw[copy][row][column][channel], of one image
  const width = lengthOf(colAxis, colAxis.positions);
  const rowSize = width * channels;
  const rawSize = (band * ROWS + TAPS - 1) * rowSize;
  const even = conv.inputs % channels === 0;
  const raw: ChannelLast = {
    ...{ memory: 'raw', copies, copySize: rawSize, channels },
    staged: even ? i32(channels) : min(i32(channels), sub(i32(conv.inputs), c0)),
    source: (ch, column) =>
      elements.at(x, [add(image0, image), add(add(mul(group, i32(conv.inputs)), c0), ch), y, column]),
    inMemory: elements.inMemory(x),
    isChannelLast: false,
  };
  // stage[point][copy][image][tile row][column][channel]
  const stageImage = band * rowSize;
  const stageCopy = plan.stages.images * stageImage;
  const stagePoint = copies.length * stageCopy;
  const transformImages = loop('group', 'image', images, [
    loop('group', 'row', add(mul(rows, i32(ROWS)), i32(TAPS - 1)), [
      letI('at', mul(row, i32(rowSize))),
      letI('y', sub(add(mul(row0, i32(ROWS)), row), i32(conv.rows.pad))),
      when(within(y, 0, conv.rows.input), copyRow(raw, at), clearRow(raw, at)),
    ]),
    ...copies.map((_, n) =>
      loop('group', 'row', rows, [
        loop(
          'vector',
          'col',
          rowSize,
          transformData(
            Array.from({ length: POINTS }, (_, j) =>
              load('raw', add(add(mul(row, i32(ROWS * rowSize)), i32(n * rawSize + j * rowSize)), col)),
            ),
          ).map((v, p) => {
            const begin = add(mul(image, i32(stageImage)), mul(row, i32(rowSize)));
            return store('stage', add(add(begin, i32(p * stagePoint + n * stageCopy)), col), v);
          }),
        ),
      ]),
    ),
  ]);

  // gradient[point][m - m0][image][tile row][position]
  const positions = colAxis.positions;
  const gradientImage = band * positions;
  const gradientRow = plan.stages.images * gradientImage;
  const gradientPoint = plan.mc * gradientRow;
  const m = ref('m');
  const outputChannel = add(mul(group, i32(conv.outputs)), m);
  const height = conv.rows.output;
  /** A tile's first `count` rows; the others are zero. */
  const transformRows = (count: number): Stmt =>
    loop(
      'vector',
      'col',
      positions,
      transformFilter(
        Array.from(
          { length: ROWS },
          (_, j): Expr =>
            j < count
              ? elements.at(dy, [add(image0, image), outputChannel, add(mul(add(row0, row), i32(ROWS)), i32(j)), col])
              : f32(0),
        ),
      ).map((g, p) => store('gradient', add(add(at, i32(p * gradientPoint)), col), g)),
    );
  const transformGradients = strips(
    'group',
    'm',
    { lo: m0, hi: add(m0, i32(plan.mc)), total: conv.outputs, size: 1 },
    () => [
      loop('serial', 'image', images, [
        loop('serial', 'row', rows, [
          letI(
            'at',
            add(mul(sub(m, m0), i32(gradientRow)), add(mul(image, i32(gradientImage)), mul(row, i32(positions)))),
          ),
          height % ROWS === 0
            ? transformRows(ROWS)
            : when(
                le(mul(add(add(row0, row), i32(1)), i32(ROWS)), i32(height)),
                [transformRows(ROWS)],
                [transformRows(height % ROWS)],
              ),
        ]),
      ]),
    ],
  );

  // Runs: weights that lie side by side in a row, or the one tap that has its own copy or is dilated.
  const perPoint = copies.length === 1 && (colAxis.dilation === 1 || kw === 1) ? 1 : kw;
  const runTaps = kw / perPoint;
  const length = runTaps * channels;
  const panels = ceilDiv(length, nr);
  const runStep = copies.length > 1 ? stageCopy : colAxis.dilation * channels;
  // Where rows follow each other without a gap, a tile's sum is one loop.
  const joined = colAxis.stride === 1 && width === positions;
  const sum = (run: Expr, l: Expr): Stmt[] => {
    const mma = (n: Expr, t: Expr, depth: Expr): Stmt => ({
      kind: 'tileMma',
      tile: 'tile',
      operand: 'f32',
      depth,
      a: {
        memory: 'gradient',
        index: add(
          add(mul(point, i32(gradientPoint)), mul(sub(m, m0), i32(gradientRow))),
          add(mul(n, i32(gradientImage)), mul(t, i32(positions))),
        ),
        row: gradientRow,
        depth: 1,
      },
      b: {
        memory: 'stage',
        index: add(
          add(mul(point, i32(stagePoint)), add(mul(n, i32(stageImage)), mul(t, i32(rowSize)))),
          add(mul(run, i32(runStep)), l),
        ),
        depth: colAxis.stride * channels,
        col: 1,
      },
    });
    return joined
      ? [mma(i32(0), i32(0), mul(mul(images, rows), i32(positions)))]
      : [loop('serial', 'image', images, [loop('serial', 'row', rows, [mma(image, row, i32(positions))])])];
  };

  // sums[(m - m0) / mr][point][run][l / nr][mr][nr]
  const runSums = panels * nr * mr;
  const pointSums = perPoint * runSums;
  const sumsAt = (run: Expr, l: Expr): Expr =>
    add(mul(sub(m, m0), i32((POINTS * pointSums) / mr)), add(mul(run, i32(runSums)), mul(l, i32(mr))));
  const stageIndex = ref('stageIndex');
  const stageCount = plan.stages.imageBlocks * plan.stages.bands;
  const outputRange = { lo: m0, hi: add(m0, i32(plan.mc)), total: conv.outputs, size: mr };
  const overTiles = (body: (mCount: number, run: Expr, l: Expr, count: number) => Stmt[]): Stmt[] =>
    strips('lane', 'm', outputRange, (_, mCount) =>
      maybeLoop('lane', 'run', perPoint, (run) =>
        strips('lane', 'l', { lo: i32(0), hi: i32(length), total: length, size: nr }, (l, count) =>
          body(mCount, run, l, count),
        ),
      ),
    );
  const sumTiles = loop(
    'lane',
    'point',
    POINTS,
    overTiles((mCount, run, l, count) => {
      const cols = tileCols(count, nr);
      const index = add(sumsAt(run, l), mul(point, i32(pointSums)));
      return [
        { kind: 'tileZero', tile: 'tile', rows: mCount, cols, accumulator: 'f32' },
        ...sum(run, l),
        ...restTile(
          { tile: 'tile', rows: mCount, cols, memory: 'sums', index },
          stageCount === 1 ? undefined : isFirst(stageIndex),
        ),
      ];
    }),
  );

  const finishTiles = overTiles((mCount, run, l, count) => {
    const cols = tileCols(count, nr);
    const products = Array.from({ length: POINTS }, (_, p) =>
      load('sums', add(add(sumsAt(run, l), i32(p * pointSums)), add(mul(i, i32(cols)), col))),
    );
    const f = add(l, col);
    const [tap, ch] = runTaps === 1 ? [run, f] : [div(f, i32(channels)), rem(f, i32(channels))];
    const stores = transformProducts(products, TAPS).flatMap((element, ky) =>
      finish([add(mul(group, i32(conv.outputs)), add(m, i)), add(c0, ch), i32(ky), tap], element),
    );
    return [
      loop('lane', 'i', mCount, [
        // Channels beyond the last block's own were never staged.
        loop('vector', 'col', count, even ? stores : [when(lt(add(c0, ch), i32(conv.inputs)), stores)]),
      ]),
    ];
  });

  const block = ref('block');
  const body: Stmt[] = [
    ...stageRange(stageIndex, plan.stages, conv.images, { lo: 0, hi: ceilDiv(height, ROWS) }),
    transformImages,
    ...transformGradients,
    sumTiles,
  ];
  return [
    loop('grid', 'block', conv.groups * plan.channelBlocks * plan.rowBlocks, [
      letI('group', div(block, i32(plan.channelBlocks * plan.rowBlocks))),
      letI('c0', mul(rem(div(block, i32(plan.rowBlocks)), i32(plan.channelBlocks)), i32(channels))),
      letI('m0', mul(rem(block, i32(plan.rowBlocks)), i32(plan.mc))),
      alloc('raw', copies.length * rawSize),
      alloc('stage', POINTS * stagePoint + nr),
      alloc('gradient', POINTS * gradientPoint),
      alloc('sums', plan.mc * ((POINTS * pointSums) / mr)),
      ...(stageCount === 1 ? [letI('stageIndex', i32(0)), ...body] : [loop('serial', 'stageIndex', stageCount, body)]),
      ...finishTiles,
    ]),
  ];
}

const names = ['group', 'c0', 'm0', 'image0', 'row0', 'images', 'rows'] as const;
