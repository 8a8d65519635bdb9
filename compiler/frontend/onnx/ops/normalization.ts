/**
 * Normalisation. BatchNormalization, whatever form it has in the file, trains on the batch's statistics and moves the running
 * ones, and predicts with the running ones.
 */
import type { Value } from '../../../../ir/graph.js';
import { type Dim, printShape, product } from '../../../../ir/types.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';
import { positions } from './window.js';

/** running = running * momentum + statistic * (1 - momentum), as ONNX defines it; several nodes may move one statistic. */
function move(n: NodeImport, running: Value, statistic: Value, momentum: number): Value {
  const moved = n.op('moving_average', [n.pass.current(running), statistic], { momentum });
  n.pass.replace(running, moved);
  return moved;
}

/** PyTorch's running variance: the population's by n / (n - 1), n = number of valid examples times positions. */
function unbiased(n: NodeImport, variance: Value, x: Value): Value {
  const count = n.op('mul', [
    n.op('reduce_sum', [n.pass.valid()], { axes: [0], keep: false }),
    n.scalar(positions(x.type.shape)),
  ]);
  const degrees = n.op('max', [n.op('sub', [count, n.scalar(1)]), n.scalar(1)]);
  return n.op('mul', [variance, n.op('div', [count, degrees])]);
}

function batchNormalization(n: NodeImport): readonly Value[] {
  const [x, gamma, beta, mean, variance] = [0, 1, 2, 3, 4].map((i) => n.float(i));
  const channels = x.type.shape[1];
  if (x.type.shape.length < 2 || typeof channels !== 'number')
    n.misfit(`data of shape ${printShape(x.type.shape)}, not [N,C,...]`);
  for (const v of [gamma, beta, mean, variance])
    if (v.type.shape.length !== 1 || v.type.shape[0] !== channels)
      n.misfit(`a parameter of shape ${printShape(v.type.shape)} for ${channels} channels`);
  if (n.opset < 9 && !n.flag('spatial', true)) n.unsupported('spatial = 0 (statistics for each position)');
  // How the file was exported says nothing about how it will be used.
  n.ignoreAttributes('training_mode', 'is_test');
  const attrs = { epsilon: n.number('epsilon', 1e-5) };
  const momentum = n.number('momentum', 0.9);
  if (n.mode === 'predict') {
    const y = n.result('batch_norm_inference', [x, gamma, beta, mean, variance], attrs);
    return [y, mean, variance, mean, variance];
  }
  for (const v of [mean, variance]) if (!n.b.reads.includes(v)) n.unsupported('running statistics that are computed');
  const [y, batchMean, batchVariance] = n.b.multi('batch_norm', [x, gamma, beta, n.pass.valid()], {
    attrs,
    name: n.name,
  });
  const movedMean = move(n, mean, batchMean, momentum);
  const spread = n.pass.bnVariance === 'unbiased' ? unbiased(n, batchVariance, x) : batchVariance;
  const movedVariance = move(n, variance, spread, momentum);
  return [y, movedMean, movedVariance, batchMean, batchVariance];
}

/** How many elements the axes have together. */
function positionsOf(n: NodeImport, x: Value, axes: readonly number[]): number {
  const sizes = axes.map((a) => x.type.shape[a]).filter((d) => typeof d === 'number');
  return sizes.length === axes.length ? product(sizes) : n.unsupported('a normalisation over the batch');
}

/** (x - mean) / sqrt(variance + epsilon) over the given axes; the deviations, too. */
function standardized(n: NodeImport, x: Value, axes: readonly number[]): { y: Value; mean: Value; deviation: Value } {
  const count = positionsOf(n, x, axes);
  const average = (v: Value): Value =>
    n.op('mul', [n.op('reduce_sum', [v], { axes, keep: true }), n.scalar(1 / count)]);
  const mean = average(x);
  const centred = n.op('sub', [x, mean]);
  const variance = average(n.op('mul', [centred, centred]));
  const shifted = n.op('add', [variance, n.scalar(n.number('epsilon', 1e-5))]);
  const deviation = n.op('reciprocal', [n.op('sqrt', [shifted])]);
  return { y: n.op('mul', [centred, deviation]), mean, deviation };
}

