/**
 * Sums over examples and positions: weight gradients (rows: output channels) and second moments (rows: the same patches as
 * the columns). Images are copied channel-last with their padding, so the features that one row of the kernel window covers
 * are contiguous, and a tile's columns are vectors of them; positions are the inner dimension. A grid iteration owns some
 * rows of the result, and its partial sums rest in group memory while the images go by.
 */
import {
  add,
  div,
  type Expr,
  eq,
  i32,
  le,
  letI,
  loop,
  lt,
  min,
  mul,
  ref,
  rem,
  type Stmt,
  select,
  store,
  sub,
} from '../../ir/kernel.js';
import { gradientRows, type MomentProblem, momentOf, type Window1 } from './contraction-moment-problem.js';
import {
  alloc,
  type Contraction,
  ceilDiv,
  clear,
  evenly,
  isFirst,
  maybeLoop,
  roundUp,
  strips,
  type TileChoice,
  tileShapes,
  tileTask,
  when,
  within,
} from './contraction-tile.js';

/** Elements of group memory for staged images: small, because each tile goes through all of them. */
const STAGE = 24 * 1024;
const MOST_CHUNKS = 16;

interface Plan extends TileChoice {
  /** Channels of one grid iteration, and how many such blocks there are in a group. */
  readonly channels: number;
  readonly channelBlocks: number;
  readonly rowBlocks: number;
  readonly images: number;
  readonly rows: number;
  readonly imageBlocks: number;
  readonly bands: number;
}

const stageExtent = (w: Window1, positions: number): number => (positions - 1) * w.stride + 1 + w.reach;

/** Windows of features that are contiguous in a channel-last image: rows of the kernel, or single taps if it is dilated. */
interface Runs {
  readonly count: number;
  /** Taps along x in one run, and runs in one row of the kernel. */
  readonly taps: number;
  readonly perRow: number;
}

const runsOf = (p: MomentProblem): Runs => {
  const joined = p.cols.dilation === 1 || p.kernel[1] === 1;
  const perRow = joined ? 1 : p.kernel[1];
  return { count: p.kernel[0] * perRow, taps: p.kernel[1] / perRow, perRow };
};

function planOf(p: MomentProblem, choice: Partial<TileChoice>): Plan {
  const { mr, nr } = { ...tileShapes[0], ...choice };
  const runs = runsOf(p);
  // The columns of a second moment are all features of a group; a weight gradient may split them.
  const channels =
    p.rowsFrom.kind === 'features' ? p.channels : Math.min(p.channels, evenly(p.channels, choice.nc ?? 64, 8));
  const width = stageExtent(p.cols, p.cols.positions);
  const rowFloats = width * channels;
  const budget = choice.kc ? choice.kc * channels : STAGE;
  const whole = rowFloats * stageExtent(p.rows, p.rows.positions);
  const images = Math.max(1, Math.min(p.images, Math.floor(budget / whole)));
  const fitting = Math.floor((Math.floor(budget / rowFloats) - 1 - p.rows.reach) / p.rows.stride) + 1;
  const rows = whole <= budget ? p.rows.positions : evenly(p.rows.positions, Math.max(1, fitting), 1);
  const channelBlocks = ceilDiv(p.channels, channels);
  const totalRows =
    p.rowsFrom.kind === 'features' ? runs.count * roundUp(runs.taps * p.channels, mr) : p.rowsFrom.count;
  const fewest = p.rowsFrom.kind === 'gradient' ? 32 : p.kernel[0] * p.kernel[1] > 1 ? 64 : 128;
  const wanted =
    choice.mc ??
    Math.max(fewest, ceilDiv(totalRows, Math.max(1, Math.floor(MOST_CHUNKS / (p.groups * channelBlocks)))));
  const mc = evenly(totalRows, wanted, mr);
  return {
    mr,
    nr,
    kc: rows * p.cols.positions * images,
    mc,
    nc: channels,
    channels,
    channelBlocks,
    rowBlocks: ceilDiv(totalRows, mc),
    images,
    rows,
    imageBlocks: ceilDiv(p.images, images),
    bands: ceilDiv(p.rows.positions, rows),
  };
}

