/**
 * Matrix products and convolutions with their two gradients. Convolutions are NCHW; a "window" is the common
 * description of stride, padding and dilation that pooling shares.
 */
import type { Attrs } from '../graph.js';
import {
  broadcastShapes,
  concrete,
  type Dim,
  dimEquals,
  elementCount,
  isConcrete,
  printDim,
  printType,
  product,
  strides,
  type TensorType,
} from '../types.js';
import { fail, flagOf, intsOf, numberOf, type OpDef, real } from './declare.js';

export interface Window {
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  /** top, left, bottom, right */
  readonly pads: readonly [number, number, number, number];
  readonly dilations: readonly [number, number];
}

function listOf<T extends readonly number[]>(attrs: Attrs, name: string, length: number, least: number): T {
  const v = intsOf(attrs, name);
  if (v.length !== length || v.some((n) => !Number.isInteger(n) || n < least))
    fail(`${name} must be ${length} integers >= ${least}, not [${v}]`);
  return v as unknown as T;
}

/** Reads a window from attributes; the kernel from `kernel` unless given. */
export function windowOf(attrs: Attrs, kernel?: readonly [number, number]): Window {
  return {
    kernel: kernel ?? listOf(attrs, 'kernel', 2, 1),
    strides: listOf(attrs, 'strides', 2, 1),
    pads: listOf(attrs, 'pads', 4, 0),
    dilations: 'dilations' in attrs ? listOf(attrs, 'dilations', 2, 1) : [1, 1],
  };
}

/** Output height and width of a window over an h x w image. */
export function windowOutput(w: Window, height: number, width: number): [number, number] {
  const size = (n: number, d: 0 | 1): number => {
    const covered = w.dilations[d] * (w.kernel[d] - 1) + 1;
    const out = Math.floor((n + w.pads[d] + w.pads[d + 2] - covered) / w.strides[d]) + 1;
    return out >= 1 ? out : fail(`a kernel of ${w.kernel} does not fit an image of ${height} x ${width}`);
  };
  return [size(height, 0), size(width, 1)];
}

export function imageSizes(t: TensorType, what: string): [Dim, number, number, number] {
  const [n, c, h, w] = real(t, what).shape;
  if (t.shape.length !== 4 || typeof c !== 'number' || typeof h !== 'number' || typeof w !== 'number')
    return fail(`${what} must be [N,C,H,W]`);
  return [n, c, h, w];
}

/** Calls `visit` for every (output position, tap) pair that falls into the image: (oy, ox, ky, kx, iy, ix). */
export function forEachTap(
  w: Window,
  image: readonly [number, number],
  output: readonly [number, number],
  visit: (oy: number, ox: number, ky: number, kx: number, iy: number, ix: number) => void,
): void {
  for (let oy = 0; oy < output[0]; oy++)
    for (let ox = 0; ox < output[1]; ox++)
      for (let ky = 0; ky < w.kernel[0]; ky++) {
        const iy = oy * w.strides[0] - w.pads[0] + ky * w.dilations[0];
        if (iy < 0 || iy >= image[0]) continue;
        for (let kx = 0; kx < w.kernel[1]; kx++) {
          const ix = ox * w.strides[1] - w.pads[1] + kx * w.dilations[1];
          if (ix >= 0 && ix < image[1]) visit(oy, ox, ky, kx, iy, ix);
        }
      }
}

/** [O, C/groups, kh, kw] of a weight, which must fit `channels` input channels. */
function weightSizes(w: TensorType, channels: number, attrs: Attrs): readonly number[] {
  const groups = numberOf(attrs, 'groups');
  const [o, cg, kh, kw] = real(w, 'weight').shape;
  if (
    w.shape.length !== 4 ||
    !isConcrete(w.shape) ||
    groups < 1 ||
    !Number.isInteger(cg) ||
    Number(cg) * groups !== channels ||
    Number(o) % groups !== 0
  )
    return fail(`weight ${printType(w)} does not fit ${channels} channels in ${groups} groups`);
  return [o, cg, kh, kw] as readonly number[];
}

/** Fails unless a convolution of the image has this output. */
function gradientFits(w: Window, image: readonly [number, number], output: readonly [number, number]): void {
  const [oh, ow] = windowOutput(w, ...image);
  if (oh !== output[0] || ow !== output[1]) fail(`the output of an image of ${image} is ${[oh, ow]}, not ${output}`);
}

interface ConvSizes {
  readonly n: number;
  readonly c: number;
  readonly image: readonly [number, number];
  readonly o: number;
  readonly output: readonly [number, number];
  readonly groups: number;
  readonly window: Window;
}

