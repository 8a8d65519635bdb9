/**
 * Layer-wise adaptive rate scaling (LARS; You et al., arXiv 1708.03888, algorithm 1): each weight's step is made relative to
 * the weight's own norm.
 */
import type { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';

/**
 * lambda = trust ||w|| / (||g|| + decay ||w||), f32[]; 1 where either norm is zero or not finite: a weight that starts at zero must be
 * able to leave it.
 * @param gradient without weight decay
 * @param decay beta, f32[]; undefined: none
 */
export function trustRatio(b: Builder, weight: Value, gradient: Value, trust: Value, decay: Value | undefined): Value {
  const norm = (x: Value) => b.sqrt(b.sumAll(b.mul(x, x)));
  const [w, g] = [norm(weight), norm(gradient)];
  const whole = decay ? b.add(g, b.mul(decay, w)) : g;
  const ratio = b.div(b.mul(trust, w), whole);
  const product = b.mul(w, g);
  const sound = b.node('and', [b.node('less', [b.fill(0), product]), b.node('is_finite', [product])]);
  return b.select(sound, ratio, b.fill(1), 'trust_ratio');
}
