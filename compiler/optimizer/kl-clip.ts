/**
 * The trust region of natural gradient: a step lr u changes the model's distribution by about lr^2 <u, F u> = lr^2 <u, g> in
 * KL divergence. Summed over all layers and held under `kl_bound` by scaling all natural steps alike.
 */
import type { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';

/**
 * nu = min(1, sqrt(kl_bound / sum lr^2 <u, g>)), f32[]. Layers whose product is not finite are not updated, so they do not
 * count; where the sum is not positive (rounding) there is nothing to hold back: nu = 1.
 * @param dots <u, g> of each preconditioned parameter, f32[] each; at least one
 */
export function klScale(b: Builder, dots: readonly Value[], lr: Value, bound: Value): Value {
  const all = b.node('stack', dots);
  const sum = b.sumAll(b.select(b.node('is_finite', [all]), all, b.fill(0)));
  const divergence = b.mul(sum, b.mul(lr, lr));
  const one = b.fill(1);
  const scale = b.node('min', [one, b.sqrt(b.div(bound, divergence))]);
  const applies = b.node('less', [b.fill(0), divergence]);
  return b.select(applies, scale, one, 'kl_scale');
}
