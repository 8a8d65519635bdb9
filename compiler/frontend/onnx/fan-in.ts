/**
 * How many products each output of a layer sums, for every state entry that is a weight of one. Read off the core graph, where
 * transposes, reshapes and the many forms of ONNX are settled.
 */
import { definitions, type Func, type Value } from '../../../ir/graph.js';
import { flagOf, intsOf, numberOf } from '../../../ir/ops/declare.js';

/** By name of the state entry; the first layer that uses it counts. */
export function fanIns(functions: readonly Func[]): Map<string, number> {
  const out = new Map<string, number>();
  for (const func of functions) {
    const defs = definitions(func);
    const reads = new Set(func.reads);
    const note = (v: Value, count: unknown): void => {
      let root = v;
      for (let d = defs.get(root); d?.op === 'reshape' || d?.op === 'transpose'; d = defs.get(root))
        root = d.operands[0];
      if (reads.has(root) && typeof count === 'number' && !out.has(root.name)) out.set(root.name, count);
    };
    for (const { op, operands, attrs } of func.nodes) {
      if (op === 'conv') {
        const [, ...taps] = operands[1].type.shape as readonly number[];
        note(
          operands[1],
          taps.reduce((p, d) => p * d, 1),
        );
      } else if (op === 'conv_input_grad') {
        // Each output meets every stride-th tap of a channel.
        const [channels, , ...kernel] = operands[1].type.shape as readonly number[];
        const strides = intsOf(attrs, 'strides');
        const met = kernel.map((k, d) => Math.ceil(k / strides[d]));
        note(operands[1], (channels / numberOf(attrs, 'groups')) * met[0] * met[1]);
      } else if (op === 'matmul') {
        const [a, b] = operands;
        note(b, b.type.shape.at(flagOf(attrs, 'tb') ? -1 : -2));
        note(a, a.type.shape.at(flagOf(attrs, 'ta') ? -2 : -1));
      }
    }
  }
  return out;
}
