/**
 * The second moment of a window's patches by offset correlations: an image's channels times themselves at each distance that
 * two taps can have (`contraction-offsets.ts`), 25 of them for a 3 x 3 window instead of 81 pairs of taps. Channels are packed
 * once, not once for each tap; both operands of a tile are read from there, so a tile's two panels stay in a first-level cache
 * for all distances. What each rectangle of strips sums rests in group memory; at the end a tile's rectangles are added up to
 * each pair of taps. A grid iteration owns some channels as rows.
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
  store,
  sub,
} from '../../ir/kernel.js';
import { product } from '../../ir/types.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { type Offset, offsetsOf, type Strip } from './contraction-offsets.js';
import { secondMomentOf } from './contraction-second-moment.js';
import { planStages, stageRange } from './contraction-stage.js';
import { alloc, type Contraction, ceilDiv, clear, isFirst, roundUp, tileShapes, when } from './contraction-tile.js';

/** Positions of a stage: a tile's two panels of them stay in a first-level cache. */
const POSITIONS = 512;
/** Channels that are rows of one grid iteration. */
const ROWS = 32;

/** A distance in both directions; its rectangles of strips are numbered from `first`, row by row. */
interface Correlation {
  readonly rows: Offset;
  readonly cols: Offset;
  readonly first: number;
}

function correlationsOf(rows: readonly Offset[], cols: readonly Offset[]): readonly Correlation[] {
  let first = 0;
  return rows.flatMap((dy) =>
    cols.map((dx) => {
      const correlation = { rows: dy, cols: dx, first };
      first += rectanglesOf(correlation);
      return correlation;
    }),
  );
}

const rectanglesOf = ({ rows, cols }: Correlation): number => rows.strips.length * cols.strips.length;

/** `values[index]`, for the few values that a loop goes through. */
function pick(values: readonly number[], index: Expr): Expr {
  const step = values.length > 1 ? values[1] - values[0] : 0;
  if (values.every((v, n) => v === values[0] + n * step)) return add(i32(values[0]), mul(index, i32(step)));
  const last = values.length - 1;
  return values.slice(0, last).reduceRight((rest, v, n) => select(eq(index, i32(n)), i32(v), rest), i32(values[last]));
}

