/**
 * Contractions: a region around a matrix product, a convolution or one of its gradients, or a second moment, to one kernel.
 * Operands may be computed by a prologue; the epilogue finishes each element while its tile is in registers.
 */
import type { Kernel } from '../../ir/kernel.js';
import { type Algorithm, chooseAlgorithm } from './contraction-algorithms.js';
import type { TileChoice } from './contraction-tile.js';
import { Elements, epilogueOf } from './elements.js';
import { Frame, finishKernel } from './frame.js';
import type { Region } from './region.js';

export type { TileChoice } from './contraction-tile.js';

/**
 * @param choice overrides of the algorithm's tile choice
 * @param algorithm instead of the first that fits
 * @returns parameters `p0..pn`: the region's inputs, then its outputs
 */
export function lowerContraction(
  region: Region,
  name: string,
  choice: Partial<TileChoice> = {},
  algorithm?: Algorithm,
): Kernel {
  const anchor = region.anchor;
  if (!anchor) throw new Error(`${name}: a contraction needs an anchor`);
  if ([...anchor.operands, ...anchor.results].some((v) => v.type.dtype !== 'f32'))
    throw new Error(`${name}: ${anchor.op} is lowered for f32 only`);
  const frame = new Frame(region);
  const elements = new Elements(region, frame.parameters);
  const finish = epilogueOf(region, elements);
  const { lower } = algorithm ?? chooseAlgorithm(anchor);
  return finishKernel(frame, name, lower({ anchor, elements, finish, choice }));
}