export function lowerMoment(contraction: Contraction): Stmt[] {
  const p = momentOf(contraction);
  const plan = planOf(p, contraction.choice);
  const runs = runsOf(p);
  const { mr, nr } = plan;
  const names = ['group', 'c0', 'm0', 'image0', 'y0', 'images', 'rows', 'run'] as const;
  const [group, c0, m0, image0, y0, images, rows, run] = names.map(ref);

  // stage[image][row][col][channel]
  const channels = plan.channels;
  const width = stageExtent(p.cols, p.cols.positions);
  const height = stageExtent(p.rows, plan.rows);
  const stageSize = plan.images * height * width * channels + nr + mr;
  const length = runs.taps * channels;
  const panels = ceilDiv(length, nr);
  const columnStage = p.weight ? 'weighted' : 'stage';
  const lastChannels = p.channels - (plan.channelBlocks - 1) * channels;
  const staged =
    plan.channelBlocks === 1 || lastChannels === channels
      ? i32(channels)
      : min(i32(channels), sub(i32(p.channels), c0));

  const stageAt = (image: Expr, row: Expr, col: Expr): Expr =>
    add(mul(add(mul(image, i32(height)), row), i32(width * channels)), mul(col, i32(channels)));
  const lo = Math.min(width, Math.max(0, Math.ceil(p.cols.pad / p.cols.scale)));
  const hi = Math.max(lo, Math.min(width, Math.floor((p.cols.extent - 1 + p.cols.pad) / p.cols.scale) + 1));
  const rowSource = sub(mul(add(mul(y0, i32(p.rows.stride)), ref('row')), i32(p.rows.scale)), i32(p.rows.pad));
  const put = (place: Expr, value: Expr): Stmt[] => [
    store('stage', place, value),
    ...(p.weight ? [store('weighted', place, mul(value, p.weight(add(image0, ref('image')))))] : []),
  ];
  const source = p.source(
    add(image0, ref('image')),
    add(add(mul(group, i32(p.channels)), c0), ref('c')),
    ref('y'),
    sub(mul(ref('col'), i32(p.cols.scale)), i32(p.cols.pad)),
  );
  const place = add(add(ref('to'), mul(ref('col'), i32(channels))), ref('c'));
  const copied = put(place, source);
  const zeros = (at: Expr, count: number): Stmt[] => [
    ...clear('z', 'stage', at, count * channels),
    ...(p.weight ? clear('z', 'weighted', at, count * channels) : []),
  ];
  const copy: Stmt[] = [
    ...zeros(ref('to'), lo),
    ...(hi === lo
      ? []
      : p.channelLast
        ? [loop('serial', 'col', hi, [loop('vector', 'c', staged, copied)], lo)]
        : [loop('serial', 'c', staged, [loop('vector', 'col', hi, copied, lo)])]),
    ...zeros(add(ref('to'), i32(hi * channels)), width - hi),
  ];
  const rowsInside =
    p.rows.pad === 0 && stageExtent(p.rows, p.rows.positions) * p.rows.scale <= p.rows.extent + p.rows.scale - 1;
  const stagedRows = add(mul(sub(rows, i32(1)), i32(p.rows.stride)), i32(1 + p.rows.reach));
  const stage: Stmt[] = [
    loop('group', 'image', images, [
      loop('group', 'row', stagedRows, [
        letI('to', stageAt(ref('image'), ref('row'), i32(0))),
        letI('y', rowSource),
        ...(rowsInside ? copy : [when(within(ref('y'), 0, p.rows.extent), copy, zeros(ref('to'), width))]),
      ]),
    ]),
  ];

  /** Where run `r` begins in the patch of a position. */
  const runAt = (r: Expr): Expr =>
    runs.perRow === 1
      ? mul(r, i32(p.rows.dilation * width * channels))
      : add(
          mul(div(r, i32(runs.perRow)), i32(p.rows.dilation * width * channels)),
          mul(rem(r, i32(runs.perRow)), i32(p.cols.dilation * channels)),
        );
  /** Channel (in this block), ky, kx of element `l` of run `r`. */
  const featureOf = (r: Expr, l: Expr): [Expr, Expr, Expr] => [
    runs.taps === 1 ? l : rem(l, i32(channels)),
    runs.perRow === 1 ? r : div(r, i32(runs.perRow)),
    runs.perRow === 1 ? (runs.taps === 1 ? i32(0) : div(l, i32(channels))) : rem(r, i32(runs.perRow)),
  ];

  // Rows of positions follow each other without a gap where windows do not overlap; whole images too if nothing is padded.
  const step = p.cols.stride * channels;
  const joinRows = p.cols.stride === 1 && p.rows.stride === 1 && width === p.cols.positions;
  const joinImages = joinRows && p.rows.reach === 0 && plan.bands === 1;
  const rowsFrom = p.rowsFrom;
  const gradient =
    rowsFrom.kind === 'gradient' ? gradientRows(rowsFrom, p, plan, { group, m0, image0, y0, images, rows }) : undefined;

  /** Sum over all staged positions. `left` gives the row operand at a position; distances of rows are its own. */
  const sum =
    (
      left: (image: Expr, y: Expr) => { memory: string; index: Expr; row: number; depth: number },
      right: Expr,
      whole: boolean,
    ) =>
    (tile: string): Stmt[] => {
      const mma = (image: Expr, y: Expr, depth: Expr): Stmt => ({
        kind: 'tileMma',
        tile,
        operand: 'f32',
        depth,
        a: left(image, y),
        b: {
          memory: columnStage,
          index: add(stageAt(image, mul(y, i32(p.rows.stride)), i32(0)), right),
          depth: step,
          col: 1,
        },
      });
      const cols = i32(p.cols.positions);
      if (joinImages && whole) return [mma(i32(0), i32(0), mul(images, mul(rows, cols)))];
      const overImages = (body: (image: Expr) => Stmt[]): Stmt[] =>
        plan.images === 1 ? body(i32(0)) : [loop('serial', 'image', images, body(ref('image')))];
      if (joinRows) return overImages((image) => [mma(image, i32(0), mul(rows, cols))]);
      return overImages((image) => [loop('serial', 'y', rows, [mma(image, ref('y'), cols)])]);
    };

  const stages = plan.imageBlocks * plan.bands;
  const partialAt = (rowTile: Expr, r: Expr, l: Expr) =>
    stages === 1
      ? undefined
      : {
          memory: 'sums',
          index: add(mul(add(mul(rowTile, i32(runs.count)), r), i32(panels * nr * mr)), mul(l, i32(mr))),
          first: isFirst(ref('stageIndex')),
          last: eq(ref('stageIndex'), i32(stages - 1)),
        };
  /** Tiles over the columns of run `r` up to `end`. */
  const overColumns = (end: Expr, body: (l: Expr, count: number) => Stmt[]): Stmt[] =>
    strips('lane', 'l', { lo: i32(0), hi: end, total: length, size: nr }, body);

  const gradientTiles = (): Stmt[] =>
    strips(
      'lane',
      'm',
      { lo: m0, hi: add(m0, i32(plan.mc)), total: rowsFrom.kind === 'gradient' ? rowsFrom.count : 0, size: mr },
      (m, mCount) => [
        loop(
          'lane',
          'run',
          runs.count,
          overColumns(i32(length), (l, count) =>
            tileTask({
              rows: mCount,
              cols: nr,
              sum: sum((image, y) => gradient!.operand(m, image, y), add(runAt(run), l), false),
              partial: partialAt(div(sub(m, m0), i32(mr)), run, l),
              rowLimit: i32(mCount),
              colLimit: i32(count),
              each: (row, col, element) => {
                const [c, ky, kx] = featureOf(run, add(l, col));
                const stores = p.finish(group, add(m, row), add(c0, c), ky, kx, element);
                return staged.kind === 'const' ? stores : [when(lt(add(c0, c), i32(p.channels)), stores)];
              },
            }),
          ),
        ),
      ],
    );

  const tilesPerRun = ceilDiv(length, mr);
  const rowTiles = runs.count * tilesPerRun;
  const featureTiles = (): Stmt[] => {
    const rowTile = ref('rowTile');
    const firstTile = div(m0, i32(mr));
    const [ownRun, l0] = [ref('ownRun'), ref('l0')];
    return [
      loop(
        'lane',
        'rowTile',
        min(add(firstTile, i32(plan.mc / mr)), i32(rowTiles)),
        [
          letI('ownRun', div(rowTile, i32(tilesPerRun))),
          letI('l0', mul(rem(rowTile, i32(tilesPerRun)), i32(mr))),
          loop(
            'lane',
            'run',
            add(ownRun, i32(1)),
            overColumns(
              roundedTo(nr, select(eq(run, ownRun), min(i32(length), add(l0, i32(mr))), i32(length))),
              (l, count) =>
                tileTask({
                  rows: mr,
                  cols: nr,
                  sum: sum(
                    (image, y) => ({
                      memory: 'stage',
                      index: add(stageAt(image, mul(y, i32(p.rows.stride)), i32(0)), add(runAt(ownRun), l0)),
                      row: 1,
                      depth: step,
                    }),
                    add(runAt(run), l),
                    true,
                  ),
                  partial: partialAt(sub(rowTile, firstTile), run, l),
                  rowLimit: length % mr === 0 ? i32(mr) : min(i32(mr), sub(i32(length), l0)),
                  colLimit: i32(count),
                  each: (row, col, element) => {
                    const [i, j] = [add(l0, row), add(l, col)];
                    const lower = le(add(mul(run, i32(length)), j), add(mul(ownRun, i32(length)), i));
                    return [when(lower, p.finishPair(group, featureOf(ownRun, i), featureOf(run, j), element))];
                  },
                }),
            ),
          ),
        ],
        firstTile,
      ),
    ];
  };
  /** The row of the constant feature: sums of the columns; and the number (or total weight) of positions. */
  const onesTiles = (): Stmt[] => {
    const tiles = loop('lane', 'run', runs.count, [
      ...overColumns(i32(length), (l, count) =>
        tileTask({
          rows: 1,
          cols: nr,
          sum: sum(() => ({ memory: 'one', index: i32(0), row: 0, depth: 0 }), add(runAt(run), l), true),
          partial: partialAt(i32(plan.mc / mr), run, l),
          rowLimit: i32(1),
          colLimit: i32(count),
          each: (_row, col, element) => p.finishPair(group, undefined, featureOf(run, add(l, col)), element),
        }),
      ),
    ]);
    const total: Stmt[] = [
      { kind: 'var', name: 'total', type: 'f32', value: { kind: 'const', type: 'f32', value: 0 } },
      loop('serial', 'image', p.images, [
        {
          kind: 'accumulate',
          name: 'total',
          op: 'add',
          value: p.weight?.(ref('image')) ?? { kind: 'const', type: 'f32', value: 1 },
        },
      ]),
      ...p.finishPair(
        group,
        undefined,
        undefined,
        mul(ref('total'), { kind: 'const', type: 'f32', value: p.rows.positions * p.cols.positions }),
      ),
    ];
    return [
      when(le(i32(rowTiles * mr), add(m0, i32(plan.mc))), [
        tiles,
        ...(stages === 1 ? total : [when(isFirst(ref('stageIndex')), total)]),
      ]),
    ];
  };
  const ones = rowsFrom.kind === 'features' && rowsFrom.ones;

  const block = ref('block');
  const stageIndex = ref('stageIndex');
  const body: Stmt[] = [
    letI('image0', mul(div(stageIndex, i32(plan.bands)), i32(plan.images))),
    letI('images', min(i32(plan.images), sub(i32(p.images), image0))),
    letI('y0', mul(rem(stageIndex, i32(plan.bands)), i32(plan.rows))),
    letI('rows', min(i32(plan.rows), sub(i32(p.rows.positions), y0))),
    ...stage,
    ...(gradient ? [...gradient.stage, ...gradientTiles()] : [...featureTiles(), ...(ones ? onesTiles() : [])]),
  ];
  return [
    loop('grid', 'block', p.groups * plan.channelBlocks * plan.rowBlocks, [
      letI('group', div(block, i32(plan.channelBlocks * plan.rowBlocks))),
      letI('c0', mul(rem(div(block, i32(plan.rowBlocks)), i32(plan.channelBlocks)), i32(channels))),
      letI('m0', mul(rem(block, i32(plan.rowBlocks)), i32(plan.mc))),
      alloc('stage', stageSize),
      ...(p.weight ? [alloc('weighted', stageSize)] : []),
      ...(gradient?.allocs ?? []),
      ...(ones ? [alloc('one', 1), store('one', i32(0), { kind: 'const', type: 'f32', value: 1 })] : []),
      ...(stages > 1 ? [alloc('sums', (plan.mc / mr + (ones ? 1 : 0)) * runs.count * panels * nr * mr)] : []),
      ...maybeLoop('serial', 'stageIndex', stages, (i) => (stages === 1 ? [letI('stageIndex', i), ...body] : body)),
    ]),
  ];
}

/** `e` rounded up to a multiple of `size`. */
const roundedTo = (size: number, e: Expr): Expr => mul(div(add(e, i32(size - 1)), i32(size)), i32(size));
