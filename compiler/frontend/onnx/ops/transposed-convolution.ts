/**
 * ConvTranspose: the convolution's input gradient, of an image as large as the padding leaves it.
 */
import type { Value } from '../../../../ir/graph.js';
import { printShape } from '../../../../ir/types.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';
import { fromImage, imageOf, pairOf } from './window.js';

function transposed(n: NodeImport): Value {
  const image = imageOf(n, n.float(0));
  const w = n.float(1);
  const [channels, perGroup, ...kernelShape] = w.type.shape as readonly number[];
  const groups = n.number('group', 1);
  if (kernelShape.length !== image.rank || channels !== image.x.type.shape[1] || channels % groups !== 0)
    n.misfit(
      `a weight of ${printShape(w.type.shape)} in ${groups} groups for data of ${printShape(image.x.type.shape)}`,
    );
  n.ignoreAttributes('kernel_shape');
  const kernel = image.rank === 2 ? kernelShape : [1, kernelShape[0]];
  const strides = pairOf(n, 'strides', image.rank, n.ints('strides'), 1);
  const dilations = pairOf(n, 'dilations', image.rank, n.ints('dilations'), 1);
  const zero = new Array<number>(image.rank).fill(0);
  const more = pairOf(n, 'output_padding', image.rank, n.ints('output_padding') ?? zero, 0, 0);
  const shape = n.ints('output_shape');
  const wanted = shape && pairOf(n, 'output_shape', image.rank, shape.slice(-image.rank), 1);
  const auto = n.text('auto_pad', 'NOTSET') || 'NOTSET';
  const pads = n.ints('pads') ?? new Array<number>(2 * image.rank).fill(0);
  if (pads.length !== 2 * image.rank) n.misfit(`pads = [${pads}]`);
  const [sizes, low, high] = [
    [0, 0],
    [0, 0],
    [0, 0],
  ];
  [image.height, image.width].forEach((size, d) => {
    const full = strides[d] * (size - 1) + more[d] + (kernel[d] - 1) * dilations[d] + 1;
    const own = d - (2 - image.rank);
    const [before, behind] = own < 0 ? [0, 0] : [pads[own], pads[own + image.rank]];
    const target = own < 0 ? full : (wanted?.[d] ?? (auto.startsWith('SAME') ? size * strides[d] : undefined));
    // An image that is larger than all windows ends in zeros.
    const all = target === undefined ? before + behind : Math.max(0, full - target);
    if (target === undefined) [low[d], high[d]] = auto === 'VALID' ? [0, 0] : [before, behind];
    else {
      const half = Math.floor(all / 2);
      // The odd element goes in front, but for SAME_UPPER.
      [low[d], high[d]] = auto === 'SAME_UPPER' ? [half, all - half] : [all - half, half];
    }
    sizes[d] = target ?? full - low[d] - high[d];
    if (low[d] < 0 || high[d] < 0 || sizes[d] < 1) n.unsupported(`pads = [${low[d]},${high[d]}]`);
  });
  const square = image.rank === 2 ? w : n.reshape(w, [channels, perGroup, 1, kernelShape[0]]);
  const attrs = { strides, pads: [...low, ...high], dilations, groups, height: sizes[0], width: sizes[1] };
  const withBias = n.has(2);
  const y = n.b.node('conv_input_grad', [image.x, square], { attrs, name: withBias ? `${n.name}.conv` : n.name });
  if (!withBias) return fromImage(n, y, image);
  return fromImage(n, n.result('add', [y, n.reshape(n.float(2), [1, perGroup * groups, 1, 1])]), image);
}

export const transposedConvolution: Readonly<Record<string, Handler>> = {
  ConvTranspose: handler(1, transposed),
};
