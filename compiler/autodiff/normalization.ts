/**
 * Closed-form gradients of softmax and batch normalisation. batch_norm_grad leaves each example's own share of the gamma and
 * beta gradients as rows: the curvature pass reads them there (SP-NGD eq 15-16).
 */
import { type Builder, dims } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import { axisOf, numberOf } from '../../ir/ops/declare.js';
import { type NoGradient, notTwice, type Rule, type Site } from './rule.js';

function sumAlong(s: Site, x: Value): Value {
  return s.b.sum(x, [axisOf(s.attrs, x.type.shape.length)], true);
}

function perChannel(b: Builder, v: Value, x: Value): Value {
  return b.reshape(v, [
    1,
    ...dims(v),
    ...dims(x)
      .slice(2)
      .map(() => 1),
  ]);
}

export const normalizationGradients = {
  // y (dy - sum dy y)
  softmax: (s) => [() => s.b.mul(s.y[0], s.b.sub(s.dy, sumAlong(s, s.b.mul(s.dy, s.y[0]))))],
  // dy - softmax sum dy
  log_softmax: (s) => [() => s.b.sub(s.dy, s.b.mul(s.b.node('exp', [s.y[0]]), sumAlong(s, s.dy)))],
  batch_norm: (s) => {
    const [x, gamma, , valid] = s.x;
    const [, mean, variance] = s.y;
    let built: Value[] | undefined;
    const grad = (): Value[] => {
      built ??= s.b.multi('batch_norm_grad', [x, s.dy, gamma, mean, variance, valid], {
        attrs: { epsilon: numberOf(s.attrs, 'epsilon') },
        name: s.dx(0),
      });
      return built;
    };
    return [() => grad()[0], () => s.b.sum(grad()[1], [0]), () => s.b.sum(grad()[2], [0]), undefined];
  },
  batch_norm_grad: notTwice,
  batch_norm_inference: (s) => {
    const { b } = s;
    const [x, gamma, , mean, variance] = s.x;
    const rest = dims(x)
      .map((_, i) => i)
      .filter((i) => i !== 1);
    const damped = () => b.add(variance, s.scalar(numberOf(s.attrs, 'epsilon')));
    const scale = () => b.div(gamma, b.sqrt(damped()));
    const byBeta = () => b.sum(s.dy, rest);
    const byScale = () => b.sum(b.mul(s.dy, b.sub(x, perChannel(b, mean, x))), rest);
    return [
      () => b.mul(s.dy, perChannel(b, scale(), x)),
      () => b.div(byScale(), b.sqrt(damped())),
      byBeta,
      () => b.neg(b.mul(byBeta(), scale())),
      // y depends on the variance through (variance + epsilon)^(-1/2).
      () => b.mul(b.mul(byScale(), s.scalar(-0.5)), b.div(scale(), damped())),
    ];
  },
} satisfies Record<string, Rule | NoGradient>;
