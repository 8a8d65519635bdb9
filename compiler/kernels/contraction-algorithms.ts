/**
 * The ordered list of contraction algorithms: the first whose predicate holds lowers the node.
 */
import type { Node } from '../../ir/graph.js';
import type { Stmt } from '../../ir/kernel.js';
import { lowerCorrelation } from './contraction-correlation.js';
import { isDepthwise, lowerDepthwise } from './contraction-depthwise.js';
import { isNarrowDepthwise, lowerNarrowDepthwise } from './contraction-depthwise-lanes.js';
import { lowerMatmul } from './contraction-matmul.js';
import { isNarrow, lowerNarrowMoment } from './contraction-narrow-moment.js';
import { offsetsPay, winogradMomentPays } from './contraction-offset-cost.js';
import { lowerOffsetMoment } from './contraction-offset-moment.js';
import { isPointwise, lowerPointwise } from './contraction-pointwise.js';
import { lowerSecondMoment } from './contraction-second-moment.js';
import type { Contraction } from './contraction-tile.js';
import { lowerWeightGradient } from './contraction-weight-gradient.js';
import { lowerWinograd, winogradPays } from './contraction-winograd.js';
import { lowerWinogradGradient, winogradGradientPays } from './contraction-winograd-gradient.js';
import { lowerWinogradMoment } from './contraction-winograd-moment.js';

export interface Algorithm {
  readonly name: string;
  readonly fits: (node: Node) => boolean;
  readonly lower: (contraction: Contraction) => Stmt[];
}

export const offsetCorrelations: Algorithm = {
  name: 'offset-correlations',
  fits: offsetsPay,
  lower: lowerOffsetMoment,
};

export const winogradMoment: Algorithm = {
  name: 'winograd-moment',
  fits: winogradMomentPays,
  lower: lowerWinogradMoment,
};

export const contractionAlgorithms: readonly Algorithm[] = [
  /** A convolution that is a product. */
  { name: 'pointwise-gemm', fits: isPointwise, lower: lowerPointwise },
  /** Groups of one channel: channels as lanes where rows are short. */
  { name: 'narrow-depthwise', fits: isNarrowDepthwise, lower: lowerNarrowDepthwise },
  /** Groups of one channel: all taps written out, outputs as lanes. */
  { name: 'depthwise', fits: isDepthwise, lower: lowerDepthwise },
  /** Three rows of taps: six rows of products for four of outputs. */
  { name: 'winograd', fits: winogradPays, lower: lowerWinograd },
  /** Sums over channels and taps: tiles read images that were copied once into group memory, with their padding. */
  {
    name: 'implicit-gemm',
    fits: (n) => n.op === 'conv' || n.op === 'conv_input_grad',
    lower: lowerCorrelation,
  },
  /** Second moments of a handful of features in each group: dot products. */
  { name: 'narrow-moment', fits: isNarrow, lower: lowerNarrowMoment },
  /** Three rows of taps: six rows of products for four of output gradients. */
  { name: 'winograd-gradient', fits: winogradGradientPays, lower: lowerWinogradGradient },
  /** Sums over examples and positions; tiles read images that were copied channel-last. */
  { name: 'position-gemm', fits: (n) => n.op === 'conv_weight_grad', lower: lowerWeightGradient },
  /** The same as the next, its rows by Winograd. */
  winogradMoment,
  /** Windows that overlap: correlations of the channels, each shared by all pairs of taps at one distance. */
  offsetCorrelations,
  /** The same with patches on both sides: they are packed, and only the lower triangle is computed. */
  {
    name: 'symmetric-gemm',
    fits: (n) => n.op === 'second_moment' || n.op === 'patch_second_moment',
    lower: lowerSecondMoment,
  },
  { name: 'blocked-gemm', fits: (n) => n.op === 'matmul', lower: lowerMatmul },
];

export function chooseAlgorithm(node: Node): Algorithm {
  const found = contractionAlgorithms.find((a) => a.fits(node));
  if (!found) throw new Error(`${node.op} has no contraction algorithm`);
  return found;
}
