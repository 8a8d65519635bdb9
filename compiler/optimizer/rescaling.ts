/**
 * Weight rescaling ("Normalizing Weights", SP-NGD eq 24): w <- sqrt(2 d_out) w / (||w|| + 1e-9) after the update, for
 * convolution and fully connected weights. `shrink` applies the factor only when it is below one, as the authors' code does.
 */
import type { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import type { WeightRescaling } from '../../ir/presets.js';

/** @param outputs d_out: number of output features or channels */
export function rescaled(b: Builder, weight: Value, outputs: number, how: WeightRescaling): Value {
  if (how === 'off') return weight;
  const norm = b.sqrt(b.sumAll(b.mul(weight, weight)));
  const factor = b.div(b.fill(Math.sqrt(2 * outputs)), b.add(norm, b.fill(1e-9)));
  return b.mul(weight, how === 'shrink' ? b.node('min', [factor, b.fill(1)]) : factor);
}
