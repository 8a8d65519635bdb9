/**
 * Windows of convolutions and poolings: strides, dilations and paddings with their defaults and `auto_pad`, brought to two
 * dimensions. One-dimensional images [N, C, L] are images of height one.
 */

import type { Value } from '../../../../ir/graph.js';
import { type Dim, printShape, type Shape } from '../../../../ir/types.js';
import type { NodeImport } from '../node-import.js';

export interface WindowForm {
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  /** top, left, bottom, right */
  readonly pads: readonly [number, number, number, number];
  readonly dilations: readonly [number, number];
}

/** [N, C, H, W] of an image, and its dimensions in space as the model has them. */
export interface Image {
  readonly x: Value;
  readonly rank: 1 | 2;
  readonly height: number;
  readonly width: number;
}

export function imageOf(n: NodeImport, x: Value): Image {
  const [batch, channels, ...space] = x.type.shape;
  const isImage = typeof channels === 'number' && space.every((d): d is number => typeof d === 'number');
  if (!isImage || space.length < 1 || space.length > 2)
    return n.unsupported(`data of shape ${printShape(x.type.shape)} (images [N,C,H,W] and rows [N,C,L] are known)`);
  const [height, width] = space.length === 2 ? (space as number[]) : [1, space[0] as number];
  const rank = space.length === 2 ? 2 : 1;
  return { x: rank === 2 ? x : n.reshape(x, [batch, channels, 1, width]), rank, height, width };
}

/** An [N, C, 1, L] result as [N, C, L] where the model's image has one dimension. */
export function fromImage(n: NodeImport, y: Value, image: Image): Value {
  const [batch, channels, , width] = y.type.shape;
  return image.rank === 2 ? y : n.reshape(y, [batch, channels, width]);
}

/** `values` for one or two dimensions as a pair; height is `single` where the image has one dimension. */
export function pairOf(
  n: NodeImport,
  name: string,
  rank: 1 | 2,
  values: readonly number[] | undefined,
  least: number,
  single = 1,
): [number, number] {
  const v = values ?? new Array<number>(rank).fill(1);
  if (v.length !== rank || v.some((e) => !Number.isSafeInteger(e) || e < least || e > 2 ** 20))
    n.misfit(`${name} = [${v}] for an image of ${rank} dimension${rank > 1 ? 's' : ''}`);
  return rank === 2 ? [v[0], v[1]] : [single, v[0]];
}

/** @param kernelShape the kernel where the weight tells it; else the attribute */
export function windowForm(n: NodeImport, image: Image, kernelShape?: readonly number[]): WindowForm {
  const { rank } = image;
  const given = n.ints('kernel_shape');
  if (kernelShape && given && (given.length !== kernelShape.length || given.some((k, i) => k !== kernelShape[i])))
    n.misfit(`kernel_shape [${given}] and a weight of [${kernelShape}]`);
  const kernel = pairOf(n, 'kernel_shape', rank, kernelShape ?? given ?? n.misfit('kernel_shape is missing'), 1);
  const strides = pairOf(n, 'strides', rank, n.ints('strides'), 1);
  const dilations = pairOf(n, 'dilations', rank, n.ints('dilations'), 1);
  return { kernel, strides, dilations, pads: padding(n, image, kernel, strides, dilations) };
}

function padding(
  n: NodeImport,
  image: Image,
  kernel: readonly number[],
  strides: readonly number[],
  dilations: readonly number[],
): [number, number, number, number] {
  const auto = n.text('auto_pad', 'NOTSET') || 'NOTSET';
  const explicit = n.ints('pads');
  if (auto === 'NOTSET') {
    const p = explicit ?? new Array<number>(2 * image.rank).fill(0);
    if (p.length !== 2 * image.rank) n.misfit(`pads = [${p}] for an image of ${image.rank} dimensions`);
    if (p.some((v) => !Number.isSafeInteger(v) || v < 0 || v > 2 ** 20)) n.unsupported(`pads = [${p}]`);
    return image.rank === 2 ? [p[0], p[1], p[2], p[3]] : [0, p[0], 0, p[1]];
  }
  if (auto === 'VALID') return [0, 0, 0, 0];
  if (auto !== 'SAME_UPPER' && auto !== 'SAME_LOWER') n.unsupported(`auto_pad = "${auto}"`);
  // As many outputs as ceil(size / stride); the odd element goes behind (UPPER) or in front (LOWER).
  const [top, bottom, left, right] = [image.height, image.width].flatMap((size, d) => {
    const out = Math.ceil(size / strides[d]);
    const all = Math.max(0, (out - 1) * strides[d] + dilations[d] * (kernel[d] - 1) + 1 - size);
    const half = Math.floor(all / 2);
    return auto === 'SAME_UPPER' ? [half, all - half] : [all - half, half];
  });
  return [top, left, bottom, right];
}

/** Height and width of a pooling's result. With ceil_mode a last window that would begin in the padding behind is left out. */
export function pooledSize(n: NodeImport, w: WindowForm, image: Image, ceil: boolean): [number, number] {
  const size = (length: number, d: 0 | 1): number => {
    const covered = w.dilations[d] * (w.kernel[d] - 1) + 1;
    const steps = (length + w.pads[d] + w.pads[d + 2] - covered) / w.strides[d];
    let out = (ceil ? Math.ceil(steps) : Math.floor(steps)) + 1;
    if (ceil && (out - 1) * w.strides[d] >= length + w.pads[d]) out--;
    return out >= 1
      ? out
      : n.misfit(`a window of ${w.kernel.join('x')} does not fit an image of ${image.height}x${image.width}`);
  };
  return [size(image.height, 0), size(image.width, 1)];
}

/** Number of elements of an axis list, as numbers: positions are never symbolic. */
export function positions(shape: Shape): number {
  return shape.slice(2).reduce<number>((p, d: Dim) => p * (d as number), 1);
}
