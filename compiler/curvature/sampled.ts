/**
 * The second backward pass, by labels drawn from the model (1mc): what the statistics of the Fisher read in place of the
 * gradients for the training labels. All that nothing else needs, from the draw on, goes under one guard, so that it runs only
 * in steps in which a statistic is due that reads it.
 */
import { InferredNode } from '../../ir/builder.js';
import { SAMPLED, SAMPLED_LOSS, sampledGradient } from '../../ir/fisher.js';
import { ancestors, type Func, type Output, type Value } from '../../ir/graph.js';

export interface Sampled {
  /** Without the outputs of the second pass. */
  readonly func: Func;
  /** The gradient of a parameter by drawn labels. */
  readonly gradientOf: (parameter: string) => Value | undefined;
}

/** Undefined where labels are not drawn. */
export function takeSampled(func: Func): Sampled | undefined {
  const own = (o: Output): boolean => o.name === SAMPLED_LOSS || o.name.startsWith(sampledGradient('').slice(0, -1));
  const outputs = func.outputs.filter((o) => !own(o));
  if (outputs.length === func.outputs.length) return undefined;
  const always = ancestors(func, [...outputs.map((o) => o.value), ...func.updates.map((u) => u.value)]);
  const nodes = func.nodes.map((n) =>
    n.results.some((r) => always.has(r))
      ? n
      : new InferredNode(n.op, n.operands, n.attrs, n.results, n.loc, n.guard ?? SAMPLED),
  );
  const gradients = new Map(func.outputs.filter(own).map((o) => [o.name, o.value]));
  return {
    func: { ...func, nodes, outputs },
    gradientOf: (parameter) => gradients.get(sampledGradient(parameter)),
  };
}
