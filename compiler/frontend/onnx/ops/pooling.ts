/**
 * Pooling. Global pooling is a reduction; local response normalisation is an average over neighbouring channels.
 */
import type { Value } from '../../../../ir/graph.js';
import { printShape } from '../../../../ir/types.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';
import { fromImage, type Image, imageOf, pooledSize, positions, windowForm } from './window.js';

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
  if (dilations.some((d) => d !== 1)) return fromImage(n, dilatedAverage(n, image), image);
  const [height, width] = pooledSize(n, { kernel, strides, pads, dilations }, image, n.flag('ceil_mode', false));
  const attrs = { kernel, strides, pads, height, width, count_include_pad: n.flag('count_include_pad', false) };
  return fromImage(n, n.result('avg_pool', [image.x], attrs), image);
}

/** Sums over windows, as a convolution of each channel with ones. */
function windowSums(n: NodeImport, image: Image): { sums: (x: Value) => Value; area: number } {
  const w = windowForm(n, image);
  if (n.flag('ceil_mode', false)) n.unsupported('ceil_mode = 1');
  const { strides, pads, dilations, kernel } = w;
  const sums = (v: Value): Value => {
    const channels = v.type.shape[1] as number;
    const ones = n.b.fill(1, [channels, 1, ...kernel], 'f32', `${n.name}.ones`);
    return n.op('conv', [v, ones], { strides, pads, dilations, groups: channels });
  };
  return { sums, area: kernel[0] * kernel[1] };
}

function dilatedAverage(n: NodeImport, image: Image): Value {
  const { sums, area } = windowSums(n, image);
  const total = sums(image.x);
  if (n.flag('count_include_pad', false)) return n.op('mul', [total, n.scalar(1 / area)]);
  const counts = sums(n.b.fill(1, [1, 1, image.height, image.width], 'f32', `${n.name}.inside`));
  return n.op('div', [total, counts]);
}

/** (sum of |x|^p over the window)^(1/p) */
function lpPool(n: NodeImport): Value {
  const image = imageOf(n, n.float(0));
  const p = n.number('p', 2);
  const power = p === 2 ? n.op('mul', [image.x, image.x]) : n.op('pow', [n.op('abs', [image.x]), n.scalar(p)]);
  const total = windowSums(n, image).sums(power);
  return fromImage(n, p === 2 ? n.op('sqrt', [total]) : n.op('pow', [total, n.scalar(1 / p)]), image);
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
  LpPool: handler(2, lpPool),
  LRN: handler(1, lrn),
};
