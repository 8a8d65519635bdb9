/**
 * Where offset correlations are quicker than the direct triangle, and those with Winograd's rows than the others, on the wasm target. All
 * are counted in steps of a register tile, one position each; `bench/offset.ts` and `bench/winograd.ts` say how well that foretells
 * what is measured.
 */
import type { Node } from '../../ir/graph.js';
import { flagOf } from '../../ir/ops/declare.js';
import { product } from '../../ir/types.js';
import { convolutionOfNode } from './contraction-convolution.js';
import { flatOffsetsOf, MOST_SUMS } from './contraction-offsets.js';
import { ceilDiv, tileShapes } from './contraction-tile.js';
import { planWinogradMoment } from './contraction-winograd-moment-plan.js';
import { POINTS, ROWS } from './winograd.js';

/** Steps that it takes to begin a row of positions. */
const ROW = 2;
/** Steps that it takes to store a tile's results of one pair of taps. */
const STORE = 20;
/** Steps that it takes to transform a panel's positions, for each tile of rows, and to add a tile to its sums. */
const TRANSFORM = 2;
const VISIT = 4;
/** Measured gains are 0.95 to 2.5 times the expected ones, the more so the less is gained: nothing chosen was slower. */
const LEAST_GAIN = 1.1;
/** Gains of Winograd's rows were 0.66 to 0.93 times the expected ones (`bench/winograd.ts`): what is chosen was 1.2 to 1.9 times as fast. */
const LEAST_WINOGRAD_GAIN = 1.45;

/** Register tiles that touch the lower triangle of n x n. */
function triangle(n: number): number {
  const { mr, nr } = tileShapes[0];
  let tiles = 0;
  for (let i = 0; i < n; i += mr) tiles += ceilDiv(Math.min(i + mr, n), nr);
  return tiles;
}

/** Steps of the direct form, and of offset correlations. */
function steps(node: Node): { readonly direct: number; readonly offsets: number } {
  const { images, inputs, kernel, rows, cols } = convolutionOfNode(node);
  const ones = Number(flagOf(node.attrs, 'ones'));
  const taps = product(kernel);
  let positions = 0;
  for (const { count: height } of flatOffsetsOf(rows).strips)
    for (const { count: width } of flatOffsetsOf(cols).strips)
      positions += height * width + ROW * Math.min(width, height);
  return {
    direct: triangle(inputs * taps + ones) * images * rows.output * cols.output,
    offsets: triangle(inputs + ones) * (images * positions + STORE * taps * taps),
  };
}

/** How many times as fast as the direct form the node's factor is expected to be. */
export function offsetGain(node: Node): number {
  const { direct, offsets } = steps(node);
  return direct / offsets;
}

/** How many times as fast as other offset correlations those with Winograd's rows are expected to be; 0 where they cannot be. */
export function winogradMomentGain(node: Node): number {
  const plan = planWinogradMoment(node);
  if (!plan) return 0;
  const { images, inputs, kernel, cols } = convolutionOfNode(node);
  const { mr, nr } = tileShapes[0];
  const [panels, tileRows] = [ceilDiv(inputs, nr), plan.tileRows];
  const tiles = ceilDiv(inputs, mr) * panels;
  let all = 0;
  for (const { count: width } of flatOffsetsOf(cols).strips) {
    const along = (height: number): number => height * width + ROW * Math.min(width, height);
    all += tiles * POINTS * along(tileRows);
    for (const { count, distance } of plan.rows.pieces)
      all += (distance === 0 ? triangle(inputs) : tiles) * along(count);
  }
  const transforms = TRANSFORM * panels * plan.rowBlocks * cols.input * ROWS * tileRows;
  const visits =
    tiles * ceilDiv(images, plan.imagesAtOnce) * flatOffsetsOf(cols).strips.length * (POINTS + plan.rows.pieces.length);
  const store = (STORE / 2) * tiles * product(kernel) ** 2;
  return steps(node).offsets / (images * (all + transforms) + VISIT * visits + store);
}

export function offsetsPay(node: Node): boolean {
  if (node.op !== 'patch_second_moment') return false;
  const { kernel, inputs, rows, cols } = convolutionOfNode(node);
  if (product(kernel) === 1) return false;
  const { mr, nr } = tileShapes[0];
  const rectangles = flatOffsetsOf(rows).strips.length * flatOffsetsOf(cols).strips.length;
  return rectangles * mr * (inputs + nr) <= MOST_SUMS && offsetGain(node) >= LEAST_GAIN;
}

/** Where Winograd's rows are quicker than other offset correlations. */
export function winogradMomentPays(node: Node): boolean {
  return offsetsPay(node) && winogradMomentGain(node) >= LEAST_WINOGRAD_GAIN;
}
