/**
 * One small vector is all that is read back from a step: scalars and short rows joined in a fixed order.
 */
import { type Builder, dims } from '../../ir/builder.js';
import type { Output } from '../../ir/graph.js';
import { product } from '../../ir/types.js';

/** Adds the output `metrics`, f32[k]; returns the elements' names: that of a scalar, or `name[0]`, `name[1]`, ... of a row. */
export function packMetrics(b: Builder, given: readonly Output[]): readonly string[] {
  const values = given.map((s) => s.value);
  const rows = () => values.map((v) => b.reshape(v, [product(dims(v))]));
  const all = values.every((v) => dims(v).length === 0)
    ? b.node('stack', values, { name: 'metrics' })
    : b.node('concat', rows(), { attrs: { axis: 0 }, name: 'metrics' });
  b.output('metrics', all);
  return given.flatMap(({ name, value }) =>
    dims(value).length === 0 ? [name] : Array.from({ length: product(dims(value)) }, (_, i) => `${name}[${i}]`),
  );
}
