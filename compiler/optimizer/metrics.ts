/**
 * One small vector is all that is read back from a step: scalars joined in a fixed order.
 */
import type { Builder } from '../../ir/builder.js';
import type { Output } from '../../ir/graph.js';

/** Adds the output `metrics`, f32[k]; returns the elements' names. */
export function packMetrics(b: Builder, scalars: readonly Output[]): readonly string[] {
  const elements = scalars.map((s) => b.reshape(s.value, [1]));
  b.output('metrics', b.node('concat', elements, { attrs: { axis: 0 }, name: 'metrics' }));
  return scalars.map((s) => s.name);
}
