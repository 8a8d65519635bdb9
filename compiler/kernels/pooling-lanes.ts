/**
 * Gradients of pooling, four channels at a time: windows may overlap, so that a plane has to be written window by window, but its
 * channels are lanes. A grid iteration turns the planes of four channels channel-last, and their gradients back.
 */
import type { Node } from '../../ir/graph.js';
import {
  add,
  div,
  type Expr,
  f32,
  i32,
  type Kernel,
  letF,
  letI,
  load,
  loop,
  lt,
  mul,
  ref,
  rem,
  type Stmt,
  store,
} from '../../ir/kernel.js';
import { windowOf } from '../../ir/ops/contractions.js';
import { flagOf } from '../../ir/ops/declare.js';
import { concrete } from '../../ir/types.js';
import { LANES, laneAt, turnIn, turnOut } from './channel-lanes.js';
import { alloc, when } from './contraction-tile.js';
import { Elements, epilogueOf } from './elements.js';
import { Frame, finishKernel } from './frame.js';
import { type Index, positionIndex } from './indices.js';
import { areApart, divisor, eachTap, findMaximum, maybeEmpty, type Plane } from './pooling.js';
import type { Region } from './region.js';

/** Whether channels come in fours, unless windows that are apart make lanes of their own. */
export function poolsFourChannels({ anchor }: Region): boolean {
  const apart = anchor!.op === 'max_pool_grad' && areApart(planeOf(anchor!));
  return concrete(anchor!.results[0].type.shape)[1] % LANES === 0 && !apart;
}

/** What a gradient's windows go over. */
function planeOf({ attrs, operands, results }: Node): Plane {
  const [, , ...image] = concrete(results[0].type.shape);
  const [, , ...output] = concrete(operands[operands.length - 1].type.shape);
  return { window: windowOf(attrs), image: [image[0], image[1]], output: [output[0], output[1]] };
}

export function lowerPoolGradInLanes(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  const anchor = region.anchor!;
  const elements = new Elements(region, frame.parameters);
  const epilogue = epilogueOf(region, elements);
  const [x, dy] = anchor.op === 'max_pool_grad' ? anchor.operands : [undefined, anchor.operands[0]];
  const [images, channels, height, width] = concrete(anchor.results[0].type.shape);
  const p = planeOf(anchor);
  const positions = height * width;
  const fours = i32(channels / LANES);
  const [block, example, four, c, oy, ox, z] = ['block', 'example', 'four', 'c', 'y', 'x', 'z'].map(ref);
  const channel = (lane: Expr): Expr => add(mul(four, i32(LANES)), lane);
  const indexOf = (lane: number, position: Expr): Index =>
    positionIndex(example, channel(i32(lane)), position, [images, channels, height, width]);
  const cell = (iy: Expr, ix: Expr): Expr => laneAt(add(mul(iy, i32(width)), ix), c);
  const gradient = elements.at(dy, [example, channel(c), oy, ox]);
  const take = (place: Expr, share: Expr): Stmt => store('plane', place, add(load('plane', place), share));

  const toMaximum = (): Stmt[] => {
    const { place, body } = findMaximum(frame, p, oy, ox, (iy, ix) => load('image', cell(iy, ix)), eachTap);
    const whole = take(laneAt(ref(place), c), gradient);
    return [...body, maybeEmpty(p) ? when(lt(i32(-1), ref(place)), [whole]) : whole];
  };
  const evenly = (): Stmt[] => {
    const share = frame.fresh('v');
    const count = divisor(p, oy, ox, flagOf(anchor.attrs, 'count_include_pad'));
    return [
      letF(share, div(gradient, count)),
      ...eachTap(frame, p, oy, ox, (iy, ix) => [take(cell(iy, ix), ref(share))]),
    ];
  };
  return finishKernel(frame, name, [
    loop('grid', 'block', (images * channels) / LANES, [
      letI('example', div(block, fours)),
      letI('four', rem(block, fours)),
      alloc('plane', positions * LANES),
      loop('vector', 'z', positions * LANES, [store('plane', z, f32(0))]),
      ...(x
        ? [alloc('image', positions * LANES), turnIn('image', positions, (lane, q) => elements.at(x, indexOf(lane, q)))]
        : []),
      loop('vector', 'c', LANES, [
        loop('serial', 'y', p.output[0], [loop('serial', 'x', p.output[1], x ? toMaximum() : evenly())]),
      ]),
      turnOut('plane', positions, (lane, q, element) => epilogue(indexOf(lane, q), element)),
    ]),
  ]);
}
