/**
 * Depthwise convolutions of small images, four channels at a time: their rows are too short for outputs as lanes. A grid iteration turns
 * four image planes channel-last as it copies them, so that channels are lanes; results are turned back as they are finished.
 */

import type { Node } from '../../ir/graph.js';
import {
  add,
  div,
  type Expr,
  f32,
  i32,
  letF,
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
import { LANES, laneAt, lanes, turnIn, turnOut } from './channel-lanes.js';
import type { Axis, AxisWindow, Phase } from './contraction-axes.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { correlationOf } from './contraction-correlation.js';
import { isDepthwise, type Tap, tapsOf } from './contraction-depthwise.js';
import { stageOf } from './contraction-stage.js';
import { alloc, type Contraction, ceilDiv } from './contraction-tile.js';
import { positionIndex } from './indices.js';

/** Grid iterations that are worth having. */
const ENOUGH = 16;
/**
 * Outputs of a row up to which channels are the better lanes (measured with 3 x 3 windows). A weight gradient sums up its lanes at the
 * end of each row; a strided window gathers what it copies.
 */
const SHORT_ROW = 16;
const SHORT_SUM = 32;
const SHORT_STRIDED_ROW = 64;

export function isNarrowDepthwise(node: Node): boolean {
  if (!isDepthwise(node)) return false;
  const { groups, cols } = convolutionOfNode(node);
  const short = node.op === 'conv_weight_grad' ? SHORT_SUM : SHORT_ROW;
  const limit = node.op !== 'conv_input_grad' && cols.stride > 1 ? SHORT_STRIDED_ROW : short;
  return groups % LANES === 0 && cols.output <= limit;
}

const [four, image, y, x, c] = ['four', 'example', 'y', 'x', 'c'].map(ref);
/** The channel in lane `lane` of the grid iteration's. */
const channel = (lane: Expr | number): Expr => add(mul(four, i32(LANES)), typeof lane === 'number' ? i32(lane) : lane);
const weightOf = (t: Tap): string => `w${t.ky}_${t.kx}`;

/** A forward convolution's axis, padded and not unfolded, since neighbours of a position need not be neighbours of its outputs. */
const padded = (w: AxisWindow): Axis => ({
  lo: 0,
  hi: (w.output - 1) * w.stride + 1 + (w.kernel - 1) * w.dilation,
  reach: 0,
  scale: 1,
  planes: [-w.pad],
  extent: w.input,
  phases: [
    {
      lo: 0,
      hi: w.output,
      scale: 1,
      offset: 0,
      taps: [{ plane: 0, count: w.kernel, first: 0, step: 1, at: 0, move: w.dilation }],
    },
  ],
});

/** Forward, and the input gradient: its phases are outputs whose taps differ. */
export function lowerNarrowDepthwise(contraction: Contraction): Stmt[] {
  if (contraction.anchor.op === 'conv_weight_grad') return lowerWeights(contraction);
  const p = correlationOf(contraction);
  const conv = convolutionOfNode(contraction.anchor);
  const forward = contraction.anchor.op === 'conv';
  const [rows, cols] = forward ? [padded(conv.rows), padded(conv.cols)] : [p.rows, p.cols];
  const [down, right] = forward ? [conv.rows.stride, conv.cols.stride] : [1, 1];
  const [kh, kw] = p.kernel;
  const band = rows.hi - rows.lo;
  const stage = stageOf({ memory: 'stage', channels: LANES, beside: LANES, rows, cols, images: 1, band, slack: 0 });
  const { height, width } = extentOf(contraction.anchor);
  const outputs = (yPhase: Phase, xPhase: Phase): Stmt => {
    const taps = tapsOf(stage, yPhase.taps, xPhase.taps, LANES);
    const at = add(add(ref('start'), mul(x, i32(right * LANES))), c);
    const sum = taps.reduce<Expr | undefined>((all, t) => {
      const term = mul(ref(weightOf(t)), load('stage', add(at, i32(t.at))));
      return all ? add(all, term) : term;
    }, undefined);
    const place = add(add(ref('to'), mul(x, i32(LANES * xPhase.scale))), c);
    const start = add(mul(sub(y, i32(rows.lo)), i32(down * stage.row)), i32((xPhase.lo - cols.lo) * LANES));
    const row = add(mul(y, i32(yPhase.scale)), i32(yPhase.offset));
    const to = add(mul(row, i32(width * LANES)), i32((xPhase.lo * xPhase.scale + xPhase.offset) * LANES));
    return loop('vector', 'c', LANES, [
      ...taps.map((t) => letF(weightOf(t), load('weights', add(i32((t.ky * kw + t.kx) * LANES), c)))),
      loop(
        'serial',
        'y',
        yPhase.hi,
        [
          letI('start', start),
          letI('to', to),
          loop('serial', 'x', xPhase.hi - xPhase.lo, [store('results', place, sum ?? f32(0))]),
        ],
        yPhase.lo,
      ),
    ]);
  };
  const fours = p.groups / LANES;
  const perChunk = ceilDiv(p.images, Math.min(p.images, ceilDiv(ENOUGH, fours)));
  const chunks = ceilDiv(p.images, perChunk);
  const first = mul(rem(ref('block'), i32(chunks)), i32(perChunk));
  const turned = turnOut('results', height * width, (lane, q, element) =>
    contraction.finish(positionIndex(image, channel(lane), q, [p.images, p.groups, height, width]), element),
  );
  return [
    loop('grid', 'block', fours * chunks, [
      letI('four', div(ref('block'), i32(chunks))),
      stage.alloc,
      alloc('weights', kh * kw * LANES),
      alloc('results', height * width * LANES),
      ...Array.from({ length: kh * kw * LANES }, (_, k) => {
        const tap = Math.floor(k / LANES);
        const value = p.weight(channel(k % LANES), i32(0), i32(0), i32(Math.floor(tap / kw)), i32(tap % kw));
        return store('weights', i32(k), value);
      }),
      loop(
        'serial',
        'example',
        min(add(first, i32(perChunk)), i32(p.images)),
        [
          ...stage.copy({ images: i32(1), row0: i32(rows.lo), rows: i32(band) }, (_, lane, sy, sx) =>
            p.source(image, channel(lane), sy, sx),
          ),
          ...rows.phases.flatMap((yPhase) => cols.phases.map((xPhase) => outputs(yPhase, xPhase))),
          turned,
        ],
        first,
      ),
    ]),
  ];
}

/** Size of the images that come out. */
function extentOf(node: Node): { readonly height: number; readonly width: number } {
  const { rows, cols } = convolutionOfNode(node);
  return node.op === 'conv' ? { height: rows.output, width: cols.output } : { height: rows.input, width: cols.input };
}

/** The sum over images and positions, for all taps at once; each image is summed by itself first. */
function lowerWeights({ anchor, elements, finish }: Contraction): Stmt[] {
  const conv = convolutionOfNode(anchor);
  const [source, gradient] = anchor.operands;
  const [rows, cols] = [padded(conv.rows), padded(conv.cols)];
  const [height, width] = [conv.rows.output, conv.cols.output];
  const positions = height * width;
  const stage = stageOf({
    ...{ memory: 'stage', channels: LANES, beside: LANES },
    ...{ rows, cols, images: 1, band: rows.hi, slack: 0 },
  });
  const taps = tapsOf(stage, rows.phases[0].taps, cols.phases[0].taps, LANES);
  const sumAt = (t: Tap, lane: Expr): Expr => add(i32((t.ky * conv.kernel[1] + t.kx) * LANES), lane);
  const start = add(add(mul(y, i32(conv.rows.stride * stage.row)), mul(x, i32(conv.cols.stride * LANES))), c);
  return [
    loop('grid', 'four', conv.groups / LANES, [
      stage.alloc,
      alloc('gradient', positions * LANES),
      alloc('sums', taps.length * LANES),
      loop('vector', 'c', taps.length * LANES, [store('sums', c, f32(0))]),
      loop('serial', 'example', conv.images, [
        ...stage.copy({ images: i32(1), row0: i32(0), rows: i32(rows.hi) }, (_, lane, sy, sx) =>
          elements.at(source, [image, channel(lane), sy, sx]),
        ),
        turnIn('gradient', positions, (lane, q) =>
          elements.at(gradient, positionIndex(image, channel(lane), q, [conv.images, conv.groups, height, width])),
        ),
        loop('vector', 'c', LANES, [
          ...taps.map((t): Stmt => ({ kind: 'var', name: weightOf(t), type: 'f32', value: f32(0) })),
          loop('serial', 'y', height, [
            loop('serial', 'x', width, [
              letF('dy', load('gradient', laneAt(add(mul(y, i32(width)), x), c))),
              ...taps.map((t): Stmt => {
                const term = mul(ref('dy'), load('stage', add(start, i32(t.at))));
                return { kind: 'set', name: weightOf(t), value: add(ref(weightOf(t)), term) };
              }),
            ]),
          ]),
          ...taps.map((t) => store('sums', sumAt(t, c), add(load('sums', sumAt(t, c)), ref(weightOf(t))))),
        ]),
      ]),
      ...taps.flatMap((t) =>
        lanes.flatMap((l) => finish([channel(l), i32(0), i32(t.ky), i32(t.kx)], load('sums', sumAt(t, i32(l))))),
      ),
    ]),
  ];
}
