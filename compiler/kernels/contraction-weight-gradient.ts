/**
 * Weight gradients: the sum over examples and positions of output gradient times input patch. Inputs are copied channel-last
 * with their padding, so the weights under one row of the kernel window are contiguous, and a tile's columns are vectors of
 * them; its rows are output channels, read where they lie; positions are the inner dimension. A grid iteration owns some
 * output and input channels, and its partial sums rest in group memory while the images go by.
 */
import {
  add,
  div,
  type Expr,
  eq,
  i32,
  letI,
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
  strips,
  type TileChoice,
  tileCols,
  tileShapes,
  tileTask,
  when,
  within,
} from './contraction-tile.js';

/** Elements of group memory for staged images: small, because each tile goes through all of them. */
const STAGE = 24 * 1024;
/** Grid iterations that are worth having: by fewer input channels first, whose copies are disjoint, then by fewer output channels. */
const ENOUGH = 8;
const MOST_CHANNELS = 64;
/** Output channels that share the copied images of an iteration, at least. */
const LEAST_OUTPUTS = 64;

interface Plan extends TileChoice {
  /** Input channels of one grid iteration. */
  readonly channels: number;
  readonly channelBlocks: number;
  readonly rowBlocks: number;
  readonly stages: StagePlan;
}

/** @param computed whether output gradients are computed and staged for each iteration anew: then it has all the inputs that it can */
function planOf(
  conv: Convolution,
  rows: Staged,
  copies: readonly Staged[],
  computed: boolean,
  choice: Partial<TileChoice>,
): Plan {
  const { mr, nr } = { ...tileShapes[0], ...choice };
  const most = computed ? MOST_CHANNELS : Math.min(MOST_CHANNELS, Math.max(nr, ceilDiv(conv.inputs, ENOUGH)));
  const channels = Math.min(conv.inputs, evenly(conv.inputs, choice.nc ?? most, 8));
  const perRow = copies.length * lengthOf(copies[0], copies[0].positions) * channels * rows.stride;
  const axis = { lo: 0, hi: rows.positions, reach: ceilDiv(rows.reach, rows.stride) };
  const stages = planStages(conv.images, axis, perRow, choice.kc ? choice.kc * channels : STAGE);
  const channelBlocks = ceilDiv(conv.inputs, channels);
  const share = ceilDiv(ENOUGH, conv.groups * channelBlocks);
  // A single block of inputs is staged twice, for two threads.
  const least = conv.groups * channelBlocks > 1 ? LEAST_OUTPUTS : 8;
  const mc = evenly(conv.outputs, choice.mc ?? Math.max(least, ceilDiv(conv.outputs, share)), mr);
  return {
    mr,
    nr,
    kc: 0,
    mc,
    nc: channels,
    channels,
    channelBlocks,
    rowBlocks: ceilDiv(conv.outputs, mc),
    stages,
  };
}

