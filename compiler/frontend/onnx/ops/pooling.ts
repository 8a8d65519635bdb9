/**
 * Pooling. Global pooling is a reduction; local response normalisation is an average over neighbouring channels.
 */
import type { Value } from '../../../../ir/graph.js';
import { printShape } from '../../../../ir/types.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';
import { fromImage, imageOf, pooledSize, positions, windowForm } from './window.js';

function maxPool(n: NodeImport): Value {
  const image = imageOf(n, n.float(0));
  const w = windowForm(n, image);
  // Only the order of the indices in the second result depends on it, and that result is not given.
  n.ignoreAttributes('storage_order');
  const [height, width] = pooledSize(n, w, image, n.flag('ceil_mode', false));
  return fromImage(n, n.result('max_pool', [image.x], { ...w, height, width }), image);
}

function averagePool(n: NodeImport): Value {
  const image = imageOf(n, n.float(0));
  const { kernel, strides, pads, dilations } = windowForm(n, image);
  if (dilations.some((d) => d !== 1)) n.unsupported(`dilations = [${dilations}]`);
  const [height, width] = pooledSize(n, { kernel, strides, pads, dilations }, image, n.flag('ceil_mode', false));
  const attrs = { kernel, strides, pads, height, width, count_include_pad: n.flag('count_include_pad', false) };
  return fromImage(n, n.result('avg_pool', [image.x], attrs), image);
}

/** Axes of all positions of [N, C, ...]. */
function positionAxes(n: NodeImport, x: Value): number[] {
  const { shape } = x.type;
  if (shape.length < 3 || shape.slice(2).some((d) => typeof d !== 'number'))
    n.misfit(`data of shape ${printShape(shape)}, not [N,C,...]`);
  return shape.map((_, i) => i).slice(2);
}

/** y = x / (bias + alpha * mean)^beta, where mean = (sum of x^2 over `size` neighbouring channels) / size. */
function lrn(n: NodeImport): Value {
  const x = n.float(0);
  const size = n.number('size') ?? n.misfit('attribute "size" is missing');
  const [batch, channels] = x.type.shape;
  positionAxes(n, x);
  if (!Number.isInteger(size) || size < 1 || size > 2 ** 20) n.misfit(`size = ${size}`);
  const area = positions(x.type.shape);
  const front = Math.floor((size - 1) / 2);
  const asImage = n.reshape(n.op('mul', [x, x]), [batch, 1, channels, area]);
  const mean = n.op('avg_pool', [asImage], {
    kernel: [size, 1],
    strides: [1, 1],
    pads: [front, 0, size - 1 - front, 0],
    height: channels as number,
    width: area,
    count_include_pad: true,
  });
  const scaled = n.op('mul', [n.reshape(mean, x.type.shape), n.scalar(n.number('alpha', 1e-4))]);
  const base = n.op('add', [scaled, n.scalar(n.number('bias', 1))]);
  return n.result('div', [x, n.op('pow', [base, n.scalar(n.number('beta', 0.75))])]);
}

export const pooling: Readonly<Record<string, Handler>> = {
  MaxPool: handler(1, maxPool),
  // Before opset 7 padding always counted.
  AveragePool: handler(7, averagePool),
  GlobalAveragePool: handler(1, (n) => {
    const x = n.float(0);
    const sum = n.op('reduce_sum', [x], { axes: positionAxes(n, x), keep: true });
    return n.result('mul', [sum, n.scalar(1 / positions(x.type.shape))]);
  }),
  GlobalMaxPool: handler(1, (n) => {
    const x = n.float(0);
    return n.result('reduce_max', [x], { axes: positionAxes(n, x), keep: true });
  }),
  LRN: handler(1, lrn),
};
