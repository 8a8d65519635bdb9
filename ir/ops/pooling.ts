/**
 * Pooling over NCHW images, with gradients. The output size is an attribute, so that ceil mode is settled on import.
 */
import type { Attrs } from '../graph.js';
import { concrete, elementCount, type TensorType } from '../types.js';
import { forEachTap, imageSizes, windowOf } from './contractions.js';
import { fail, flagOf, numberOf, type OpDef, real, shaped, type Tensor64 } from './declare.js';

/** x pooled to the stated size: at most so many windows as begin, of which the last may end beyond the padding (ceil mode). */
function pooled(x: TensorType, attrs: Attrs): TensorType {
  const [n, c, ...image] = imageSizes(x, 'x');
  const { kernel, strides, pads, dilations } = windowOf(attrs);
  const size = [numberOf(attrs, 'height'), numberOf(attrs, 'width')];
  size.forEach((windows, d) => {
    const covered = dilations[d] * (kernel[d] - 1) + 1;
    const fit = (image[d] + pads[d] + pads[d + 2] - covered) / strides[d] + 1;
    if (windows < 1 || windows > Math.ceil(fit))
      fail(`${windows} windows over ${image[d]} elements, of which ${fit} fit`);
  });
  return { ...x, shape: [n, c, ...size] };
}

function planes(x: TensorType): { count: number; image: [number, number] } {
  const [n, c, h, w] = concrete(x.shape);
  return { count: n * c, image: [h, w] };
}

/** For each output of each plane: flat offset of the first maximum in row-major window order (-1: window lies in the padding). */
function maxima(x: Tensor64, attrs: Attrs): { at: Int32Array; best: Float64Array } {
  const { count, image } = planes(x.type);
  const output: [number, number] = [numberOf(attrs, 'height'), numberOf(attrs, 'width')];
  const size = output[0] * output[1];
  const at = new Int32Array(count * size).fill(-1);
  const best = new Float64Array(count * size).fill(Number.NEGATIVE_INFINITY);
  for (let p = 0; p < count; p++) {
    forEachTap(windowOf(attrs), image, output, (oy, ox, _ky, _kx, iy, ix) => {
      const o = p * size + oy * output[1] + ox;
      const i = (p * image[0] + iy) * image[1] + ix;
      if (at[o] < 0 || x.data[i] > best[o]) {
        at[o] = i;
        best[o] = x.data[i];
      }
    });
  }
  return { at, best };
}

/** Number of elements that an average divides by, for each output position. ONNX AveragePool: pads count with count_include_pad, what lies beyond them (ceil mode) never does. */
function divisors(attrs: Attrs, image: readonly [number, number]): Float64Array {
  const w = windowOf(attrs);
  const output: [number, number] = [numberOf(attrs, 'height'), numberOf(attrs, 'width')];
  const counted = new Float64Array(output[0] * output[1]);
  const padded = flagOf(attrs, 'count_include_pad');
  const shifted = padded ? { ...w, pads: [0, 0, 0, 0] as const } : w;
  const area: [number, number] = padded
    ? [image[0] + w.pads[0] + w.pads[2], image[1] + w.pads[1] + w.pads[3]]
    : [image[0], image[1]];
  forEachTap(shifted, area, output, (oy, ox) => {
    counted[oy * output[1] + ox]++;
  });
  return counted;
}

const windowFlops: OpDef['flops'] = (operands, attrs, results) => {
  const [kh, kw] = windowOf(attrs).kernel;
  return kh * kw * Math.min(elementCount(results[0]), ...operands.map(elementCount));
};

const poolAttrs = { kernel: 'ints', strides: 'ints', pads: 'ints', height: 'int', width: 'int' } as const;

export const poolingOps = {
  max_pool: {
    arity: [1, 1],
    fuse: 'opaque',
    attrs: { ...poolAttrs, dilations: 'ints' },
    infer: ([x], attrs) => [pooled(x, attrs)],
    evaluate: ([x], attrs) => [maxima(x, attrs).best],
    flops: windowFlops,
  },
  /** (x, dy) -> dx. The first maximum of a window, in row-major order, takes the gradient. */
  max_pool_grad: {
    arity: [2, 2],
    fuse: 'opaque',
    attrs: { ...poolAttrs, dilations: 'ints' },
    infer: ([x, dy], attrs) => {
      shaped(real(dy, 'dy'), pooled(x, attrs).shape, 'dy');
      return [x];
    },
    evaluate: ([x, dy], attrs) => {
      const out = new Float64Array(x.data.length);
      maxima(x, attrs).at.forEach((i, o) => {
        if (i >= 0) out[i] += dy.data[o];
      });
      return [out];
    },
    flops: windowFlops,
  },
  avg_pool: {
    arity: [1, 1],
    fuse: 'opaque',
    attrs: { ...poolAttrs, count_include_pad: 'flag' },
    infer: ([x], attrs) => [pooled(x, attrs)],
    evaluate: ([x], attrs, [r]) => {
      const { count, image } = planes(x.type);
      const output: [number, number] = [numberOf(attrs, 'height'), numberOf(attrs, 'width')];
      const out = new Float64Array(elementCount(r));
      const by = divisors(attrs, image);
      for (let p = 0; p < count; p++)
        forEachTap(windowOf(attrs), image, output, (oy, ox, _ky, _kx, iy, ix) => {
          out[p * by.length + oy * output[1] + ox] +=
            x.data[(p * image[0] + iy) * image[1] + ix] / by[oy * output[1] + ox];
        });
      return [out];
    },
    flops: windowFlops,
  },
  /** (dy) -> dx[N,C,input_height,input_width]. */
  avg_pool_grad: {
    arity: [1, 1],
    fuse: 'opaque',
    attrs: { ...poolAttrs, count_include_pad: 'flag', input_height: 'int', input_width: 'int' },
    infer: ([dy], attrs) => {
      const [n, c] = imageSizes(dy, 'dy');
      const x = { ...dy, shape: [n, c, numberOf(attrs, 'input_height'), numberOf(attrs, 'input_width')] };
      shaped(dy, pooled(x, attrs).shape, 'dy');
      return [x];
    },
    evaluate: ([dy], attrs, [r]) => {
      const { count, image } = planes(r);
      const output: [number, number] = [numberOf(attrs, 'height'), numberOf(attrs, 'width')];
      const out = new Float64Array(elementCount(r));
      const by = divisors(attrs, image);
      for (let p = 0; p < count; p++)
        forEachTap(windowOf(attrs), image, output, (oy, ox, _ky, _kx, iy, ix) => {
          out[(p * image[0] + iy) * image[1] + ix] +=
            dy.data[p * by.length + oy * output[1] + ox] / by[oy * output[1] + ox];
        });
      return [out];
    },
    flops: windowFlops,
  },
} satisfies Record<string, OpDef>;
