/**
 * The vocabulary of each graph level: at which level an op appears first. What a user can write is in the model; what
 * autodiff and curvature add comes with the training graph. Composites are gone before a graph is placed.
 */
import { type GraphLevel, graphLevels } from './graph.js';
import { type OpName, opNames, ops } from './ops/table.js';

export const firstLevel = {
  neg: 'model',
  abs: 'model',
  exp: 'model',
  log: 'model',
  sqrt: 'model',
  reciprocal: 'model',
  tanh: 'model',
  erf: 'model',
  sigmoid: 'model',
  relu: 'model',
  sign: 'model',
  floor: 'model',
  is_finite: 'model',
  not: 'model',
  cast: 'model',
  add: 'model',
  sub: 'model',
  mul: 'model',
  div: 'model',
  pow: 'model',
  max: 'model',
  min: 'model',
  equal: 'model',
  less: 'model',
  and: 'model',
  or: 'model',
  select: 'model',
  relu_grad: 'train',
  moving_average: 'model',
  rstd: 'train',
  channel_affine: 'train',
  weighted_square: 'train',
  normalized_product: 'train',
  batch_norm_input_grad: 'train',
  pi: 'train',
  momentum_step: 'train',
  weight_step: 'train',
  if_finite: 'train',
  unit_products: 'train',
  unit_natural: 'train',
  reshape: 'model',
  transpose: 'model',
  broadcast: 'model',
  slice: 'model',
  concat: 'model',
  stack: 'train',
  pad: 'model',
  fill: 'model',
  iota: 'model',
  reduce_sum: 'model',
  reduce_max: 'model',
  argmax: 'model',
  gather: 'model',
  scatter_add: 'train',
  random_uniform: 'model',
  matmul: 'model',
  conv: 'model',
  // A transposed convolution of the model is this op too.
  conv_input_grad: 'model',
  conv_weight_grad: 'train',
  max_pool: 'model',
  max_pool_grad: 'train',
  avg_pool: 'model',
  avg_pool_grad: 'train',
  softmax: 'model',
  log_softmax: 'model',
  batch_norm: 'model',
  batch_norm_grad: 'train',
  batch_norm_inference: 'model',
  second_moment: 'train',
  patch_second_moment: 'train',
  trace: 'train',
  damped_inverse: 'train',
  shift_history: 'train',
  unpack: 'train',
  accumulate: 'train',
  refresh: 'train',
} satisfies Record<OpName, GraphLevel>;

const admittedAt = (level: GraphLevel): ReadonlySet<OpName> =>
  new Set(
    opNames.filter(
      (op) =>
        graphLevels.indexOf(firstLevel[op]) <= graphLevels.indexOf(level) &&
        (level !== 'placed' || ops[op].fuse !== 'composite'),
    ),
  );

const vocabulary = {
  model: admittedAt('model'),
  train: admittedAt('train'),
  placed: admittedAt('placed'),
} satisfies Record<GraphLevel, ReadonlySet<OpName>>;

export function admits(level: GraphLevel, op: OpName): boolean {
  return vocabulary[level].has(op);
}
