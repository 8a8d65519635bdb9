/**
 * Joins a function's scalar outputs into the one small vector `metrics`: all that the host reads back after a call.
 */
import { Builder } from '../../ir/builder.js';
import { findFunction, type Module } from '../../ir/graph.js';

/** @returns the module and the names of the vector's elements, in the order of the outputs that they were. */
export function packMetrics(module: Module, name: string): { readonly module: Module; readonly metrics: readonly string[] } {
  const func = findFunction(module, name);
  const b = Builder.from({ ...func, outputs: [] }, 'pack-metrics');
  const scalars = func.outputs.map((o) => b.reshape(b.cast(o.value, 'f32'), [1]));
  b.output('metrics', b.node('concat', scalars, { attrs: { axis: 0 }, name: 'metrics' }));
  const packed = b.finish();
  return {
    module: { ...module, functions: module.functions.map((f) => (f === func ? packed : f)) },
    metrics: func.outputs.map((o) => o.name),
  };
}