/**
 * All multiply-adds of the convolution, a row of outputs at a time: output y + i meets weight w and input x + i * step, for
 * i < length. `visit` gets flat offsets.
 */
function forEachRow(
  s: ConvSizes,
  visit: (x: number, step: number, w: number, y: number, length: number) => void,
): void {
  const cg = s.c / s.groups;
  const og = s.o / s.groups;
  const { kernel, pads, dilations } = s.window;
  const [sy, sx] = s.window.strides;
  const [height, width] = s.image;
  for (let n = 0; n < s.n; n++)
    for (let o = 0; o < s.o; o++)
      for (let c = 0; c < cg; c++) {
        const plane = n * s.c + Math.floor(o / og) * cg + c;
        for (let ky = 0; ky < kernel[0]; ky++)
          for (let kx = 0; kx < kernel[1]; kx++) {
            const shift = kx * dilations[1] - pads[1];
            const first = Math.max(0, Math.ceil(-shift / sx));
            const last = Math.min(s.output[1] - 1, Math.floor((width - 1 - shift) / sx));
            if (last < first) continue;
            for (let oy = 0; oy < s.output[0]; oy++) {
              const iy = oy * sy - pads[0] + ky * dilations[0];
              if (iy < 0 || iy >= height) continue;
              visit(
                (plane * height + iy) * width + first * sx + shift,
                sx,
                ((o * cg + c) * kernel[0] + ky) * kernel[1] + kx,
                ((n * s.o + o) * s.output[0] + oy) * s.output[1] + first,
                last - first + 1,
              );
            }
          }
      }
}

function convSizes(x: TensorType, y: TensorType, w: TensorType, attrs: Attrs): ConvSizes {
  const [n, c, h, wd] = concrete(x.shape);
  const [, o, oh, ow] = concrete(y.shape);
  const [, , kh, kw] = concrete(w.shape);
  return {
    n,
    c,
    image: [h, wd],
    o,
    output: [oh, ow],
    groups: numberOf(attrs, 'groups'),
    window: windowOf(attrs, [kh, kw]),
  };
}

function convFlops(y: TensorType, w: TensorType): number {
  const [, cg, kh, kw] = concrete(w.shape);
  return 2 * elementCount(y) * cg * kh * kw;
}

const convAttrs = { strides: 'ints', pads: 'ints', dilations: 'ints', groups: 'int' } as const;

