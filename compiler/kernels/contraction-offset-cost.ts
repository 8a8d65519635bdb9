/**
 * Where offset correlations are quicker than the direct triangle, on the wasm target. Both are counted in steps of a register
 * tile, one position each; `bench/offset.ts` says how well that foretells what is measured.
 */
import type { Node } from '../../ir/graph.js';
import { flagOf } from '../../ir/ops/declare.js';
import { product } from '../../ir/types.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { offsetsOf } from './contraction-offsets.js';
import { ceilDiv, tileShapes } from './contraction-tile.js';

/** Steps that it takes to begin a row of positions. */
const ROW = 5;
/** Steps that it takes to store a tile's results of one pair of taps. */
const STORE = 22;
/** Below this gain, what the model leaves out (packing, code) decides. */
const LEAST_GAIN = 1.2;
/** Larger windows make more code than they are worth: a tile's products for each distance. */
const MOST_TAPS = 25;

/** Register tiles that touch the lower triangle of n x n. */
function triangle(n: number): number {
  const { mr, nr } = tileShapes[0];
  let tiles = 0;
  for (let i = 0; i < n; i += mr) tiles += ceilDiv(Math.min(i + mr, n), nr);
  return tiles;
}

/** How many times as fast as the direct form the node's factor is expected to be. */
export function offsetGain(node: Node): number {
  const { images, inputs, kernel, rows, cols } = convolutionOfNode(node);
  const ones = Number(flagOf(node.attrs, 'ones'));
  const taps = product(kernel);
  let steps = 0;
  for (const dy of offsetsOf(rows))
    for (const dx of offsetsOf(cols))
      for (const { count: height } of dy.strips)
        for (const { count: width } of dx.strips) steps += height * width + ROW * (2 * width < height ? width : height);
  const direct = triangle(inputs * taps + ones) * images * rows.output * cols.output;
  return direct / (triangle(inputs + ones) * (images * steps + STORE * taps * taps));
}

export function offsetsPay(node: Node): boolean {
  if (node.op !== 'patch_second_moment') return false;
  const taps = product(convolutionOfNode(node).kernel);
  return taps > 1 && taps <= MOST_TAPS && offsetGain(node) >= LEAST_GAIN;
}
