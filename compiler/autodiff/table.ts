/**
 * The gradient of every op, or the reason why it has none. A new op fails to type-check until it has its row.
 */
import type { OpName } from '../../ir/ops/table.js';
import { contractionGradients, poolingGradients } from './contractions.js';
import { elementwiseGradients } from './elementwise.js';
import { normalizationGradients } from './normalization.js';
import { reductionGradients } from './reductions.js';
import { type NoGradient, notTwice, type Rule } from './rule.js';
import { viewGradients } from './views.js';

const afterwards: NoGradient = { none: 'it belongs to the update, which no loss depends on' };

export const gradients: Readonly<Record<OpName, Rule | NoGradient>> = {
  ...elementwiseGradients,
  ...viewGradients,
  ...reductionGradients,
  ...contractionGradients,
  ...poolingGradients,
  ...normalizationGradients,
  relu_grad: notTwice,
  moving_average: { none: 'running statistics are for use, not for training' },
  // What batch normalisation is expanded into, behind autodiff.
  rstd: afterwards,
  channel_affine: afterwards,
  weighted_square: afterwards,
  normalized_product: afterwards,
  batch_norm_input_grad: afterwards,
  pi: afterwards,
  momentum_step: afterwards,
  weight_step: afterwards,
  if_finite: afterwards,
  unit_products: afterwards,
  unit_natural: afterwards,
  second_moment: afterwards,
  patch_second_moment: afterwards,
  trace: afterwards,
  stack: afterwards,
  damped_inverse: afterwards,
  shift_history: afterwards,
  unpack: afterwards,
  accumulate: afterwards,
  refresh: afterwards,
} satisfies Record<OpName, Rule | NoGradient>;
