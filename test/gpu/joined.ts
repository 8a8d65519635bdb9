/**
 * Small steps that share one dispatch: chains that wait for each other inside of a workgroup.
 */
import { tensor } from '../../ir/types.js';
import { builder, joinedProblem, type Problem } from './problem.js';

/** Sums that wait for sums: a normalisation by hand. */
function normalisation(): Problem {
  const b = builder();
  const x = b.input('x', tensor('f32', [8, 30]));
  const mean = b.mul(b.sum(x, [0]), b.fill(1 / 8));
  const centred = b.sub(x, b.broadcast(mean, [8, 30]));
  const variance = b.mul(b.sum(b.mul(centred, centred), [0]), b.fill(1 / 8));
  const y = b.div(centred, b.broadcast(b.sqrt(b.add(variance, b.fill(1e-3))), [8, 30]));
  b.output('y', y);
  b.output('mean', mean);
  b.output('norm', b.sqrt(b.sumAll(b.mul(y, y))));
  return joinedProblem('joined: sums that wait for sums', b.finish());
}

/** The end of a training step: products and norms of many parameters, one scale, all updates. */
function clippedUpdates(): Problem {
  const b = builder();
  const parameters = [1, 2, 3].map((k) => {
    const type = tensor('f32', [k * 5, 3]);
    return { w: b.input(`w${k}`, type), g: b.input(`g${k}`, type) };
  });
  const dots = parameters.map(({ w, g }) => b.sumAll(b.mul(w, g)));
  const total = dots.reduce((sum, dot) => b.add(sum, dot));
  const scale = b.node('min', [b.fill(1), b.node('reciprocal', [b.add(b.node('abs', [total]), b.fill(1))])]);
  parameters.forEach(({ w, g }, k) => {
    b.output(`next${k}`, b.sub(w, b.mul(g, scale)));
  });
  return joinedProblem('joined: one scale for many updates', b.finish());
}

function softmax(rows: number, classes: number): Problem {
  const b = builder();
  const x = b.input('x', tensor('f32', [rows, classes]));
  const largest = b.node('reduce_max', [x], { attrs: { axes: [1], keep: true } });
  const e = b.node('exp', [b.sub(x, b.broadcast(largest, [rows, classes]))]);
  const sum = b.sum(e, [1], true);
  b.output('p', b.div(e, b.broadcast(sum, [rows, classes])));
  b.output('loss', b.sumAll(b.node('log', [sum])));
  return joinedProblem(`joined: softmax of [${rows},${classes}]`, b.finish());
}

export const joinedProblems: readonly Problem[] = [normalisation(), clippedUpdates(), softmax(8, 10), softmax(64, 100)];
