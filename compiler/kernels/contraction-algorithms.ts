/**
 * The ordered list of contraction algorithms: the first whose predicate holds lowers the node.
 */
import type { Node } from '../../ir/graph.js';
import type { Stmt } from '../../ir/kernel.js';
import { lowerCorrelation } from './contraction-correlation.js';
import { lowerMoment } from './contraction-moment.js';
import { lowerProduct } from './contraction-product.js';
import type { Contraction } from './contraction-tile.js';

export interface Algorithm {
  readonly name: string;
  readonly fits: (node: Node) => boolean;
  readonly lower: (contraction: Contraction) => Stmt[];
}

export const contractionAlgorithms: readonly Algorithm[] = [
  /** Sums over channels and taps: tiles read images that were copied once into group memory, with their padding. */
  {
    name: 'implicit-gemm',
    fits: (n) => n.op === 'conv' || n.op === 'conv_input_grad',
    lower: lowerCorrelation,
  },
  /** Sums over examples and positions: tiles read images that were copied channel-last. */
  {
    name: 'positions-gemm',
    fits: (n) => n.op === 'conv_weight_grad' || n.op === 'second_moment' || n.op === 'patch_second_moment',
    lower: lowerMoment,
  },
  { name: 'blocked-gemm', fits: (n) => n.op === 'matmul', lower: lowerProduct },
];

export function chooseAlgorithm(node: Node): Algorithm {
  const found = contractionAlgorithms.find((a) => a.fits(node));
  if (!found) throw new Error(`${node.op} has no contraction algorithm`);
  return found;
}
