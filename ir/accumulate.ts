/**
 * Where values of one micro-batch become values of the whole step. Passes that add statistics and updates mark these places with
 * the op `accumulate`; how many micro-batches (and later, devices) a step has is settled by a pass behind them.
 */
import type { Builder } from './builder.js';
import type { Node, Value } from './graph.js';

export interface Accumulation {
  /** For a mean over examples: the number of valid examples of the micro-batch, f32[]. None: a sum. */
  readonly weight?: Value;
  /** Of the result, and so of the state that holds the sum, in a program that has one. */
  readonly name: string;
  /** Where it is given, what is marked lies below reshapes and transposes, so that all views of one value share its sum. */
  readonly definition?: (v: Value) => Node | undefined;
}

/** `x`, of one micro-batch, over all micro-batches of the step. */
export function accumulated(b: Builder, x: Value, how: Accumulation): Value {
  const node = how.definition?.(x);
  if (node && (node.op === 'reshape' || node.op === 'transpose'))
    return b.node(node.op, [accumulated(b, node.operands[0], how)], { attrs: node.attrs, name: x.name });
  return b.node('accumulate', how.weight ? [x, how.weight] : [x], { name: how.name });
}