export const contractionOps = {
  /** Last two axes; leading axes broadcast. ta, tb: transpose the last two axes of a, of b. */
  matmul: {
    arity: [2, 2],
    fuse: 'contraction',
    attrs: { ta: 'flag', tb: 'flag' },
    infer: ([a, b], attrs) => {
      if (real(a, 'a').shape.length < 2 || real(b, 'b').shape.length < 2) fail('matmul needs operands of rank >= 2');
      if (a.dtype !== b.dtype) fail('matmul needs operands of one type');
      const [m, ka] = flagOf(attrs, 'ta')
        ? [a.shape[a.shape.length - 1], a.shape[a.shape.length - 2]]
        : a.shape.slice(-2);
      const [kb, n] = flagOf(attrs, 'tb')
        ? [b.shape[b.shape.length - 1], b.shape[b.shape.length - 2]]
        : b.shape.slice(-2);
      if (!dimEquals(ka, kb)) fail(`matmul: inner dimensions ${printDim(ka)} and ${printDim(kb)} differ`);
      const batch =
        broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2)) ??
        fail('matmul: leading dimensions do not broadcast');
      return [{ ...a, shape: [...batch, m, n] }];
    },
    evaluate: ([a, b], attrs, [r]) => {
      const as = concrete(a.type.shape);
      const bs = concrete(b.type.shape);
      const rs = concrete(r.shape);
      const [m, n] = rs.slice(-2);
      const ta = flagOf(attrs, 'ta');
      const tb = flagOf(attrs, 'tb');
      const k = ta ? as[as.length - 2] : as[as.length - 1];
      const batch = rs.slice(0, -2);
      const offset = (shape: readonly number[], index: readonly number[]): number => {
        const own = strides(shape.slice(0, -2));
        const lead = batch.length - (shape.length - 2);
        return (
          own.reduce((s, st, i) => s + (shape[i] === 1 ? 0 : index[i + lead] * st), 0) *
          shape[shape.length - 2] *
          shape[shape.length - 1]
        );
      };
      const out = new Float64Array(product(rs));
      const total = product(batch);
      const bStrides = strides(batch);
      for (let t = 0; t < total; t++) {
        const index = batch.map((d, i) => Math.floor(t / bStrides[i]) % d);
        const ao = offset(as, index);
        const bo = offset(bs, index);
        for (let i = 0; i < m; i++)
          for (let l = 0; l < k; l++) {
            const av = a.data[ao + (ta ? l * m + i : i * k + l)];
            for (let j = 0; j < n; j++) out[(t * m + i) * n + j] += av * b.data[bo + (tb ? j * k + l : l * n + j)];
          }
      }
      return [out];
    },
    flops: ([a], attrs, [r]) => 2 * elementCount(r) * concrete(a.shape)[a.shape.length - (flagOf(attrs, 'ta') ? 2 : 1)],
  },
  /** (x[N,C,H,W], w[O,C/groups,kh,kw]) -> [N,O,OH,OW]. */
  conv: {
    arity: [2, 2],
    fuse: 'contraction',
    attrs: convAttrs,
    infer: ([x, w], attrs) => {
      const [n, c, h, wd] = imageSizes(x, 'x');
      const [o, , kh, kw] = weightSizes(w, c, attrs);
      if (w.dtype !== x.dtype) fail('x and weight must have one type');
      return [{ ...x, shape: [n, o, ...windowOutput(windowOf(attrs, [kh, kw]), h, wd)] }];
    },
    evaluate: ([x, w], attrs, [r]) => {
      const out = new Float64Array(elementCount(r));
      forEachRow(convSizes(x.type, r, w.type, attrs), (i, step, k, j, length) => {
        const weight = w.data[k];
        for (let e = 0; e < length; e++) out[j + e] += x.data[i + e * step] * weight;
      });
      return [out];
    },
    flops: ([, w], _a, [r]) => convFlops(r, w),
  },
  /** (dy[N,O,OH,OW], w) -> dx[N,C,height,width]. */
  conv_input_grad: {
    arity: [2, 2],
    fuse: 'contraction',
    attrs: { ...convAttrs, height: 'int', width: 'int' },
    infer: ([dy, w], attrs) => {
      const [n, o, oh, ow] = imageSizes(dy, 'dy');
      const c = Number(w.shape[1]) * numberOf(attrs, 'groups');
      const [wo, , kh, kw] = weightSizes(w, c, attrs);
      const image = [numberOf(attrs, 'height'), numberOf(attrs, 'width')] as const;
      gradientFits(windowOf(attrs, [kh, kw]), image, [oh, ow]);
      if (o !== wo || w.dtype !== dy.dtype) fail(`dy ${printType(dy)} does not fit weight ${printType(w)}`);
      return [{ ...dy, shape: [n, c, ...image] }];
    },
    evaluate: ([dy, w], attrs, [r]) => {
      const out = new Float64Array(elementCount(r));
      forEachRow(convSizes(r, dy.type, w.type, attrs), (i, step, k, j, length) => {
        const weight = w.data[k];
        for (let e = 0; e < length; e++) out[i + e * step] += dy.data[j + e] * weight;
      });
      return [out];
    },
    flops: ([dy, w]) => convFlops(dy, w),
  },
  /** (x, dy) -> dw[O,C/groups,kh,kw]; attribute kernel = [kh, kw]. */
  conv_weight_grad: {
    arity: [2, 2],
    fuse: 'contraction',
    attrs: { ...convAttrs, kernel: 'ints' },
    infer: ([x, dy], attrs) => {
      const [n, c, h, wd] = imageSizes(x, 'x');
      const [m, o, oh, ow] = imageSizes(dy, 'dy');
      if (!dimEquals(n, m) || x.dtype !== dy.dtype) fail(`dy ${printType(dy)} does not fit x ${printType(x)}`);
      const window = windowOf(attrs);
      gradientFits(window, [h, wd], [oh, ow]);
      const w = { ...x, shape: [o, c / numberOf(attrs, 'groups'), ...window.kernel] };
      weightSizes(w, c, attrs);
      return [w];
    },
    evaluate: ([x, dy], attrs, [r]) => {
      const out = new Float64Array(elementCount(r));
      forEachRow(convSizes(x.type, dy.type, r, attrs), (i, step, k, j, length) => {
        let sum = 0;
        for (let e = 0; e < length; e++) sum += x.data[i + e * step] * dy.data[j + e];
        out[k] += sum;
      });
      return [out];
    },
    flops: ([, dy], _a, [r]) => convFlops(dy, r),
  },
} satisfies Record<string, OpDef>;
