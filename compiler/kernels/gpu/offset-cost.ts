/**
 * Where offset correlations are quicker than the direct triangle on a GPU: by steps of staged blocks, where there is work for
 * every multiprocessor. What a step costs is about the same in both forms.
 */
import type { Node } from '../../../ir/graph.js';
import { flagOf } from '../../../ir/ops/declare.js';
import { product } from '../../../ir/types.js';
import { convolutionOfNode } from '../contraction-convolution.js';
import { flatOffsetsOf } from '../contraction-offsets.js';
import { ceilDiv } from '../contraction-tile.js';
import type { BlockChoice } from './block-choice.js';

/** Distances are shared out, taps are not: there are fewer workgroups than in the direct form, and too few keep a device idle. */
const ENOUGH = 128;
/** Counted steps are all that is known of a device: a clear gain is asked for. */
const LEAST_GAIN = 2;

const triangle = (n: number, block: number): number => {
  const along = ceilDiv(n, block);
  return (along * (along + 1)) / 2;
};

/** The first of the choices for which it pays, or undefined. */
export function offsetBlocks(node: Node, choices: readonly BlockChoice[]): BlockChoice | undefined {
  if (node.op !== 'patch_second_moment') return undefined;
  const { images, groups, inputs, kernel, rows, cols } = convolutionOfNode(node);
  const taps = product(kernel);
  if (taps === 1) return undefined;
  const ones = Number(flagOf(node.attrs, 'ones'));
  const [dy, dx] = [flatOffsetsOf(rows), flatOffsetsOf(cols)];
  return choices.find((c) => {
    const blocks = triangle(inputs + ones, c.rows);
    if (c.rows > 2 * inputs || groups * blocks * dy.offsets.length * dx.offsets.length < ENOUGH) return false;
    let steps = 0;
    for (const { count: height } of dy.strips)
      for (const { count: width } of dx.strips) steps += ceilDiv(images * height * width, c.depth);
    const direct = triangle(inputs * taps + ones, c.rows) * ceilDiv(images * rows.output * cols.output, c.depth);
    return direct >= LEAST_GAIN * blocks * steps;
  });
}
