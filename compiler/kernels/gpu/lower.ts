/**
 * Region -> kernel for a GPU: the same regions as for a CPU, in loops that thousands of threads share.
 */
import type { Kernel } from '../../../ir/kernel.js';
import { Frame, finishKernel } from '../frame.js';
import { lowerIn } from '../lower.js';
import { pointwiseNests } from '../pointwise.js';
import type { Region } from '../region.js';
import { lowerContraction } from './contraction.js';
import { lowerHistory } from './history.js';
import { lowerGather, lowerScatterAdd } from './indexing.js';
import { lowerInverse } from './inverse.js';
import { lowerPool, lowerPoolGrad } from './pooling.js';
import { lowerReduction } from './reduction.js';
import { elementShare, gridOf } from './shares.js';

/** A thread makes one element of each output; all nests share the grid. */
export function lowerPointwise(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  return finishKernel(frame, name, gridOf(frame, pointwiseNests(frame).map(elementShare)));
}

export const lowerForGpu = lowerIn({
  pointwise: lowerPointwise,
  reduction: lowerReduction,
  contraction: lowerContraction,
  gather: lowerGather,
  scatter: lowerScatterAdd,
  pool: lowerPool,
  'pool gradient': lowerPoolGrad,
  inverse: lowerInverse,
  history: lowerHistory,
});
