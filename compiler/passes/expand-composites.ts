/**
 * Expands softmax, log_softmax and batch normalisation into primitive ops, once autodiff and curvature have read them whole.
 * The reductions that come out over the same tensor are what horizontal fusion later runs in one pass.
 */
import type { Builder } from '../../ir/builder.js';
import type { Module, Node, Value } from '../../ir/graph.js';
import type { OpName } from '../../ir/ops/table.js';
import { mapFunctions, rebuild } from '../../ir/rewrite.js';
import { concrete, product } from '../../ir/types.js';

type Expand = (node: Node, operands: readonly Value[], b: Builder) => readonly Value[];

/** x minus its maximum along the axis: exponentials of it cannot overflow. */
function shifted(b: Builder, x: Value, axis: number): Value {
  return b.sub(x, b.node('reduce_max', [x], { attrs: { axes: [axis], keep: true }, name: `${x.name}.max` }));
}

/** A per-example vector [N] as [N, 1, ...]. */
function perExample(b: Builder, v: Value, rank: number): Value {
  const shape = [v.type.shape[0], ...new Array<number>(rank - 1).fill(1)];
  return b.once(`${v.name} of rank ${rank}`, () => b.reshape(v, shape));
}

/** Number of valid examples times positions. */
function elements(b: Builder, valid: Value, x: Value): Value {
  const positions = product(concrete(x.type.shape).slice(2));
  return b.once(`${valid.name} times ${positions}`, () => b.mul(b.sumAll(valid), b.fill(positions)));
}

const allButChannel = (x: Value): number[] => x.type.shape.map((_, i) => i).filter((i) => i !== 1);

const rstd = (b: Builder, variance: Value, epsilon: number): Value =>
  b.once(`rstd of ${variance.name}, ${epsilon}`, () => b.node('rstd', [variance], { attrs: { epsilon } }));

/** gamma / sqrt(variance + epsilon), as forward and backward pass both need it. */
const scaleOf = (b: Builder, gamma: Value, variance: Value, epsilon: number): Value =>
  b.once(`${gamma.name} by ${variance.name}, ${epsilon}`, () => b.mul(gamma, rstd(b, variance, epsilon)));

const rules: Partial<Record<OpName, Expand>> = {
  softmax: (node, [x], b) => {
    const axis = node.attrs.axis as number;
    const e = b.node('exp', [shifted(b, x, axis)]);
    return [b.div(e, b.sum(e, [axis], true), node.results[0].name)];
  },
  log_softmax: (node, [x], b) => {
    const axis = node.attrs.axis as number;
    const z = shifted(b, x, axis);
    const sum = b.sum(b.node('exp', [z]), [axis], true);
    return [b.sub(z, b.node('log', [sum]), node.results[0].name)];
  },
  batch_norm: (node, [x, gamma, beta, valid], b) => {
    const [y, mean, variance] = node.results;
    const weight = perExample(b, valid, x.type.shape.length);
    const count = elements(b, valid, x);
    const mu = b.div(b.sum(b.mul(x, weight), allButChannel(x)), count, mean.name);
    const v = b.div(b.sum(b.node('weighted_square', [x, mu, valid]), allButChannel(x)), count, variance.name);
    const scale = scaleOf(b, gamma, v, node.attrs.epsilon as number);
    return [b.node('channel_affine', [x, mu, scale, beta], { name: y.name }), mu, v];
  },
  batch_norm_grad: (node, [x, dy, gamma, mean, variance, valid], b) => {
    const [dx, gammaRows, betaRows] = node.results;
    const positions = x.type.shape.map((_, i) => i).slice(2);
    const deviation = rstd(b, variance, node.attrs.epsilon as number);
    const product = b.node('normalized_product', [dy, x, mean, deviation]);
    const byGamma = b.sum(product, positions, false, gammaRows.name);
    const byBeta = b.sum(dy, positions, false, betaRows.name);
    const count = elements(b, valid, x);
    const [gammaSum, betaSum] = [byGamma, byBeta].map((rows) => b.sum(rows, [0]));
    const scale = scaleOf(b, gamma, variance, node.attrs.epsilon as number);
    const operands = [dy, x, mean, deviation, scale, gammaSum, betaSum, count, valid];
    return [b.node('batch_norm_input_grad', operands, { name: dx.name }), byGamma, byBeta];
  },
};

export function expandComposites(module: Module): Module {
  return mapFunctions(module, (func) =>
    rebuild(func, 'expand-composites', { replace: (node, operands, b) => rules[node.op]?.(node, operands, b) }),
  );
}
