import type { Attrs } from '../../../ir/graph.js';
import type { poolingOps } from '../../../ir/ops/pooling.js';
import { type OpCases, type ValueCase, wave } from './case.js';
import { at, build, dot, padded, type Shape4, unit } from './naive.js';

const { NEGATIVE_INFINITY: ninf } = Number;

interface Pool {
  readonly x: Shape4['shape'];
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly pads: readonly [number, number, number, number];
  readonly dilations: readonly [number, number];
  readonly height: number;
  readonly width: number;
}

const pools: readonly Pool[] = [
  { x: [1, 2, 4, 6], kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 1], height: 2, width: 3 },
  { x: [2, 1, 5, 5], kernel: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], dilations: [1, 1], height: 3, width: 3 },
  // ceil mode: the last window of each axis reaches beyond the image.
  { x: [1, 1, 5, 6], kernel: [2, 3], strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 1], height: 3, width: 3 },
  { x: [1, 2, 6, 6], kernel: [3, 3], strides: [2, 2], pads: [1, 0, 0, 1], dilations: [1, 1], height: 3, width: 3 },
  // Uneven padding, overlap, the whole image.
  { x: [1, 1, 3, 4], kernel: [3, 4], strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], height: 1, width: 1 },
  { x: [1, 1, 6, 6], kernel: [3, 2], strides: [1, 3], pads: [2, 0, 1, 1], dilations: [1, 1], height: 7, width: 2 },
];
const dilated: Pool = {
  x: [1, 2, 7, 7],
  kernel: [3, 2],
  strides: [2, 1],
  pads: [1, 1, 1, 1],
  dilations: [2, 3],
  height: 3,
  width: 6,
};

/** What a window sees: elements of the padded image, `beyond` where it reaches further. */
function seen(
  x: Shape4,
  p: Pool,
  outside: number,
  beyond: number,
): (n: number, c: number, i: number, j: number) => number[] {
  const area = padded(x, p.pads, outside);
  return (n, c, i, j) => {
    const list: number[] = [];
    for (let a = 0; a < p.kernel[0]; a++)
      for (let b = 0; b < p.kernel[1]; b++) {
        const h = i * p.strides[0] + a * p.dilations[0];
        const w = j * p.strides[1] + b * p.dilations[1];
        list.push(h < area.shape[2] && w < area.shape[3] ? at(area, n, c, h, w) : beyond);
      }
    return list;
  };
}

const outputShape = (p: Pool): Shape4['shape'] => [p.x[0], p.x[1], p.height, p.width];

const maxPool = (x: Shape4, p: Pool): Shape4 => {
  const window = seen(x, p, ninf, ninf);
  return build(outputShape(p), (n, c, i, j) => Math.max(...window(n, c, i, j)));
};

/** ONNX: with count_include_pad, padding counts as zeros; what lies beyond it, in ceil mode, never counts. */
const avgPool = (x: Shape4, p: Pool, includePad: boolean): Shape4 => {
  const window = seen(x, p, 0, 0);
  const counts = seen(
    build(x.shape, () => 1),
    p,
    includePad ? 1 : 0,
    0,
  );
  const sum = (l: number[]): number => l.reduce((a, b) => a + b, 0);
  return build(outputShape(p), (n, c, i, j) => sum(window(n, c, i, j)) / sum(counts(n, c, i, j)));
};

const random = (shape: Shape4['shape'], phase = 0): Shape4 => ({
  shape,
  data: wave(build(shape, () => 0).data.length, phase),
});
const type = (t: Shape4): string => `f32[${t.shape}]`;

const { kernel, strides, pads, height, width } = pools[1];
const attrs: Attrs = { kernel, strides, pads, height, width };
const maxAttrs = (p: Pool): Attrs => ({
  kernel: p.kernel,
  strides: p.strides,
  pads: p.pads,
  dilations: p.dilations,
  height: p.height,
  width: p.width,
});
const avgAttrs = (p: Pool, count_include_pad: boolean): Attrs => ({
  kernel: p.kernel,
  strides: p.strides,
  pads: p.pads,
  height: p.height,
  width: p.width,
  count_include_pad,
});

/** The gradient goes to the one element whose change moves the output; without ties that is the element equal to the maximum. */
function maxGrad(x: Shape4, p: Pool, dy: Shape4): number[] {
  const step = 1e-4;
  const base = maxPool(x, p);
  return x.data.map((v, i) => {
    const moved = maxPool({ ...x, data: x.data.map((w, k) => (k === i ? v + step : w)) }, p);
    return dot(
      dy.data,
      moved.data.map((m, k) => Math.round((m - base.data[k]) / step)),
    );
  });
}

