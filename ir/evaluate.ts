/**
 * The oracle: runs a function op by op in float64. Slow, exact, and independent of every kernel.
 */
import type { Func, Value } from './graph.js';
import type { Tensor64 } from './ops/declare.js';
import { ops } from './ops/table.js';
import { storedCount } from './types.js';

export type Tensors = Readonly<
  Record<string, Float64Array | Float32Array | Int32Array | Uint8Array | readonly number[]>
>;

export interface Evaluation {
  readonly outputs: Record<string, Float64Array>;
  /** State after the call: all that was given, with the function's updates. */
  readonly state: Record<string, Float64Array>;
  /** Every value by name, for tests that look inside. */
  readonly values: Map<string, Float64Array>;
}

/**
 * With `round`, every result is rounded to f32, as if each op ran exactly and stored its result in float32: what a tolerance
 * for a deep net can be derived from.
 * @param inputs by input name, storedCount elements each
 * @param state by state name; must hold all that the function reads
 * @param due guards that are on; default all
 */
export function evaluate(
  func: Func,
  inputs: Tensors,
  state: Tensors = {},
  due: (guard: string) => boolean = () => true,
  round = false,
): Evaluation {
  const known = new Map<Value, Tensor64>();
  const values = new Map<string, Float64Array>();
  const define = (value: Value, data: Float64Array): void => {
    const want = storedCount(value.type);
    if (data.length !== want)
      throw new Error(`${func.name}: ${value.name} has ${data.length} elements, its type wants ${want}`);
    known.set(value, { type: value.type, data });
    values.set(value.name, data);
  };
  const given = (value: Value, from: Tensors, what: string): void => {
    const data = from[value.name];
    if (!data) throw new Error(`${func.name}: ${what} ${value.name} is not given`);
    define(value, Float64Array.from(data));
  };
  for (const v of func.inputs) given(v, inputs, 'input');
  for (const v of func.reads) given(v, state, 'state');
  for (const node of func.nodes) {
    const on = node.guard === undefined || due(node.guard);
    if (!on && node.op !== 'refresh') continue;
    const operands = node.operands.map((o) => known.get(o));
    const stored = operands[1];
    if (!on && stored) {
      define(node.results[0], stored.data);
      continue;
    }
    const ready = operands.map((t, i) => {
      if (!t)
        throw new Error(
          `${func.name}: ${node.results[0]?.name} reads ${node.operands[i].name}, which is not defined here`,
        );
      return t;
    });
    const results = ops[node.op].evaluate(
      ready,
      node.attrs,
      node.results.map((r) => r.type),
    );
    node.results.forEach((r, i) => {
      define(r, round && r.type.dtype === 'f32' ? results[i].map(Math.fround) : results[i]);
    });
  }
  const read = (v: Value): Float64Array => {
    const t = known.get(v);
    if (!t) throw new Error(`${func.name}: ${v.name} is not defined`);
    return t.data;
  };
  const after: Record<string, Float64Array> = {};
  for (const [name, data] of Object.entries(state)) after[name] = Float64Array.from(data);
  for (const u of func.updates) after[u.state] = read(u.value);
  return { outputs: Object.fromEntries(func.outputs.map((o) => [o.name, read(o.value)])), state: after, values };
}
