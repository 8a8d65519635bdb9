/**
 * Conv: over images, or over rows as images of height one. The bias is an addition behind the core's convolution.
 */
import { printShape } from '../../../../ir/types.js';
import { type Handler, handler } from '../node-import.js';
import { fromImage, imageOf, windowForm } from './window.js';

export const convolution: Readonly<Record<string, Handler>> = {
  Conv: handler(1, (n) => {
    const image = imageOf(n, n.float(0));
    const w = n.float(1);
    const [o, c, ...kernel] = w.type.shape as readonly number[];
    const groups = n.number('group', 1);
    const channels = image.x.type.shape[1] as number;
    if (kernel.length !== image.rank)
      n.misfit(`a weight of ${printShape(w.type.shape)} for images of ${image.rank} dimensions`);
    if (!Number.isInteger(groups) || groups < 1 || c * groups !== channels || o % groups !== 0)
      n.misfit(`a weight of ${printShape(w.type.shape)} in ${groups} groups for ${channels} channels`);
    const { strides, pads, dilations } = windowForm(n, image, kernel);
    const square = image.rank === 2 ? w : n.reshape(w, [o, c, 1, kernel[0]]);
    const attrs = { strides, pads, dilations, groups };
    const withBias = n.has(2);
    const y = n.b.node('conv', [image.x, square], { attrs, name: withBias ? `${n.name}.conv` : n.name });
    if (!withBias) return fromImage(n, y, image);
    const bias = n.float(2);
    if (bias.type.shape.length !== 1 || bias.type.shape[0] !== o)
      n.misfit(`a bias of ${printShape(bias.type.shape)} for ${o} channels`);
    return fromImage(n, n.result('add', [y, n.reshape(bias, [1, o, 1, 1])]), image);
  }),
};