const maxGradValues = [...pools, dilated].map((p): ValueCase => {
  // Values that lie apart by much more than the step.
  const x = build(p.x, () => 0);
  const spread: Shape4 = { shape: p.x, data: x.data.map((_, i) => ((i * 37) % 101) / 10) };
  const dy = random(outputShape(p), 3);
  return {
    operands: [
      [type(spread), spread.data],
      [type(dy), dy.data],
    ],
    attrs: maxAttrs(p),
    results: [maxGrad(spread, p, dy)],
    tolerance: 1e-12,
  };
});

const avgValues = (make: (p: Pool, include: boolean) => ValueCase): ValueCase[] =>
  pools.flatMap((p) => [make(p, false), make(p, true)]);

export const poolingCases: Record<keyof typeof poolingOps, OpCases> = {
  max_pool: {
    types: [
      [['f32[N,2,5,5]'], { ...attrs, dilations: [1, 1] }, ['f32[N,2,3,3]']],
      [['f32[N,2,5,6]'], maxAttrs(pools[2]), ['f32[N,2,3,3]']],
    ],
    rejects: [
      [['f32[N,2,5,5]'], { ...attrs, dilations: [1, 1], height: 4 }, /4 windows over 5 elements, of which 3 fit/],
      [['f32[N,2,5,5]'], { ...attrs, dilations: [1, 1], width: 0 }, /0 windows/],
      [['f32[2,5,5]'], { ...attrs, dilations: [1, 1] }, /must be \[N,C,H,W\]/],
      [['f32[N,2,5,5]'], { ...attrs, dilations: [0, 1] }, /dilations/],
    ],
    values: [...pools, dilated].map((p) => {
      const x = random(p.x);
      return { operands: [[type(x), x.data]], attrs: maxAttrs(p), results: [maxPool(x, p).data] };
    }),
  },
  max_pool_grad: {
    types: [[['f32[N,2,5,5]', 'f32[N,2,3,3]'], { ...attrs, dilations: [1, 1] }, ['f32[N,2,5,5]']]],
    rejects: [[['f32[N,2,5,5]', 'f32[N,2,3,2]'], { ...attrs, dilations: [1, 1] }, /dy must have shape/]],
    values: [
      ...maxGradValues,
      // Ties: the first in row-major order of the window takes all of it.
      {
        operands: [
          ['f32[1,1,2,3]', [5, 5, 1, 5, 2, 5]],
          ['f32[1,1,1,2]', [10, 1]],
        ],
        attrs: { kernel: [2, 2], strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], height: 1, width: 2 },
        results: [[10, 1, 0, 0, 0, 0]],
      },
    ],
  },
  avg_pool: {
    types: [[['f32[N,2,5,5]'], { ...attrs, count_include_pad: true }, ['f32[N,2,3,3]']]],
    rejects: [[['f32[N,2,5,5]'], { ...attrs, count_include_pad: true, height: 4 }, /4 windows/]],
    values: avgValues((p, include) => {
      const x = random(p.x);
      return {
        operands: [[type(x), x.data]],
        attrs: avgAttrs(p, include),
        results: [avgPool(x, p, include).data],
        tolerance: 1e-14,
      };
    }),
  },
  avg_pool_grad: {
    types: [
      [['f32[N,2,3,3]'], { ...attrs, count_include_pad: true, input_height: 5, input_width: 5 }, ['f32[N,2,5,5]']],
    ],
    rejects: [
      [['f32[N,2,3,2]'], { ...attrs, count_include_pad: true, input_height: 5, input_width: 5 }, /dy must have shape/],
      [['f32[N,2,3,3]'], { ...attrs, count_include_pad: true, input_height: 2, input_width: 5 }, /3 windows over 2/],
    ],
    // Average pooling is linear: its gradient is its transpose.
    values: avgValues((p, include) => {
      const dy = random(outputShape(p), 5);
      return {
        operands: [[type(dy), dy.data]],
        attrs: { ...avgAttrs(p, include), input_height: p.x[2], input_width: p.x[3] },
        results: [build(p.x, () => 0).data.map((_, i) => dot(dy.data, avgPool(unit(p.x, i), p, include).data))],
        tolerance: 1e-14,
      };
    }),
  },
};
