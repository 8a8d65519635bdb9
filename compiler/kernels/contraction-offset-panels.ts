/**
 * What offset correlations have in common: numbers that a kernel looks up, channels packed into panels, and the sums of rectangles that
 * are joined for a pair of taps.
 */
import {
  add,
  div,
  type Expr,
  i32,
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
} from '../../ir/kernel.js';
import type { SecondMoment } from './contraction-second-moment.js';
import { clear, when } from './contraction-tile.js';

/** Records of whole numbers in group memory, so that one loop goes through all of them. */
export class Table {
  private readonly numbers: number[] = [];

  /** @returns a field of the nth of these records */
  add<Field extends string>(
    fields: readonly Field[],
    records: readonly Readonly<Record<Field, number>>[],
  ): (n: Expr, field: Field) => Expr {
    const at = this.numbers.length;
    this.numbers.push(...records.flatMap((r) => fields.map((f) => r[f])));
    return (n, field) => load('table', add(mul(n, i32(fields.length)), i32(at + fields.indexOf(field))));
  }

  get statements(): Stmt[] {
    const { numbers } = this;
    return [
      { kind: 'alloc', name: 'table', space: 'group', type: 'i32', size: numbers.length },
      ...numbers.map((v, n) => store('table', i32(n), i32(v))),
    ];
  }
}

/** `panels[panel][image][row][column][nr]`: rows [top, top + staged) of the stage's images, nr neighbouring channels in a panel. */
export interface Panels {
  readonly moment: SecondMoment;
  readonly nr: number;
  readonly width: number;
  /** Distances in memory. */
  readonly imageSize: number;
  readonly panelSize: number;
  readonly staged: Expr;
  readonly top: Expr;
  /** Channels are packed up to this one's panel. */
  readonly end: Expr;
  /** Whether channels are plain loads. */
  readonly inMemory: boolean;
}

/** Some neighbouring channels from `f` on, all in one panel. */
export function packValues(panels: Panels, f: Expr, values: readonly Expr[]): Stmt[] {
  const { nr, width, imageSize, panelSize } = panels;
  const [image, y, x] = ['image', 'y', 'x'].map(ref);
  const at = add(ref('to'), add(mul(image, i32(imageSize)), mul(add(mul(y, i32(width)), x), i32(nr))));
  const moves = values.map((value, n) => store('panels', add(at, i32(n)), value));
  return [
    letI('to', add(mul(div(f, i32(nr)), i32(panelSize)), rem(f, i32(nr)))),
    loop('serial', 'image', ref('images'), [loop('serial', 'y', panels.staged, [loop('vector', 'x', width, moves)])]),
  ];
}

/** All channels of group `group`, of the images from `image0` on. */
export function packChannels(panels: Panels): Stmt[] {
  const { moment, nr, top } = panels;
  const { channels } = moment;
  const [c, image, y, x] = ['c', 'image', 'y', 'x'].map(ref);
  const source = (n: number): Expr =>
    moment.source(add(ref('image0'), image), add(mul(ref('group'), i32(channels)), add(c, i32(n))), add(top, y), x);
  const last = mul(div(add(panels.end, i32(nr - 1)), i32(nr)), i32(nr));
  // Four channels at a time, so that a target can turn 4 x 4 blocks in registers.
  const fours = panels.inMemory ? channels - (channels % 4) : 0;
  const some = (from: number, to: number, step: number): Stmt[] => {
    if (from === to) return [];
    const values = Array.from({ length: step }, (_, n) => source(n));
    return [loop('group', 'c', min(i32(to), last), packValues(panels, c, values), from, step)];
  };
  return [...some(0, fours, 4), ...some(fours, channels, 1)];
}

/** `weighted` = `panels`, each example times its weight. */
export function weighPanels(panels: Panels, count: number): Stmt[] {
  const { moment, nr, width, imageSize, panelSize, staged } = panels;
  const { weight } = moment;
  if (!weight) return [];
  const [image, e, to] = ['image', 'e', 'to'].map(ref);
  return [
    loop('group', 'c', count, [
      loop('serial', 'image', ref('images'), [
        letI('to', add(mul(ref('c'), i32(panelSize)), mul(image, i32(imageSize)))),
        loop('vector', 'e', mul(staged, i32(width * nr)), [
          store('weighted', add(to, e), mul(load('panels', add(to, e)), weight(add(ref('image0'), image)))),
        ]),
      ]),
    ]),
  ];
}

/** How many positions there are along a side of a rectangle, and elements from one to the next. */
interface Side {
  readonly count: Expr;
  readonly move: number;
}

/**
 * Adds to the register tile the products of a rectangle's positions in all images: of element `own` of one memory, in four rows, and
 * element `partner` of another one. The longer side is the tile's inner loop.
 */
export function correlate(
  memories: { readonly own: string; readonly partner: string; readonly imageSize: number },
  tall: Side,
  wide: Side,
): Stmt {
  const at = (side: string): Expr => add(ref(side), ref('moved'));
  const along = (outer: Side, inner: Side): Stmt[] => [
    loop('serial', 'image', ref('images'), [
      loop('serial', 'n', outer.count, [
        letI('moved', add(mul(ref('image'), i32(memories.imageSize)), mul(ref('n'), i32(outer.move)))),
        {
          ...{ kind: 'tileMma', tile: 'tile', operand: 'f32', depth: inner.count },
          a: { memory: memories.own, index: at('own'), row: 1, depth: inner.move },
          b: { memory: memories.partner, index: at('partner'), depth: inner.move, col: 1 },
        },
      ]),
    ]),
  ];
  return when(lt(wide.count, tall.count), along(wide, tall), along(tall, wide));
}

/** `sums[at + e]`: the sums of rectangles [firstRow, lastRow) x [firstCol, lastCol), each `size` elements at `rectangle`. */
export function joinRectangles(at: Expr, size: number, rectangle: (row: Expr, col: Expr) => Expr): Stmt[] {
  const [a, b, e] = ['a', 'b', 'e'].map(ref);
  const plus = add(load('sums', add(at, e)), load('sums', add(ref('part'), e)));
  const part = [letI('part', rectangle(a, b)), loop('vector', 'e', size, [store('sums', add(at, e), plus)])];
  return [
    ...clear('e', 'sums', at, size),
    loop('serial', 'a', ref('lastRow'), [loop('serial', 'b', ref('lastCol'), part, ref('firstCol'))], ref('firstRow')),
  ];
}
