/**
 * Convolutions with one tap and no padding, and their input gradients: for each image and group a product of the weights with the
 * image as a matrix (channels x positions); or one product with all images side by side, where they are small. Of a strided window
 * these are the positions that it reads; the gradient of all others is zero.
 */

import type { Node } from '../../ir/graph.js';
import { add, and, div, type Expr, f32, i32, lt, mul, rem, type Stmt } from '../../ir/kernel.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { type Factor, lowerProduct } from './contraction-product.js';
import { type Contraction, tileShapes, when } from './contraction-tile.js';
import { type Index, positionIndex, unflatten } from './indices.js';

/**
 * Length of the sums, for each position of an image, from which on all images are one matrix: tiles are full then, but their columns are
 * stored one by one.
 */
const WORTH_JOINING = 10;

export function isPointwise(node: Node): boolean {
  if (node.op !== 'conv' && node.op !== 'conv_input_grad') return false;
  const { rows, cols } = convolutionOfNode(node);
  return [rows, cols].every(
    (a) => a.kernel === 1 && a.pad === 0 && a.input > (a.output - 1) * a.stride && a.input <= a.output * a.stride,
  );
}

export function lowerPointwise({ anchor, elements, finish, choice }: Contraction): Stmt[] {
  const forward = anchor.op === 'conv';
  const conv = convolutionOfNode(anchor);
  const [image, weights] = anchor.operands;
  const { images, groups, rows, cols } = conv;
  const strided = rows.stride > 1 || cols.stride > 1;
  const positions = rows.output * cols.output;
  const [k, m] = forward ? [conv.inputs, conv.outputs] : [conv.outputs, conv.inputs];
  const uneven = positions % tileShapes[0].nr !== 0;
  const joined = groups === 1 && images > 1 && uneven && k >= WORTH_JOINING * positions;
  const groupOf = (batch: Expr): Expr => (groups === 1 ? i32(0) : rem(batch, i32(groups)));
  /** Index of an output's position, in a value of output size whose channels are groups of `channels`. */
  const outputAt = (channels: number, batch: Expr, channel: Expr, column: Expr): Index => {
    const [n, position] = joined ? unflatten(column, [images, positions]) : [div(batch, i32(groups)), column];
    const inGroup = add(mul(groupOf(batch), i32(channels)), channel);
    return positionIndex(n, inGroup, position, [images, groups * channels, rows.output, cols.output]);
  };
  /** The same in a value of input size: the position that this output reads, or one `down` and `right` of it. */
  const inputAt = (channels: number, batch: Expr, channel: Expr, position: Expr, down = 0, right = 0): Index => {
    const at = outputAt(channels, batch, channel, position);
    if (!strided) return at;
    const [n, c, y, x] = at;
    return [n, c, add(mul(y, i32(rows.stride)), i32(down)), add(mul(x, i32(cols.stride)), i32(right))];
  };
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
    at: (batch, n, kk) => elements.at(image, (forward ? inputAt : outputAt)(k, batch, kk, n)),
    alongK: joined && positions === 1 && !strided,
  };
  /** An input's gradient, and zeros beside it as far as the image goes. */
  const finishStride = (batch: Expr, row: Expr, col: Expr, element: Expr): Stmt[] =>
    Array.from({ length: rows.stride * cols.stride }, (_, cell) => {
      const [down, right] = [Math.floor(cell / cols.stride), cell % cols.stride];
      const at = inputAt(m, batch, row, col, down, right);
      const stores = finish(at, cell === 0 ? element : f32(0));
      const inside = [
        ...((rows.output - 1) * rows.stride + down < rows.input ? [] : [lt(at[2], i32(rows.input))]),
        ...((cols.output - 1) * cols.stride + right < cols.input ? [] : [lt(at[3], i32(cols.input))]),
      ];
      return inside.length === 0 ? stores : [when(inside.reduce(and), stores)];
    }).flat();
  return lowerProduct(
    {
      batch: joined ? 1 : images * groups,
      m,
      n: joined ? images * positions : positions,
      k,
      a,
      b,
      commonRows: groups === 1,
      finish: (batch, row, col, element) =>
        forward ? finish(outputAt(m, batch, row, col), element) : finishStride(batch, row, col, element),
    },
    choice,
  );
}
