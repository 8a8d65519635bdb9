/**
 * Second moments of few features, as depthwise convolutions have them (nine taps of one channel, one output): a register tile
 * would be filled mostly with what nobody wants. Here each tap of some positions is copied to a row of its own, contiguous
 * whatever the window, and each pair of features is the dot product of two rows. A grid iteration owns one group.
 */

import type { Node } from '../../ir/graph.js';
import { add, type Expr, f32, i32, letI, load, loop, mul, ref, type Stmt, store } from '../../ir/kernel.js';
import { flagOf } from '../../ir/ops/declare.js';
import { product } from '../../ir/types.js';
import type { Axis } from './contraction-axes.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { secondMomentOf } from './contraction-second-moment.js';
import { planStages, stageOf, stageRange } from './contraction-stage.js';
import { alloc, type Contraction, clear } from './contraction-tile.js';

/** Sums that one loop over the positions can keep in registers. */
const MOST_FEATURES = 10;
/** Positions whose rows stay in a first-level cache, all features of them. */
const POSITIONS = 512;

/** Where each tap of an axis lies in the stage. */
function tapsOf(axis: Axis): { readonly tap: number; readonly plane: number; readonly at: number }[] {
  return axis.phases[0].taps.flatMap((t) =>
    Array.from({ length: t.count }, (_, u) => ({ tap: t.first + u * t.step, plane: t.plane, at: t.at + u * t.move })),
  );
}

export function isNarrow(node: Node): boolean {
  if (node.op !== 'patch_second_moment') return false;
  const { groups, inputs, kernel } = convolutionOfNode(node);
  return groups > 1 && inputs * product(kernel) + Number(flagOf(node.attrs, 'ones')) <= MOST_FEATURES;
}

export function lowerNarrowMoment(contraction: Contraction): Stmt[] {
  const p = secondMomentOf(contraction);
  const { choice } = contraction;
  const width = p.cols.hi - p.cols.lo;
  const stages = planStages(p.images, { ...p.rows, reach: 0 }, width, Math.max(width, choice.kc ?? POSITIONS));
  const positions = stages.images * stages.band * width;
  // Rows keep off each other's cache lines.
  const length = positions % 256 === 0 ? positions + 16 : positions;
  const taps = p.channels * product(p.kernel);
  const features = taps + Number(p.ones);
  const pairs = (features * (features + 1)) / 2;

  const [group, image0, row0, images, rows] = ['group', 'image0', 'row0', 'images', 'rows'].map(ref);
  const [image, y, x, t] = ['image', 'y', 'x', 't'].map(ref);
  /** `body` at each position of the stage, with its place in a row. */
  const overPositions = (body: (at: Expr) => Stmt[]): Stmt =>
    loop('serial', 'image', images, [
      loop('serial', 'y', rows, [
        letI('line', mul(add(mul(image, rows), y), i32(width))),
        loop('vector', 'x', width, body(add(ref('line'), x))),
      ]),
    ]);
  const stage = stageOf({ ...p, memory: 'stage', images: stages.images, band: stages.band, slack: 0 });
  const channel = (c: Expr): Expr => add(mul(group, i32(p.channels)), c);
  const copyTap = (feature: number, element: Expr): Stmt =>
    overPositions((at) => [store('taps', add(at, i32(feature * length)), element)]);
  const copies = Array.from({ length: p.channels }, (_, c): Stmt[] => {
    if (p.points) {
      const [iy, ix] = [mul(add(row0, y), i32(p.rows.scale)), mul(x, i32(p.cols.scale))];
      return [copyTap(c, p.source(add(image0, image), channel(i32(c)), iy, ix))];
    }
    const inStage = add(add(mul(image, i32(stage.image)), mul(y, i32(stage.row))), x);
    return tapsOf(p.rows).flatMap((ky) =>
      tapsOf(p.cols).map((kx) => {
        const shift = stage.plane(ky.plane, kx.plane) + c * stage.channel + ky.at * stage.row + kx.at;
        const feature = (c * p.kernel[0] + ky.tap) * p.kernel[1] + kx.tap;
        return copyTap(feature, load('stage', add(inStage, i32(shift))));
      }),
    );
  });
  const { weight } = p;
  const weights = weight ? [overPositions((at) => [store('weights', at, weight(add(image0, image)))])] : [];

  const row = (f: number): Expr => (f < taps ? load('taps', add(t, i32(f * length))) : f32(1));
  const dots = Array.from({ length: features }, (_, i): Stmt[] => {
    const partners = Array.from({ length: i + 1 }, (_, j) => j);
    const weighted = weight ? mul(row(i), load('weights', t)) : row(i);
    const sum = (j: number): string => `sum${i}_${j}`;
    const place = (j: number): Expr => i32((i * (i + 1)) / 2 + j);
    return [
      ...partners.map((j): Stmt => ({ kind: 'var', name: sum(j), type: 'f32', value: f32(0) })),
      loop('vector', 't', ref('positions'), [
        { kind: 'let', name: 'v', type: 'f32', value: weighted },
        ...partners.map((j): Stmt => ({ kind: 'accumulate', name: sum(j), op: 'add', value: mul(ref('v'), row(j)) })),
      ]),
      ...partners.map((j) => store('sums', place(j), add(load('sums', place(j)), ref(sum(j))))),
    ];
  });

  const stageIndex = ref('stageIndex');
  return [
    loop('grid', 'group', p.groups, [
      ...(p.points ? [] : [stage.alloc]),
      alloc('taps', taps * length),
      ...(weight ? [alloc('weights', length)] : []),
      alloc('sums', pairs),
      ...clear('k', 'sums', i32(0), pairs),
      loop('serial', 'stageIndex', stages.imageBlocks * stages.bands, [
        ...stageRange(stageIndex, stages, p.images, p.rows),
        letI('positions', mul(mul(images, rows), i32(width))),
        ...(p.points
          ? []
          : stage.copy({ images, row0, rows }, (n, c, iy, ix) => p.source(add(image0, n), channel(c), iy, ix))),
        ...copies.flat(),
        ...weights,
        ...dots.flat(),
      ]),
      // Row 0 of the packed triangle has its beginning as offset: columns count through all pairs.
      loop('vector', 'k', pairs, p.finish(group, i32(0), ref('k'), load('sums', ref('k')))),
    ]),
  ];
}