export function lowerWeightGradient({ anchor, elements, finish, choice }: Contraction): Stmt[] {
  const conv = convolutionOfNode(anchor);
  const [x, dy] = anchor.operands;
  const [kh, kw] = conv.kernel;
  const rowAxis = stagedAxis(conv.rows);
  const inMemory = elements.inMemory(dy);
  const copies = columnCopies(conv, rowAxis, stagedAxis(conv.cols));
  const colAxis = copies[0];
  const plan = planOf(conv, rowAxis, copies, !inMemory, choice);
  const { mr, nr, channels } = plan;
  const [group, c0, m0, image0, row0, images, rows] = names.map(ref);
  const [image, row, y, to, run] = ['image', 'row', 'y', 'to', 'run'].map(ref);

  // stage[copy][image][row][column][channel]
  const width = lengthOf(colAxis, colAxis.positions);
  const height = lengthOf(rowAxis, plan.stages.band);
  const copySize = plan.stages.images * height * width * channels;
  const stageAt = (n: Expr, r: Expr): Expr => mul(add(mul(n, i32(height)), r), i32(width * channels));
  const even = conv.inputs % channels === 0;
  const staged = even ? i32(channels) : min(i32(channels), sub(i32(conv.inputs), c0));
  const toStage: ChannelLast = {
    ...{ memory: 'stage', copies, copySize, channels, staged },
    source: (ch, column) =>
      elements.at(x, [add(image0, image), add(add(mul(group, i32(conv.inputs)), c0), ch), y, column]),
    inMemory: elements.inMemory(x),
    isChannelLast: conv.rows.input * conv.cols.input === 1,
  };
  const last = (lengthOf(rowAxis, rowAxis.positions) - 1) * rowAxis.scale - rowAxis.pad;
  const inside = rowAxis.pad === 0 && last < rowAxis.extent;
  const stagedRows = add(mul(sub(rows, i32(1)), i32(rowAxis.stride)), i32(1 + rowAxis.reach));
  const stage = loop('group', 'image', images, [
    loop('group', 'row', stagedRows, [
      letI('to', stageAt(image, row)),
      letI('y', sub(mul(add(mul(row0, i32(rowAxis.stride)), row), i32(rowAxis.scale)), i32(rowAxis.pad))),
      ...(inside
        ? copyRow(toStage, to)
        : [when(within(y, 0, rowAxis.extent), copyRow(toStage, to), clearRow(toStage, to))]),
    ]),
  ]);

  // Runs: weights that lie side by side in a channel-last patch. A row of the kernel, or one tap if the kernel is dilated or each tap has its copy.
  const perRow = copies.length === 1 && (colAxis.dilation === 1 || kw === 1) ? 1 : kw;
  const runTaps = kw / perRow;
  const runs = kh * perRow;
  const length = runTaps * channels;
  const panels = ceilDiv(length, nr);
  const [ky, kx0] = perRow === 1 ? [run, i32(0)] : [div(run, i32(perRow)), rem(run, i32(perRow))];
  const runAt = add(
    mul(ky, i32(rowAxis.dilation * width * channels)),
    mul(kx0, i32(copies.length > 1 ? copySize : colAxis.dilation * channels)),
  );

  // The row operand at (output channel, image, y): where it lies, or gradient[m - m0][image][position] if it is computed.
  const positions = colAxis.positions;
  const gradientRow = inMemory ? rowAxis.positions * positions : plan.stages.images * plan.stages.band * positions;
  const outputs = add(mul(group, i32(conv.outputs)), ref('m'));
  const stageGradient = strips(
    'group',
    'm',
    { lo: m0, hi: add(m0, i32(plan.mc)), total: conv.outputs, size: 1 },
    () => [
      loop('serial', 'image', images, [
        loop('serial', 'y', rows, [
          loop('vector', 'x', positions, [
            store(
              'gradient',
              add(gradientAt(ref('m'), y), ref('x')),
              elements.at(dy, [add(image0, image), outputs, add(row0, y), ref('x')]),
            ),
          ]),
        ]),
      ]),
    ],
  );
  function gradientAt(m: Expr, at: Expr): Expr {
    if (inMemory)
      return elements.offset(dy, [add(image0, image), add(mul(group, i32(conv.outputs)), m), add(row0, at), i32(0)]);
    const band = plan.stages.band * positions;
    return add(add(mul(sub(m, m0), i32(gradientRow)), mul(image, i32(band))), mul(at, i32(positions)));
  }

  // Where windows do not overlap, or each tap has its copy, rows follow each other without a gap and are summed as one.
  const joined = colAxis.stride === 1 && rowAxis.stride === 1 && width === positions;
  const sum =
    (m: Expr, l: Expr) =>
    (tile: string): Stmt[] => {
      const mma = (at: Expr, depth: Expr): Stmt => ({
        kind: 'tileMma',
        tile,
        operand: 'f32',
        depth,
        a: {
          memory: inMemory ? elements.memory(dy) : 'gradient',
          index: gradientAt(m, at),
          row: gradientRow,
          depth: 1,
        },
        b: {
          memory: 'stage',
          index: add(stageAt(image, mul(at, i32(rowAxis.stride))), add(runAt, l)),
          depth: colAxis.stride * channels,
          col: 1,
        },
      });
      const body = joined
        ? [mma(i32(0), mul(rows, i32(positions)))]
        : [loop('serial', 'y', rows, [mma(y, i32(positions))])];
      return [loop('serial', 'image', images, body)];
    };

  const stageIndex = ref('stageIndex');
  const stageCount = plan.stages.imageBlocks * plan.stages.bands;
  const outputRange = { lo: m0, hi: add(m0, i32(plan.mc)), total: conv.outputs, size: mr };
  const tiles = strips('lane', 'm', outputRange, (m, mCount) => [
    loop(
      'lane',
      'run',
      runs,
      strips('lane', 'l', { lo: i32(0), hi: i32(length), total: length, size: nr }, (l, count) =>
        tileTask({
          rows: mCount,
          cols: tileCols(count, nr),
          sum: sum(m, l),
          partial:
            stageCount === 1
              ? undefined
              : {
                  memory: 'sums',
                  index: add(
                    add(mul(sub(m, m0), i32(runs * panels * nr)), mul(run, i32(panels * nr * mr))),
                    mul(l, i32(mr)),
                  ),
                  first: isFirst(stageIndex),
                  last: eq(stageIndex, i32(stageCount - 1)),
                },
          rowLimit: i32(mCount),
          colLimit: i32(count),
          each: (i, j, element) => {
            const f = add(l, j);
            const [tap, ch] = runTaps === 1 ? [kx0, f] : [div(f, i32(channels)), rem(f, i32(channels))];
            const stores = finish([add(mul(group, i32(conv.outputs)), add(m, i)), add(c0, ch), ky, tap], element);
            // Channels beyond the last block's own were never staged.
            return even ? stores : [when(lt(add(c0, ch), i32(conv.inputs)), stores)];
          },
        }),
      ),
    ),
  ]);

  const block = ref('block');
  const body: Stmt[] = [
    ...stageRange(stageIndex, plan.stages, conv.images, { lo: 0, hi: rowAxis.positions }),
    stage,
    ...(inMemory ? [] : stageGradient),
    ...tiles,
  ];
  return [
    loop('grid', 'block', conv.groups * plan.channelBlocks * plan.rowBlocks, [
      letI('group', div(block, i32(plan.channelBlocks * plan.rowBlocks))),
      letI('c0', mul(rem(div(block, i32(plan.rowBlocks)), i32(plan.channelBlocks)), i32(channels))),
      letI('m0', mul(rem(block, i32(plan.rowBlocks)), i32(plan.mc))),
      alloc('stage', copies.length * copySize + nr),
      ...(inMemory ? [] : [alloc('gradient', plan.mc * gradientRow)]),
      ...(stageCount > 1 ? [alloc('sums', plan.mc * runs * panels * nr)] : []),
      ...(stageCount === 1 ? [letI('stageIndex', i32(0)), ...body] : [loop('serial', 'stageIndex', stageCount, body)]),
    ]),
  ];
}

const names = ['group', 'c0', 'm0', 'image0', 'row0', 'images', 'rows'] as const;
