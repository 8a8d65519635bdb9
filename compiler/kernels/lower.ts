/**
 * Region -> kernel: one lowering per archetype, chosen by the region's anchor from a table that knows every op.
 */
import type { Kernel } from '../../ir/kernel.js';
import type { OpName } from '../../ir/ops/table.js';
import { lowerContraction } from './contraction.js';
import { lowerHistory } from './history.js';
import { lowerGather, lowerScatterAdd } from './indexing.js';
import { lowerPointwise } from './pointwise.js';
import { lowerPool, lowerPoolGrad } from './pooling.js';
import { lowerReduction } from './reduction.js';
import type { Region } from './region.js';
import { lowerRoutine } from './routine.js';

export type Lowering = (region: Region, name: string) => Kernel;

const never =
  (why: string): Lowering =>
  (region) => {
    throw new Error(`${region.anchor?.op}: ${why}`);
  };
export const composite = never('composites are expanded before kernels are made');
export const alias = never('it shares the memory of its operand and needs no kernel');

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
  damped_inverse: lowerRoutine,
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
 * @returns parameters `p0..pn`: the region's inputs, then its outputs
 */
export function lowerRegion(region: Region, name: string): Kernel {
  return region.anchor ? lowerings[region.anchor.op](region, name) : lowerPointwise(region, name);
}
