/**
 * Depthwise convolutions: groups of one channel, whose product would be a vector times a vector. A grid iteration owns one image plane. It
 * is copied with its padding, unfolded where the window is strided, so that each tap's elements of a row of outputs are contiguous; then
 * outputs, or terms of the weight gradient, are lanes, and all taps are written out.
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
  mul,
  ref,
  rem,
  type Stmt,
  sub,
} from '../../ir/kernel.js';
import { forwardAxis, type Phase, type Taps } from './contraction-axes.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { correlationOf } from './contraction-correlation.js';
import { type Stage, stageOf } from './contraction-stage.js';
import type { Contraction } from './contraction-tile.js';

/** Taps that are written out at most. */
const MOST_TAPS = 49;
const LANES = 4;

export function isDepthwise(node: Node): boolean {
  if (node.op !== 'conv' && node.op !== 'conv_input_grad' && node.op !== 'conv_weight_grad') return false;
  const { inputs, outputs, kernel, groups } = convolutionOfNode(node);
  return groups > 1 && inputs === 1 && outputs === 1 && kernel[0] * kernel[1] <= MOST_TAPS;
}

export interface Tap {
  readonly ky: number;
  readonly kx: number;
  /** Where the stage has it, behind the output's coordinates. */
  readonly at: number;
}

export function tapsOf(stage: Stage, ys: readonly Taps[], xs: readonly Taps[], beside = 1): Tap[] {
  const out: Tap[] = [];
  for (const y of ys)
    for (const x of xs)
      for (let u = 0; u < y.count; u++)
        for (let v = 0; v < x.count; v++)
          out.push({
            ky: y.first + u * y.step,
            kx: x.first + v * x.step,
            at: stage.plane(y.plane, x.plane) + (y.at + y.move * u) * stage.row + (x.at + x.move * v) * beside,
          });
  return out;
}

/** Forward, and the input gradient: its phases are outputs whose taps differ. */
export function lowerDepthwise(contraction: Contraction): Stmt[] {
  if (contraction.anchor.op === 'conv_weight_grad') return lowerDepthwiseWeights(contraction);
  const p = correlationOf(contraction);
  const { rows, cols } = p;
  const [plane, image, group, y, x] = ['plane', 'example', 'group', 'y', 'x'].map(ref);
  const band = rows.hi - rows.lo;
  const stage = stageOf({ memory: 'stage', channels: 1, rows, cols, images: 1, band, slack: LANES });
  const outputs = (yPhase: Phase, xPhase: Phase): Stmt => {
    const taps = tapsOf(stage, yPhase.taps, xPhase.taps);
    const weight = (t: Tap): string => `w${t.ky}_${t.kx}`;
    const start = add(mul(sub(y, i32(rows.lo)), i32(stage.row)), i32(xPhase.lo - cols.lo));
    const sum = taps.reduce<Expr | undefined>((all, t) => {
      const term = mul(ref(weight(t)), load('stage', add(add(ref('start'), x), i32(t.at))));
      return all ? add(all, term) : term;
    }, undefined);
    const at = (phase: Phase, coordinate: Expr): Expr => add(mul(coordinate, i32(phase.scale)), i32(phase.offset));
    const stores = p.finish(image, group, at(yPhase, y), at(xPhase, add(x, i32(xPhase.lo))), sum ?? f32(0));
    return loop(
      'lane',
      'y',
      yPhase.hi,
      [letI('start', start), loop('vector', 'x', xPhase.hi - xPhase.lo, stores)],
      yPhase.lo,
    );
  };
  const [kh, kw] = p.kernel;
  const weights = Array.from({ length: kh * kw }, (_, k) => {
    const [ky, kx] = [Math.floor(k / kw), k % kw];
    return letF(`w${ky}_${kx}`, p.weight(group, i32(0), i32(0), i32(ky), i32(kx)));
  });
  return [
    loop('grid', 'plane', p.images * p.groups, [
      letI('example', div(plane, i32(p.groups))),
      letI('group', rem(plane, i32(p.groups))),
      stage.alloc,
      ...stage.copy({ images: i32(1), row0: i32(rows.lo), rows: i32(band) }, (_, __, sy, sx) =>
        p.source(image, group, sy, sx),
      ),
      ...weights,
      ...rows.phases.flatMap((yPhase) => cols.phases.map((xPhase) => outputs(yPhase, xPhase))),
    ]),
  ];
}

/** The sum over images and positions, for all taps at once; each row of each image is summed by itself first. */
function lowerDepthwiseWeights({ anchor, elements, finish }: Contraction): Stmt[] {
  const conv = convolutionOfNode(anchor);
  const [source, gradient] = anchor.operands;
  const [rows, cols] = [forwardAxis(conv.rows), forwardAxis(conv.cols)];
  const [group, image, y, x] = ['group', 'example', 'y', 'x'].map(ref);
  const stage = stageOf({ memory: 'stage', channels: 1, rows, cols, images: 1, band: rows.hi, slack: LANES });
  const taps = tapsOf(stage, rows.phases[0].taps, cols.phases[0].taps);
  const name = (what: string, t: Tap): string => `${what}${t.ky}_${t.kx}`;
  const zero = (what: string): Stmt[] =>
    taps.map((t) => ({ kind: 'var', name: name(what, t), type: 'f32', value: f32(0) }));
  const into = (total: string, part: string): Stmt[] =>
    taps.map((t) => ({ kind: 'set', name: name(total, t), value: add(ref(name(total, t)), ref(name(part, t))) }));
  const terms = taps.map((t): Stmt => {
    const value = mul(ref('dy'), load('stage', add(add(ref('start'), x), i32(t.at))));
    return { kind: 'accumulate', name: name('row', t), op: 'add', value };
  });
  return [
    loop('grid', 'group', conv.groups, [
      stage.alloc,
      ...zero('sum'),
      loop('serial', 'example', conv.images, [
        ...stage.copy({ images: i32(1), row0: i32(0), rows: i32(rows.hi) }, (_, __, sy, sx) =>
          elements.at(source, [image, group, sy, sx]),
        ),
        ...zero('image'),
        loop('serial', 'y', rows.hi, [
          letI('start', mul(y, i32(stage.row))),
          ...zero('row'),
          loop('vector', 'x', cols.hi, [letF('dy', elements.at(gradient, [image, group, y, x])), ...terms]),
          ...into('image', 'row'),
        ]),
        ...into('sum', 'image'),
      ]),
      ...taps.flatMap((t) => finish([group, i32(0), i32(t.ky), i32(t.kx)], ref(name('sum', t)))),
    ]),
  ];
}
