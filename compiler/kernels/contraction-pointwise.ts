/**
 * Convolutions with one tap, stride 1 and no padding, and their input gradients: for each image and group a product of the
 * weights with the image as a matrix (channels x positions).
 */

import type { Node } from '../../ir/graph.js';
import { add, div, type Expr, i32, mul, rem, type Stmt } from '../../ir/kernel.js';
import { concrete } from '../../ir/types.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { type Factor, lowerProduct } from './contraction-product.js';
import type { Contraction } from './contraction-tile.js';
import { type Index, reshapeIndex } from './indices.js';

export function isPointwise(node: Node): boolean {
  if (node.op !== 'conv' && node.op !== 'conv_input_grad') return false;
  const { rows, cols } = convolutionOfNode(node);
  return [rows, cols].every((a) => a.kernel === 1 && a.stride === 1 && a.pad === 0 && a.input === a.output);
}

export function lowerPointwise({ anchor, elements, finish, choice }: Contraction): Stmt[] {
  const forward = anchor.op === 'conv';
  const conv = convolutionOfNode(anchor);
  const [image, weights] = anchor.operands;
  const { images, groups } = conv;
  const positions = conv.rows.input * conv.cols.input;
  const [k, m] = forward ? [conv.inputs, conv.outputs] : [conv.outputs, conv.inputs];
  const groupOf = (batch: Expr): Expr => (groups === 1 ? i32(0) : rem(batch, i32(groups)));
  /** Index in a value whose channels are groups of `channels`. */
  const at = (value: typeof image, channels: number, batch: Expr, channel: Expr, position: Expr): Index =>
    reshapeIndex(
      [div(batch, i32(groups)), add(mul(groupOf(batch), i32(channels)), channel), position],
      [images, groups * channels, positions],
      concrete(value.type.shape),
    );
  const weightAt = (batch: Expr, i: Expr, kk: Expr): Index => {
    const [o, c] = forward ? [i, kk] : [kk, i];
    return [add(mul(groupOf(batch), i32(conv.outputs)), o), c, i32(0), i32(0)];
  };
  const a: Factor = {
    at: (batch, i, kk) => elements.at(weights, weightAt(batch, i, kk)),
    memory: elements.inMemory(weights)
      ? {
          name: elements.memory(weights),
          offset: (batch, i, kk) => elements.offset(weights, weightAt(batch, i, kk)),
          i: forward ? conv.inputs : 1,
          k: forward ? 1 : conv.inputs,
        }
      : undefined,
    alongK: forward,
  };
  const b: Factor = {
    at: (batch, n, kk) => elements.at(image, at(image, k, batch, kk, n)),
    alongK: false,
  };
  return lowerProduct(
    {
      batch: images * groups,
      m,
      n: positions,
      k,
      a,
      b,
      commonRows: groups === 1,
      finish: (batch, row, col, element) => finish(at(anchor.results[0], m, batch, row, col), element),
    },
    choice,
  );
}
