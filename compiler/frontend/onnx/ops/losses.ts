/**
 * Losses that a model computes itself. The mean counts valid examples only, as every reduction over the batch does.
 */
import type { Value } from '../../../../ir/graph.js';
import { type Dim, printShape, product } from '../../../../ir/types.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';

/** -log p[label], weighted by class; labels [N, ...] of log probabilities [N, C, ...]. */
function negativeLogLikelihood(n: NodeImport, logp: Value): Value {
  const [batch, classes, ...rest] = logp.type.shape;
  const labels = n.value(1);
  if (typeof classes !== 'number' || labels.type.dtype !== 'i32')
    return n.misfit(`labels of type ${labels.type.dtype} for scores of shape ${printShape(logp.type.shape)}`);
  const column = n.reshape(labels, [batch, 1, ...rest]);
  const attrs = { shape: [1, classes, ...rest.map(() => 1)], axis: 1, dtype: 'i32' };
  const chosen = n.op('equal', [n.op('iota', [], attrs), column]);
  const pick = (from: Value): Value =>
    n.op('reduce_sum', [n.op('select', [chosen, from, n.scalar(0)])], { axes: [1], keep: false });
  const weight = n.has(2) ? pick(n.reshape(n.float(2), [1, classes, ...rest.map(() => 1)])) : undefined;
  return reduced(n, pick(logp), weight, labels);
}

/** Sum, weighted mean or all of the losses. */
function reduced(n: NodeImport, picked: Value, byClass: Value | undefined, labels: Value): Value {
  const { shape } = picked.type;
  const axes = shape.map((_, i) => i);
  const ignored = n.number('ignore_index');
  const weights: Value[] = byClass ? [byClass] : [];
  if (ignored !== undefined) {
    const kept = n.op('not', [n.op('equal', [labels, n.scalar(ignored, 'i32')])]);
    weights.push(n.b.cast(kept, 'f32', `${n.name}.kept`));
  }
  const losses = n.op('neg', [picked]);
  const times = (v: Value, all: readonly Value[]): Value => all.reduce((p, f) => n.op('mul', [p, f]), v);
  const reduction = n.text('reduction', 'mean');
  if (reduction === 'none') return times(losses, weights);
  if (n.mode === 'train') weights.push(n.reshape(n.pass.valid(), [shape[0], ...shape.slice(1).map((): Dim => 1)]));
  const sum = (v: Value): Value => n.op('reduce_sum', [v], { axes, keep: false });
  const total = sum(times(losses, weights));
  if (reduction === 'sum') return total;
  if (reduction !== 'mean') n.unsupported(`reduction = "${reduction}"`);
  const positions = product(shape.slice(1) as number[]);
  const [first, ...others] = weights.length > 0 ? weights : [n.b.fill(1, [shape[0]], 'f32', `${n.name}.examples`)];
  const all = sumAll(n, times(first, others));
  // Weights that are one for all positions of an example are summed over examples only.
  const each = others.length === 0 && !byClass && ignored === undefined ? positions : 1;
  return n.result('div', [total, each === 1 ? all : n.op('mul', [all, n.scalar(each)])]);
}

const sumAll = (n: NodeImport, v: Value): Value => n.b.sumAll(v, `${n.name}.count`);

export const losses: Readonly<Record<string, Handler>> = {
  NegativeLogLikelihoodLoss: handler(12, (n) => negativeLogLikelihood(n, n.float(0))),
  SoftmaxCrossEntropyLoss: handler(12, (n) => {
    const logp = n.op('log_softmax', [n.float(0)], { axis: 1 });
    return [negativeLogLikelihood(n, logp), logp];
  }),
};
