/**
 * Region -> kernel for a GPU: the same regions as for a CPU, in loops that thousands of threads share. A table that knows every
 * op.
 */
import type { Kernel } from '../../../ir/kernel.js';
import type { OpName } from '../../../ir/ops/table.js';
import { Frame, finishKernel } from '../frame.js';
import { alias, composite, type Lowering } from '../lower.js';
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

const lowerings = {
  neg: lowerPointwise,
  abs: lowerPointwise,
  exp: lowerPointwise,
  log: lowerPointwise,
  sqrt: lowerPointwise,
  reciprocal: lowerPointwise,
  tanh: lowerPointwise,
  erf: lowerPointwise,
  sigmoid: lowerPointwise,
  relu: lowerPointwise,
  sign: lowerPointwise,
  floor: lowerPointwise,
  is_finite: lowerPointwise,
  not: lowerPointwise,
  cast: lowerPointwise,
  add: lowerPointwise,
  sub: lowerPointwise,
  mul: lowerPointwise,
  div: lowerPointwise,
  pow: lowerPointwise,
  max: lowerPointwise,
  min: lowerPointwise,
  equal: lowerPointwise,
  less: lowerPointwise,
  and: lowerPointwise,
  or: lowerPointwise,
  select: lowerPointwise,
  random_uniform: lowerPointwise,
  reshape: lowerPointwise,
  transpose: lowerPointwise,
  broadcast: lowerPointwise,
  slice: lowerPointwise,
  concat: lowerPointwise,
  pad: lowerPointwise,
  unpack: lowerPointwise,
  fill: lowerPointwise,
  iota: lowerPointwise,
  reduce_sum: lowerReduction,
  reduce_max: lowerReduction,
  argmax: lowerReduction,
  trace: lowerReduction,
  gather: lowerGather,
  scatter_add: lowerScatterAdd,
  matmul: lowerContraction,
  conv: lowerContraction,
  conv_input_grad: lowerContraction,
  conv_weight_grad: lowerContraction,
  second_moment: lowerContraction,
  patch_second_moment: lowerContraction,
  max_pool: lowerPool,
  max_pool_grad: lowerPoolGrad,
  avg_pool: lowerPool,
  avg_pool_grad: lowerPoolGrad,
  damped_inverse: lowerInverse,
  shift_history: lowerHistory,
  refresh: alias,
  softmax: composite,
  log_softmax: composite,
  batch_norm: composite,
  batch_norm_grad: composite,
  batch_norm_inference: composite,
} satisfies Record<OpName, Lowering>;

/**
 * One kernel for the region.
 * @param name a legal identifier in every target
 * @returns parameters `p0..pn`: the region's inputs, then its outputs; then scratch memory, where the kernel needs some
 */
export function lowerForGpu(region: Region, name: string): Kernel {
  return region.anchor ? lowerings[region.anchor.op](region, name) : lowerPointwise(region, name);
}