function instanceNormalization(n: NodeImport): Value {
  const x = n.float(0);
  const rank = x.type.shape.length;
  if (rank < 3) n.misfit(`data of shape ${printShape(x.type.shape)}, not [N,C,...]`);
  const axes = x.type.shape.map((_, i) => i).slice(2);
  const perChannel = (v: Value): Value => n.reshape(v, [1, v.type.shape[0], ...new Array<Dim>(rank - 2).fill(1)]);
  const scaled = n.op('mul', [standardized(n, x, axes).y, perChannel(n.float(1))]);
  return n.result('add', [scaled, perChannel(n.float(2))]);
}

function layerNormalization(n: NodeImport): readonly Value[] {
  const x = n.float(0);
  // stash_type says in which precision to compute: here always f32.
  n.ignoreAttributes('stash_type');
  const first = n.axis(n.number('axis', -1), x.type.shape.length);
  const axes = x.type.shape.map((_, i) => i).slice(first);
  const { y, mean, deviation } = standardized(n, x, axes);
  const scaled = n.has(2) ? n.op('mul', [y, n.float(1)]) : n.result('mul', [y, n.float(1)]);
  return [n.has(2) ? n.result('add', [scaled, n.float(2)]) : scaled, mean, deviation];
}

/** x / sqrt(mean(x^2) + epsilon) * scale over the axes from `axis` on. */
function rmsNormalization(n: NodeImport): Value {
  const x = n.float(0);
  n.ignoreAttributes('stash_type');
  const axes = x.type.shape.map((_, i) => i).slice(n.axis(n.number('axis', -1), x.type.shape.length));
  const count = positionsOf(n, x, axes);
  const total = n.op('reduce_sum', [n.op('mul', [x, x])], { axes, keep: true });
  const square = n.op('mul', [total, n.scalar(1 / count)]);
  const shifted = n.op('add', [square, n.scalar(n.number('epsilon', 1e-5))]);
  const y = n.op('mul', [x, n.op('reciprocal', [n.op('sqrt', [shifted])])]);
  return n.result('mul', [y, n.float(1)]);
}

/** Standardised over each example's groups of channels; scale and bias are one for each channel (before opset 21: each group). */
function groupNormalization(n: NodeImport): Value {
  const x = n.float(0);
  n.ignoreAttributes('stash_type');
  const [batch, channels, ...rest] = x.type.shape;
  const groups = n.number('num_groups') ?? n.misfit('it has no num_groups');
  if (typeof channels !== 'number' || !(groups > 0) || channels % groups !== 0)
    n.misfit(`${groups} groups in data of shape ${printShape(x.type.shape)}`);
  const width = (channels / groups) * positions(x.type.shape);
  const y = n.reshape(standardized(n, n.reshape(x, [batch, groups, width]), [2]).y, x.type.shape);
  const perChannel = (v: Value): Value => {
    if (v.type.shape.length !== 1 || v.type.shape[0] !== channels)
      n.unsupported(`a parameter of shape ${printShape(v.type.shape)} for ${channels} channels`);
    return n.reshape(v, [1, channels, ...rest.map(() => 1)]);
  };
  return n.result('add', [n.op('mul', [y, perChannel(n.float(1))]), perChannel(n.float(2))]);
}

/** x / |x|, of the p-norm along an axis. */
function lpNormalization(n: NodeImport): Value {
  const x = n.float(0);
  const axis = n.axis(n.number('axis', -1), x.type.shape.length);
  if (typeof x.type.shape[axis] !== 'number') n.unsupported('a normalisation over the batch');
  const p = n.number('p', 2);
  if (p !== 1 && p !== 2) n.unsupported(`p = ${p}`);
  const total = n.op('reduce_sum', [p === 1 ? n.op('abs', [x]) : n.op('mul', [x, x])], { axes: [axis], keep: true });
  const norm = p === 1 ? total : n.op('sqrt', [total]);
  // Where all is zero, zero it stays.
  const divisor = n.op('select', [n.op('less', [zero(n), norm]), norm, n.scalar(1)]);
  return n.result('div', [x, divisor]);
}
const zero = (n: NodeImport): Value => n.scalar(0);

export const normalization: Readonly<Record<string, Handler>> = {
  BatchNormalization: handler(6, batchNormalization),
  InstanceNormalization: handler(6, instanceNormalization),
  LpNormalization: handler(1, lpNormalization),
  LayerNormalization: handler(17, layerNormalization),
  RMSNormalization: handler(23, rmsNormalization),
  GroupNormalization: handler(18, groupNormalization),
};