export function lowerOffsetMoment(contraction: Contraction): Stmt[] {
  const { anchor, choice } = contraction;
  const p = secondMomentOf(contraction);
  const { rows: down, cols: across, kernel } = convolutionOfNode(anchor);
  const { mr, nr } = { ...tileShapes[0], ...choice };
  const correlations = correlationsOf(offsetsOf(down), offsetsOf(across));
  const rectangles = correlations.reduce((n, k) => n + rectanglesOf(k), 0);
  const [height, width, step] = [down.input, across.input, down.stride];
  const taps = product(kernel);
  const channels = p.channels;
  const features = channels * taps + Number(p.ones);
  // The constant 1 is one more channel; of its products only those at distance 0 are wanted.
  const lanes = channels + Number(p.ones);
  const panels = ceilDiv(lanes, nr);
  const mc = Math.min(roundUp(choice.mc ?? ROWS, mr), roundUp(lanes, mr));
  const rowBlocks = ceilDiv(lanes, mc);

  // Rows are staged in bands of whole strides, with the rows below that partners reach.
  const reach = (kernel[0] - 1) * down.dilation;
  const whole = { lo: 0, hi: ceilDiv(height, step), reach: 0 };
  const stages = planStages(p.images, whole, width * step, Math.max(width * step, choice.kc ?? POSITIONS));
  const band = stages.band * step;
  const stagedRows = stages.bands === 1 ? height : Math.min(height, band + reach);
  const panelSize = stages.images * stagedRows * width * nr;
  const right = p.weight ? 'weighted' : 'panels';
  const stageIndex = ref('stageIndex');

  const [group, m0, image0, images, row0, rows] = ['group', 'm0', 'image0', 'images', 'row0', 'rows'].map(ref);
  const [c, image, y, x, i, j] = ['c', 'image', 'y', 'x', 'i', 'j'].map(ref);
  const end = min(i32(lanes), add(m0, i32(mc)));

  const top = stages.bands === 1 ? i32(0) : mul(row0, i32(step));
  const packed = (f: Expr, value: Expr): Stmt[] => {
    const at = add(ref('to'), mul(add(mul(add(mul(image, i32(stagedRows)), y), i32(width)), x), i32(nr)));
    const weighted = p.weight && store('weighted', at, mul(value, p.weight(add(image0, image))));
    return [
      letI('to', add(mul(div(f, i32(nr)), i32(panelSize)), rem(f, i32(nr)))),
      loop('serial', 'image', images, [
        loop('serial', 'y', ref('staged'), [
          loop('vector', 'x', width, [store('panels', at, value), ...(weighted ? [weighted] : [])]),
        ]),
      ]),
    ];
  };
  const channel = add(mul(group, i32(channels)), c);
  const pack: Stmt[] = [
    letI('staged', min(i32(stagedRows), sub(i32(height), top))),
    loop(
      'group',
      'c',
      min(i32(channels), roundedUp(end, nr)),
      packed(c, p.source(add(image0, image), channel, add(top, y), x)),
    ),
    ...(p.ones ? packed(i32(channels), f32(1)) : []),
  ];

  const tileSize = mr * nr;
  const tileSums = add(
    mul(div(sub(i, m0), i32(mr)), i32(panels * rectangles * tileSize)),
    mul(div(j, i32(nr)), i32(rectangles * tileSize)),
  );
  const half = mul(div(i, i32(nr)), i32(nr));

  /** Elements from one row of positions to the next, and from one position. */
  const [rowStep, colStep] = [step * width * nr, across.stride * nr];
  /** Adds to the sums of a correlation's rectangles what the stage has of them; `some` of its column strips. */
  const correlate = ({ rows: dy, cols: dx, first }: Correlation, some: readonly number[], narrow: boolean): Stmt[] => {
    const [r, n] = ['r', 'n'].map(ref);
    const ofRows = (field: (s: Strip) => number): Expr => pick(dy.strips.map(field), r);
    const ofCols = (field: (s: Strip, k: number) => number): Expr =>
      pick(
        some.map((k) => field(dx.strips[k], k)),
        ref('k'),
      );
    // Of a position's row and its partner's, the upper one is in the stage's band.
    const upper = ofRows((s) => Math.floor((s.first + Math.min(0, dy.distance)) / step));
    const count = ofRows((s) => s.count);
    const from = stages.bands === 1 ? i32(0) : max(i32(0), sub(row0, upper));
    const to = stages.bands === 1 ? count : min(count, sub(add(row0, rows), upper));
    const strip = add(
      mul(
        sub(
          add(
            ofRows((s) => s.first),
            mul(ref('from'), i32(step)),
          ),
          top,
        ),
        i32(width * nr),
      ),
      ofCols((s) => s.first * nr),
    );
    const [length, depth] = narrow ? [ref('width'), ref('height')] : [ref('height'), ref('width')];
    const [move, along] = narrow ? [colStep, rowStep] : [rowStep, colStep];
    const at = (side: string): Expr => add(ref(side), ref('moved'));
    const place = mul(
      add(
        mul(r, i32(dx.strips.length)),
        ofCols((_, k) => first + k),
      ),
      i32(tileSize),
    );
    const inTile = add(ref('place'), add(mul(ref('row'), i32(nr)), ref('col')));
    return [
      loop('serial', 'r', dy.strips.length, [
        loop('serial', 'k', some.length, [
          letI('from', from),
          letI('height', sub(to, ref('from'))),
          letI(
            'width',
            ofCols((s) => s.count),
          ),
          letI('strip', strip),
          letI('own', add(ref('left'), ref('strip'))),
          letI('partner', add(add(ref('right'), ref('strip')), i32((dy.distance * width + dx.distance) * nr))),
          letI('place', add(ref('sumsAt'), place)),
          { kind: 'tileZero', tile: 'tile', rows: mr, cols: nr, accumulator: 'f32' },
          loop('serial', 'image', images, [
            loop('serial', 'n', length, [
              letI('moved', add(mul(image, i32(stagedRows * width * nr)), mul(n, i32(move)))),
              {
                kind: 'tileMma',
                tile: 'tile',
                operand: 'f32',
                depth,
                a: { memory: 'panels', index: at('own'), row: 1, depth: along },
                b: { memory: right, index: at('partner'), depth: along, col: 1 },
              },
            ]),
          ]),
          when(
            isFirst(stageIndex),
            [{ kind: 'tileStore', tile: 'tile', memory: 'sums', index: ref('place'), row: i32(nr), col: 1 }],
            [
              {
                kind: 'tileEach',
                tile: 'tile',
                row: 'row',
                col: 'col',
                element: 'element',
                rowLimit: i32(mr),
                colLimit: i32(nr),
                body: [store('sums', inTile, add(load('sums', inTile), ref('element')))],
              },
            ],
          ),
        ]),
      ]),
    ];
  };
  /** Wide strips are summed row by row, narrow ones column by column. */
  const correlateAll = (k: Correlation): Stmt[] => {
    const tallest = Math.max(0, ...k.rows.strips.map((s) => s.count));
    const all = k.cols.strips.map((_, n) => n);
    const narrow = all.filter((n) => 2 * k.cols.strips[n].count < tallest);
    const wide = all.filter((n) => !narrow.includes(n));
    return [
      ...(wide.length > 0 ? correlate(k, wide, false) : []),
      ...(narrow.length > 0 ? correlate(k, narrow, true) : []),
    ];
  };

  const isZero = (k: Correlation): boolean => k.rows.distance === 0 && k.cols.distance === 0;
  const near = correlations.filter(isZero);
  const far = correlations.filter((k) => !isZero(k));
  const overTiles = (body: Stmt[]): Stmt =>
    loop('lane', 'i', end, [loop('lane', 'j', add(i, i32(mr)), [letI('sumsAt', tileSums), ...body], 0, nr)], m0, mr);
  const tiles = overTiles([
    letI('left', add(mul(half, i32(panelSize / nr)), sub(i, half))),
    letI('right', mul(j, i32(panelSize / nr))),
    ...near.flatMap(correlateAll),
    ...(p.ones && channels % mr === 0
      ? [when(lt(i, i32(channels)), far.flatMap(correlateAll))]
      : far.flatMap(correlateAll)),
  ]);

  const [u, v, a, b, r, e] = ['u', 'v', 'a', 'b', 'r', 'e'].map(ref);
  /** `body` for each pair of taps of a correlation: their numbers, and where a tile of their sums lies. */
  const overPairs = (
    { rows: dy, cols: dx, first }: Correlation,
    body: (tap: Expr, partner: Expr, memory: string, at: Expr) => Stmt[],
  ): Stmt => {
    const of = (pairs: Offset['pairs'], field: 'tap' | 'lo' | 'hi', index: Expr): Expr =>
      pick(
        pairs.map((p) => p[field]),
        index,
      );
    const apart = (pairs: Offset['pairs']): number => pairs[0].partner - pairs[0].tap;
    const tap = add(mul(of(dy.pairs, 'tap', u), i32(kernel[1])), of(dx.pairs, 'tap', v));
    const partner = add(ref('tap'), i32(apart(dy.pairs) * kernel[1] + apart(dx.pairs)));
    const place = add(ref('sumsAt'), mul(add(i32(first), add(mul(a, i32(dx.strips.length)), b)), i32(tileSize)));
    const single = dy.strips.length * dx.strips.length === 1 && [...dy.pairs, ...dx.pairs].every((p) => p.hi === 1);
    const join = [
      ...clear('e', 'joined', i32(0), tileSize),
      loop(
        'serial',
        'a',
        of(dy.pairs, 'hi', u),
        [
          loop(
            'serial',
            'b',
            of(dx.pairs, 'hi', v),
            [
              letI('place', place),
              loop('vector', 'e', tileSize, [
                store('joined', e, add(load('joined', e), load('sums', add(ref('place'), e)))),
              ]),
            ],
            of(dx.pairs, 'lo', v),
          ),
        ],
        of(dy.pairs, 'lo', u),
      ),
    ];
    const sums = single ? 'sums' : 'joined';
    const at = single ? add(ref('sumsAt'), i32(first * tileSize)) : i32(0);
    return loop('serial', 'u', dy.pairs.length, [
      loop('serial', 'v', dx.pairs.length, [
        letI('tap', tap),
        ...(single ? [] : join),
        ...body(ref('tap'), partner, sums, at),
      ]),
    ]);
  };
  const finish = (below: boolean): Stmt[] =>
    correlations.map((correlation) =>
      overPairs(correlation, (tap, partner, memory, at) => {
        const row = add(mul(add(i, r), i32(taps)), tap);
        const col = add(mul(add(j, e), i32(taps)), partner);
        const stores = p.finish(group, row, col, load(memory, add(at, add(mul(r, i32(nr)), e))));
        return [
          loop('serial', 'r', below ? i32(mr) : min(i32(mr), sub(i32(channels), i)), [
            below ? loop('vector', 'e', nr, stores) : loop('serial', 'e', nr, [when(le(col, row), stores)]),
          ]),
        ];
      }),
    );
  /** The constant's row, in the tile that has it: sums of patches. */
  const finishOnes = (): Stmt[] =>
    near.map((correlation) =>
      overPairs(correlation, (tap, _partner, memory, at) => {
        const col = add(mul(add(j, e), i32(taps)), tap);
        const value = load(memory, add(at, add(i32((channels % mr) * nr), e)));
        const stores = p.finish(group, i32(features - 1), col, value);
        return [loop('vector', 'e', min(i32(nr), sub(i32(channels), j)), stores)];
      }),
    );
  const isBelow = and(le(add(j, i32(nr)), i), le(add(i, i32(mr)), i32(channels)));
  const results = overTiles([
    when(isBelow, finish(true), finish(false)),
    ...(p.ones ? [when(lt(i32(channels), add(i, i32(mr))), finishOnes())] : []),
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
      alloc('panels', panels * panelSize),
      ...(p.weight ? [alloc('weighted', panels * panelSize)] : []),
      alloc('joined', tileSize),
      alloc('sums', ceilDiv(mc, mr) * panels * rectangles * tileSize),
      ...(unused > 0 ? clear('z', 'panels', i32((panels - 1) * panelSize), panelSize) : []),
      ...(unused > 0 && p.weight ? clear('z', 'weighted', i32((panels - 1) * panelSize), panelSize) : []),
      loop('serial', 'stageIndex', stages.imageBlocks * stages.bands, [
        ...stageRange(stageIndex, stages, p.images, whole),
        ...pack,
        tiles,
      ]),
      results,
      ...(p.ones ? [when(le(i32(lanes), add(m0, i32(mc))), count)] : []),
    ]),
  ];
}

const roundedUp = (e: Expr, by: number): Expr => mul(div(add(e, i32(by - 1)), i32(by)), i32(by));
