/**
 * Where offset correlations are quicker than the direct triangle, on the wasm target. Both are counted in steps of a register
 * tile, one position each; `bench/offset.ts` says how well that foretells what is measured.
 */
import type { Node } from '../../ir/graph.js';
import { flagOf } from '../../ir/ops/declare.js';
import { product } from '../../ir/types.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { flatOffsetsOf, MOST_SUMS } from './contraction-offsets.js';
import { ceilDiv, tileShapes } from './contraction-tile.js';

/** Steps that it takes to begin a row of positions. */
const ROW = 2;
/** Steps that it takes to store a tile's results of one pair of taps. */
const STORE = 20;
/** Measured gains are 0.95 to 2.5 times the expected ones, the more so the less is gained: nothing chosen was slower. */
const LEAST_GAIN = 1.1;

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
  for (const { count: height } of flatOffsetsOf(rows).strips)
    for (const { count: width } of flatOffsetsOf(cols).strips) steps += height * width + ROW * Math.min(width, height);
  const direct = triangle(inputs * taps + ones) * images * rows.output * cols.output;
  return direct / (triangle(inputs + ones) * (images * steps + STORE * taps * taps));
}

export function offsetsPay(node: Node): boolean {
  if (node.op !== 'patch_second_moment') return false;
  const { kernel, inputs, rows, cols } = convolutionOfNode(node);
  if (product(kernel) === 1) return false;
  const { mr, nr } = tileShapes[0];
  const rectangles = flatOffsetsOf(rows).strips.length * flatOffsetsOf(cols).strips.length;
  return rectangles * mr * (inputs + nr) <= MOST_SUMS && offsetGain(node) >= LEAST_GAIN;
}
