/**
 * The second moment of a window's patches by offset correlations whose rows are summed by Winograd's F(3, 4): an image correlated with
 * itself at row distances 0, 1 and 2 is a weight gradient with three rows of taps, of the image and of itself, and takes six rows of
 * products for four rows of positions in place of twelve. Distances -1 and -2 are those of the two channels in the other order, so that
 * tiles are computed on both sides of the diagonal.
 *
 * The three distances must be summed over the same rows: those that all taps read (`middle`). What some taps alone read at the image's
 * ends, a row or two, is summed directly, as are columns; so nothing is subtracted here either (`contraction-offsets.ts`).
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
import {
  correlate,
  joinRectangles,
  type Panels,
  packChannels,
  Table,
  weighPanels,
} from './contraction-offset-panels.js';
import { flatOffsetsOf } from './contraction-offsets.js';
import { secondMomentOf } from './contraction-second-moment.js';
import { addTile, alloc, type Contraction, ceilDiv, clear, when } from './contraction-tile.js';
import { planWinogradMoment } from './contraction-winograd-moment-plan.js';
import { POINTS, ROWS, TAPS, transformData, transformFilter, transformProducts } from './winograd.js';

export function lowerWinogradMoment(contraction: Contraction): Stmt[] {
  const { anchor, choice, elements } = contraction;
  const p = secondMomentOf(contraction);
  const { rows: down, cols: across, kernel } = convolutionOfNode(anchor);
  const plan = planWinogradMoment(anchor, choice);
  if (!plan) throw new Error(`${anchor.op} of this shape has no plan for Winograd's offset correlations`);
  const { mr, nr, mc, tileRows, panels, rowBlocks, imagesAtOnce, sums } = plan;
  const { middle, main, pieces, pairs } = plan.rows;
  const columns = flatOffsetsOf(across);
  const table = new Table();
  const piece = table.add(['first', 'count', 'distance', 'strip'], pieces);
  const rowPair = table.add(['tap', 'partner', 'lo', 'hi', 'distance'], pairs);
  const colStrip = table.add(['first', 'count', 'distance'], columns.strips);
  const colPair = table.add(['tap', 'partner', 'lo', 'hi'], columns.pairs);
  const colStrips = columns.strips.length;
  const { channels } = p;
  const taps = product(kernel);
  const [height, width] = [down.input, across.input];
  const tileSize = mr * nr;
  // Behind the image's rows there are zeros, for the last tile.
  const staged = Math.max(height, middle.lo + tileRows * ROWS + TAPS - 1);
  const row = width * nr;
  const imageSize = staged * row;
  const panelSize = imagesAtOnce * imageSize;
  const tiledImage = tileRows * row;
  const tiledPanel = imagesAtOnce * tiledImage;
  const tiledPoint = panels * tiledPanel;
  const right = p.weight ? 'weighted' : 'panels';

  const [group, m0, images] = ['group', 'm0', 'images'].map(ref);
  const [c, image, i, j, r, e, t, to, point, sx] = ['c', 'image', 'i', 'j', 'r', 'e', 't', 'to', 'point', 'sx'].map(
    ref,
  );
  const end = min(i32(channels), add(m0, i32(mc)));
  const toPanels: Panels = {
    ...{ moment: p, nr, width, imageSize, panelSize, staged: i32(height), top: i32(0), end: i32(channels) },
    inMemory: elements.inMemory(anchor.operands[0]),
  };

  /** Six rows from `from`, of which the first `count` are read and the others are zero. */
  const transform = (
    from: string,
    into: string,
    count: number,
    apply: (rows: readonly Expr[]) => Expr[],
    size: number,
  ): Stmt =>
    loop(
      'vector',
      'e',
      row,
      apply(
        Array.from(
          { length: size },
          (_, n): Expr =>
            n < count
              ? load(
                  from,
                  add(
                    add(add(mul(c, i32(panelSize)), mul(image, i32(imageSize))), mul(t, i32(ROWS * row))),
                    add(i32((middle.lo + n) * row), e),
                  ),
                )
              : f32(0),
        ),
      ).map((v, n) => store(into, add(add(to, i32(n * tiledPoint)), e), v)),
    );
  const rest = (middle.hi - middle.lo) % ROWS;
  const filter = (count: number): Stmt => transform('panels', 'filter', count, transformFilter, ROWS);
  const overTileRows = (body: Stmt[], lo: Expr, hi: Expr): Stmt =>
    loop(
      'group',
      'c',
      hi,
      [
        loop('serial', 'image', images, [
          loop('serial', 't', tileRows, [
            letI('to', add(add(mul(c, i32(tiledPanel)), mul(image, i32(tiledImage))), mul(t, i32(row)))),
            ...body,
          ]),
        ]),
      ],
      lo,
    );
  const transformPanels: Stmt[] = [
    overTileRows([transform(right, 'data', POINTS, transformData, POINTS)], i32(0), i32(panels)),
    overTileRows(
      [rest === 0 ? filter(ROWS) : when(lt(t, i32(tileRows - 1)), [filter(ROWS)], [filter(rest)])],
      div(m0, i32(nr)),
      div(add(end, i32(nr - 1)), i32(nr)),
    ),
  ];

  /** `body` in each tile of channels by channels. */
  const overTiles = (body: Stmt[]): Stmt => {
    const number = add(mul(div(sub(i, m0), i32(mr)), i32(panels)), div(j, i32(nr)));
    const tile = [letI('sumsAt', mul(number, i32(sums.size))), ...body];
    return loop('lane', 'i', end, [loop('lane', 'j', channels, tile, 0, nr)], m0, mr);
  };
  const half = mul(div(i, i32(nr)), i32(nr));
  const sides = (size: number): Stmt[] => [
    letI('left', add(mul(half, i32(size / nr)), sub(i, half))),
    letI('right', mul(j, i32(size / nr))),
  ];
  const zero: Stmt = { kind: 'tileZero', tile: 'tile', rows: mr, cols: nr, accumulator: 'f32' };
  const plus = addTile({ tile: 'tile', rows: mr, cols: nr, memory: 'sums', index: ref('place') });
  const wide = { count: colStrip(sx, 'count'), move: across.stride * nr };
  const columnAt = mul(colStrip(sx, 'first'), i32(nr));
  const partnerAt = mul(add(colStrip(sx, 'first'), colStrip(sx, 'distance')), i32(nr));

  const sumPoints = loop('lane', 'point', POINTS, [
    overTiles([
      ...sides(tiledPanel),
      loop('serial', 'sx', colStrips, [
        letI('own', add(add(ref('left'), mul(point, i32(tiledPoint))), columnAt)),
        letI('partner', add(add(ref('right'), mul(point, i32(tiledPoint))), partnerAt)),
        letI(
          'place',
          add(add(ref('sumsAt'), i32(sums.points)), mul(add(mul(point, i32(colStrips)), sx), i32(tileSize))),
        ),
        zero,
        correlate({ own: 'filter', partner: 'data', imageSize: tiledImage }, { count: i32(tileRows), move: row }, wide),
        plus,
      ]),
    ]),
  ]);

  const n = ref('piece');
  /** Distance 0 is wanted in the lower triangle alone. */
  const isWanted = (distance: Expr): Expr => or(lt(i32(0), distance), lt(j, add(i, i32(mr))));
  const sumPieces = overTiles([
    ...sides(panelSize),
    loop('serial', 'piece', pieces.length, [
      when(isWanted(piece(n, 'distance')), [
        letI('tall', piece(n, 'count')),
        letI('own0', add(ref('left'), mul(piece(n, 'first'), i32(row)))),
        letI('partner0', add(ref('right'), mul(add(piece(n, 'first'), piece(n, 'distance')), i32(row)))),
        loop('serial', 'sx', colStrips, [
          letI('own', add(ref('own0'), columnAt)),
          letI('partner', add(ref('partner0'), partnerAt)),
          letI('place', add(ref('sumsAt'), mul(add(mul(piece(n, 'strip'), i32(colStrips)), sx), i32(tileSize)))),
          zero,
          correlate({ own: 'panels', partner: right, imageSize }, { count: ref('tall'), move: row }, wide),
          plus,
        ]),
      ]),
    ]),
  ]);

  const products = Array.from({ length: POINTS }, (_, k) =>
    load('sums', add(ref('from'), add(i32(k * colStrips * tileSize), e))),
  );
  const addMiddle = loop('serial', 'sx', colStrips, [
    letI('from', add(add(ref('sumsAt'), i32(sums.points)), mul(sx, i32(tileSize)))),
    loop(
      'vector',
      'e',
      tileSize,
      transformProducts(products, TAPS).map((sum, distance) => {
        const at = add(add(ref('sumsAt'), add(mul(sx, i32(tileSize)), i32(main[distance] * colStrips * tileSize))), e);
        return store('sums', at, add(load('sums', at), sum));
      }),
    ),
  ]);

  const [py, px] = ['py', 'px'].map(ref);
  const rectangle = (a: Expr, b: Expr): Expr => add(ref('sumsAt'), mul(add(mul(a, i32(colStrips)), b), i32(tileSize)));
  const joinedAt = add(ref('sumsAt'), i32(sums.joined));
  const isOne = and(eq(sub(ref('lastRow'), ref('firstRow')), i32(1)), eq(sub(ref('lastCol'), ref('firstCol')), i32(1)));
  const [own, partner] = [add(mul(add(i, r), i32(taps)), ref('tap')), add(mul(add(j, e), i32(taps)), ref('other'))];
  const value = load('sums', add(ref('at'), add(mul(r, i32(nr)), e)));
  const isWhole = and(le(add(i, i32(mr)), i32(channels)), le(add(j, i32(nr)), i32(channels)));
  const isBelow = and(isWhole, le(add(j, i32(nr)), i));
  const isAbove = and(isWhole, le(add(i, i32(mr)), j));
  const finish: Stmt = when(
    isBelow,
    [loop('serial', 'r', mr, [loop('vector', 'e', nr, p.finish(group, own, partner, value))])],
    [
      when(
        isAbove,
        [loop('serial', 'e', nr, [loop('vector', 'r', mr, p.finish(group, partner, own, value))])],
        [
          loop('serial', 'r', min(i32(mr), sub(i32(channels), i)), [
            loop('serial', 'e', min(i32(nr), sub(i32(channels), j)), [
              when(
                or(lt(i32(0), ref('apart')), le(partner, own)),
                p.finish(group, max(own, partner), min(own, partner), value),
              ),
            ]),
          ]),
        ],
      ),
    ],
  );
  const results = overTiles([
    addMiddle,
    loop('serial', 'py', pairs.length, [
      letI('apart', rowPair(py, 'distance')),
      when(isWanted(ref('apart')), [
        letI('firstRow', rowPair(py, 'lo')),
        letI('lastRow', rowPair(py, 'hi')),
        loop('serial', 'px', columns.pairs.length, [
          letI('firstCol', colPair(px, 'lo')),
          letI('lastCol', colPair(px, 'hi')),
          letI('tap', add(mul(rowPair(py, 'tap'), i32(kernel[1])), colPair(px, 'tap'))),
          letI('other', add(mul(rowPair(py, 'partner'), i32(kernel[1])), colPair(px, 'partner'))),
          when(isOne, [], joinRectangles(joinedAt, tileSize, rectangle)),
          letI('at', select(isOne, rectangle(ref('firstRow'), ref('firstCol')), joinedAt)),
          finish,
        ]),
      ]),
    ]),
  ]);

  const block = ref('block');
  const allSums = ceilDiv(mc, mr) * panels * sums.size;
  return [
    loop('grid', 'block', p.groups * rowBlocks, [
      letI('group', div(block, i32(rowBlocks))),
      letI('m0', mul(rem(block, i32(rowBlocks)), i32(mc))),
      ...table.statements,
      alloc('panels', panels * panelSize),
      ...(p.weight ? [alloc('weighted', panels * panelSize)] : []),
      alloc('data', POINTS * tiledPoint),
      alloc('filter', POINTS * tiledPoint),
      alloc('sums', allSums),
      // Channels and rows that do not exist.
      ...clear('z', 'panels', i32(0), panels * panelSize),
      ...(p.weight ? clear('z', 'weighted', i32(0), panels * panelSize) : []),
      ...clear('z', 'sums', i32(0), allSums),
      loop(
        'serial',
        'image0',
        p.images,
        [
          letI('images', min(i32(imagesAtOnce), sub(i32(p.images), ref('image0')))),
          ...packChannels(toPanels),
          ...weighPanels(toPanels, panels),
          ...transformPanels,
          sumPoints,
          sumPieces,
        ],
        0,
        imagesAtOnce,
      ),
      results,
    ]),
  ];
}

const or = (a: Expr, b: Expr): Expr => ({ kind: 'binary', op: 'or', a, b });
