/**
 * Convolution, patches and pooling the plain way, sharing nothing with the op table: the image is padded first, the kernel is
 * widened by its dilation, and every output looks at all of them.
 */
export interface Shape4 {
  readonly shape: readonly [number, number, number, number];
  readonly data: readonly number[];
}

export interface Geometry {
  readonly strides: readonly [number, number];
  readonly pads: readonly [number, number, number, number];
  readonly dilations: readonly [number, number];
}

export const at = (t: Shape4, n: number, c: number, h: number, w: number): number =>
  t.data[((n * t.shape[1] + c) * t.shape[2] + h) * t.shape[3] + w];

export function build(shape: Shape4['shape'], value: (n: number, c: number, h: number, w: number) => number): Shape4 {
  const data: number[] = [];
  for (let n = 0; n < shape[0]; n++)
    for (let c = 0; c < shape[1]; c++)
      for (let h = 0; h < shape[2]; h++) for (let w = 0; w < shape[3]; w++) data.push(value(n, c, h, w));
  return { shape, data };
}

/** The image with `value` around it; `more` further rows and columns below and to the right. */
export function padded(x: Shape4, pads: Geometry['pads'], value: number, more = 0): Shape4 {
  const [n, c, h, w] = x.shape;
  const [top, left, bottom, right] = pads;
  return build([n, c, h + top + bottom + more, w + left + right + more], (b, k, i, j) =>
    i >= top && i < top + h && j >= left && j < left + w ? at(x, b, k, i - top, j - left) : value,
  );
}

function widened(w: Shape4, dilations: readonly [number, number]): Shape4 {
  const [o, c, kh, kw] = w.shape;
  const [dh, dw] = dilations;
  return build([o, c, (kh - 1) * dh + 1, (kw - 1) * dw + 1], (a, b, i, j) =>
    i % dh === 0 && j % dw === 0 ? at(w, a, b, i / dh, j / dw) : 0,
  );
}

export function conv(x: Shape4, w: Shape4, g: Geometry, groups: number): Shape4 {
  const image = padded(x, g.pads, 0);
  const kernel = widened(w, g.dilations);
  const [o, cg, kh, kw] = kernel.shape;
  const [, , H, W] = image.shape;
  const oh = Math.floor((H - kh) / g.strides[0]) + 1;
  const ow = Math.floor((W - kw) / g.strides[1]) + 1;
  return build([x.shape[0], o, oh, ow], (n, k, i, j) => {
    const first = Math.floor(k / (o / groups)) * cg;
    let s = 0;
    for (let c = 0; c < cg; c++)
      for (let a = 0; a < kh; a++)
        for (let b = 0; b < kw; b++)
          s += at(image, n, first + c, i * g.strides[0] + a, j * g.strides[1] + b) * at(kernel, k, c, a, b);
    return s;
  });
}

export const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((s, v, i) => s + v * b[i], 0);

/** One of the unit vectors of a shape. */
export const unit = (shape: Shape4['shape'], i: number): Shape4 => {
  const t = build(shape, () => 0);
  return { shape, data: t.data.map((_, k) => (k === i ? 1 : 0)) };
};

/** All patches of channels [first, first + channels) of example n, each (channel, ky, kx). */
export function patches(
  x: Shape4,
  n: number,
  first: number,
  channels: number,
  kernel: readonly [number, number],
  g: Geometry,
): number[][] {
  const image = padded(x, g.pads, 0);
  const [, , H, W] = image.shape;
  const [kh, kw] = kernel;
  const rows: number[][] = [];
  for (let i = 0; i + (kh - 1) * g.dilations[0] < H; i += g.strides[0])
    for (let j = 0; j + (kw - 1) * g.dilations[1] < W; j += g.strides[1]) {
      const v: number[] = [];
      for (let c = first; c < first + channels; c++)
        for (let a = 0; a < kh; a++)
          for (let b = 0; b < kw; b++) v.push(at(image, n, c, i + a * g.dilations[0], j + b * g.dilations[1]));
      rows.push(v);
    }
  return rows;
}
