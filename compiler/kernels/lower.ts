/**
 * Region -> kernel: one lowering per archetype, chosen by the region's anchor. A table knows the archetype of every op; each form
 * of kernels, for a CPU and for a GPU, has a lowering for every archetype.
 */
import type { Kernel } from '../../ir/kernel.js';
import type { OpName } from '../../ir/ops/table.js';
import { lowerContraction } from './contraction.js';
import { lowerHistory } from './history.js';
import { lowerGather, lowerScatterAdd } from './indexing.js';
import { lowerPointwise } from './pointwise.js';
import { lowerPool, lowerPoolGrad } from './pooling.js';
import { lowerPoolGradInLanes, poolsFourChannels } from './pooling-lanes.js';
import { lowerReduction } from './reduction.js';
import type { Region } from './region.js';
import { lowerRoutine } from './routine.js';

/** What the ops of a region's anchor need of a kernel. */
export type Archetype =
  | 'pointwise'
  | 'reduction'
  | 'contraction'
  | 'gather'
  | 'scatter'
  | 'pool'
  | 'pool gradient'
  | 'inverse'
  | 'history'
  /** Expanded before kernels are made. */
  | 'composite'
  /** Shares the memory of its operand. */
  | 'alias';

const archetypes = {
  neg: 'pointwise',
  abs: 'pointwise',
  exp: 'pointwise',
  log: 'pointwise',
  sqrt: 'pointwise',
  reciprocal: 'pointwise',
  tanh: 'pointwise',
  erf: 'pointwise',
  sigmoid: 'pointwise',
  relu: 'pointwise',
  sign: 'pointwise',
  floor: 'pointwise',
  is_finite: 'pointwise',
  not: 'pointwise',
  cast: 'pointwise',
  add: 'pointwise',
  sub: 'pointwise',
  mul: 'pointwise',
  div: 'pointwise',
  pow: 'pointwise',
  max: 'pointwise',
  min: 'pointwise',
  equal: 'pointwise',
  less: 'pointwise',
  and: 'pointwise',
  or: 'pointwise',
  select: 'pointwise',
  relu_grad: 'pointwise',
  moving_average: 'pointwise',
  rstd: 'pointwise',
  channel_affine: 'pointwise',
  batch_norm_inference: 'pointwise',
  weighted_square: 'pointwise',
  normalized_product: 'pointwise',
  batch_norm_input_grad: 'pointwise',
  pi: 'pointwise',
  momentum_step: 'pointwise',
  weight_step: 'pointwise',
  if_finite: 'pointwise',
  unit_products: 'pointwise',
  unit_natural: 'pointwise',
  random_uniform: 'pointwise',
  reshape: 'pointwise',
  transpose: 'pointwise',
  broadcast: 'pointwise',
  slice: 'pointwise',
  concat: 'pointwise',
  stack: 'pointwise',
  pad: 'pointwise',
  unpack: 'pointwise',
  fill: 'pointwise',
  iota: 'pointwise',
  reduce_sum: 'reduction',
  reduce_max: 'reduction',
  argmax: 'reduction',
  trace: 'reduction',
  gather: 'gather',
  scatter_add: 'scatter',
  matmul: 'contraction',
  conv: 'contraction',
  conv_input_grad: 'contraction',
  conv_weight_grad: 'contraction',
  second_moment: 'contraction',
  patch_second_moment: 'contraction',
  max_pool: 'pool',
  max_pool_grad: 'pool gradient',
  avg_pool: 'pool',
  avg_pool_grad: 'pool gradient',
  damped_inverse: 'inverse',
  shift_history: 'history',
  refresh: 'alias',
  accumulate: 'composite',
  softmax: 'composite',
  log_softmax: 'composite',
  batch_norm: 'composite',
  batch_norm_grad: 'composite',
} satisfies Record<OpName, Archetype>;

/**
 * One kernel for a region.
 * @param name a legal identifier in every target
 * @returns parameters `p0..pn`: the region's inputs, then its outputs; then scratch memory, where the kernel needs some
 */
export type Lowering = (region: Region, name: string) => Kernel;

/** A form of kernels: a lowering for each archetype that becomes one. */
export type Form = Readonly<Record<Exclude<Archetype, 'composite' | 'alias'>, Lowering>>;

/** The form as one lowering for every region. */
export function lowerIn(form: Form): Lowering {
  return (region, name) => {
    if (!region.anchor) return form.pointwise(region, name);
    const { op } = region.anchor;
    const archetype: Archetype = archetypes[op];
    if (archetype === 'composite') throw new Error(`${op}: composites are expanded before kernels are made`);
    if (archetype === 'alias') throw new Error(`${op}: it shares the memory of its operand and needs no kernel`);
    return form[archetype](region, name);
  };
}

/** For a CPU: few, long iterations of the grid, vector loops inside. */
export const lowerRegion = lowerIn({
  pointwise: lowerPointwise,
  reduction: lowerReduction,
  contraction: lowerContraction,
  gather: lowerGather,
  scatter: lowerScatterAdd,
  pool: lowerPool,
  'pool gradient': (region, name) => (poolsFourChannels(region) ? lowerPoolGradInLanes : lowerPoolGrad)(region, name),
  inverse: lowerRoutine,
  history: lowerHistory,
});
