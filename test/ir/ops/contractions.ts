import type { Attrs } from '../../../ir/graph.js';
import type { contractionOps } from '../../../ir/ops/contractions.js';
import { type OpCases, type ValueCase, wave } from './case.js';
import { build, conv, dot, type Geometry, type Shape4, unit } from './naive.js';

interface ConvCase extends Geometry {
  readonly x: Shape4['shape'];
  readonly w: Shape4['shape'];
  readonly groups: number;
}

/** Every attribute uneven at least once: rectangular, strided past the edge, dilated, padded on one side, grouped, depthwise. */
const geometries: readonly ConvCase[] = [
  { x: [2, 3, 5, 5], w: [4, 3, 3, 3], strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 },
  { x: [1, 2, 7, 6], w: [3, 2, 3, 2], strides: [2, 3], pads: [0, 2, 1, 0], dilations: [1, 1], groups: 1 },
  { x: [1, 1, 8, 9], w: [2, 1, 2, 3], strides: [3, 1], pads: [1, 0, 0, 3], dilations: [3, 2], groups: 1 },
  { x: [2, 4, 4, 5], w: [6, 2, 3, 3], strides: [1, 2], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 2 },
  { x: [1, 3, 4, 4], w: [3, 1, 2, 2], strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 1], groups: 3 },
  { x: [3, 2, 6, 6], w: [5, 2, 1, 1], strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 1], groups: 1 },
];

const type = (t: Shape4): string => `f32[${t.shape}]`;
const random = (shape: Shape4['shape'], phase: number): Shape4 => ({
  shape,
  data: wave(build(shape, () => 0).data.length, phase),
});

/** Sums of at most a few hundred products in another order: float64 rounding only. */
const tolerance = 1e-13;

function convValues(): { conv: ValueCase[]; input: ValueCase[]; weight: ValueCase[] } {
  const all = { conv: [] as ValueCase[], input: [] as ValueCase[], weight: [] as ValueCase[] };
  for (const g of geometries) {
    const { strides, pads, dilations, groups } = g;
    const x = random(g.x, 1);
    const w = random(g.w, 2);
    const y = conv(x, w, g, groups);
    const dy = random(y.shape, 3);
    const attrs: Attrs = { strides, pads, dilations, groups };
    all.conv.push({
      operands: [
        [type(x), x.data],
        [type(w), w.data],
      ],
      attrs,
      results: [y.data],
      tolerance,
    });
    // Both gradients are what they are by definition: d <dy, conv(x, w)> / dx_i = <dy, conv(e_i, w)>, and so for w.
    all.input.push({
      operands: [
        [type(dy), dy.data],
        [type(w), w.data],
      ],
      attrs: { ...attrs, height: g.x[2], width: g.x[3] },
      results: [x.data.map((_, i) => dot(dy.data, conv(unit(g.x, i), w, g, groups).data))],
      tolerance,
    });
    all.weight.push({
      operands: [
        [type(x), x.data],
        [type(dy), dy.data],
      ],
      attrs: { ...attrs, kernel: [g.w[2], g.w[3]] },
      results: [w.data.map((_, i) => dot(dy.data, conv(x, unit(g.w, i), g, groups).data))],
      tolerance,
    });
  }
  return all;
}

const values = convValues();
const window = { strides: [2, 2], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 };
const inputGrad = { ...window, height: 8, width: 8 };
const weightGrad = { ...window, kernel: [3, 3] };
const mm = (ta: boolean, tb: boolean): Attrs => ({ ta, tb });
const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

export const contractionCases: Record<keyof typeof contractionOps, OpCases> = {
  matmul: {
    types: [
      [['f32[N,4]', 'f32[4,5]'], mm(false, false), ['f32[N,5]']],
      [['f32[4,N]', 'f32[5,4]'], mm(true, true), ['f32[N,5]']],
      [['f32[N,3]', 'f32[N,5]'], mm(true, false), ['f32[3,5]']],
      [['f32[7,1,2,3]', 'f32[6,3,4]'], mm(false, false), ['f32[7,6,2,4]']],
    ],
    rejects: [
      [['f32[2,3]', 'f32[4,5]'], mm(false, false), /inner dimensions/],
      [['f32[N,3]', 'f32[M,3]'], mm(true, false), /inner dimensions/],
      [['f32[3]', 'f32[3,4]'], mm(false, false), /rank >= 2/],
      [['f32[2,2,3]', 'f32[3,3,4]'], mm(false, false), /leading dimensions/],
      [['sym[3]', 'f32[3,4]'], mm(false, false), /dense/],
      [['i32[2,3]', 'i32[3,4]'], mm(false, false), /floating point/],
    ],
    values: [
      {
        operands: [
          ['f32[2,2]', [1, 2, 3, 4]],
          ['f32[2,2]', [5, 6, 7, 8]],
        ],
        attrs: mm(false, false),
        results: [[19, 22, 43, 50]],
      },
      {
        operands: [
          ['f32[2,2]', [1, 3, 2, 4]],
          ['f32[2,2]', [5, 6, 7, 8]],
        ],
        attrs: mm(true, false),
        results: [[19, 22, 43, 50]],
      },
      {
        operands: [
          ['f32[2,2]', [1, 2, 3, 4]],
          ['f32[2,2]', [5, 7, 6, 8]],
        ],
        attrs: mm(false, true),
        results: [[19, 22, 43, 50]],
      },
      {
        operands: [
          ['f32[2,2]', [1, 3, 2, 4]],
          ['f32[2,2]', [5, 7, 6, 8]],
        ],
        attrs: mm(true, true),
        results: [[19, 22, 43, 50]],
      },
      // Rectangular: 1 x 3 by 3 x 2.
      {
        operands: [
          ['f32[1,3]', [1, 2, 3]],
          ['f32[3,2]', [1, 2, 3, 4, 5, 6]],
        ],
        attrs: mm(false, false),
        results: [[22, 28]],
      },
      // A batch of two against one matrix, then against a batch on the other side.
      {
        operands: [
          ['f32[2,1,2]', [1, 2, 3, 4]],
          ['f32[2,1]', [10, 1]],
        ],
        attrs: mm(false, false),
        results: [[12, 34]],
      },
      {
        operands: [
          ['f32[1,2]', [1, 2]],
          ['f32[2,2,1]', [10, 1, 100, 7]],
        ],
        attrs: mm(false, false),
        results: [[12, 114]],
      },
      {
        operands: [
          ['f32[2,1,1,1]', [2, 3]],
          ['f32[2,1,1]', [5, 7]],
        ],
        attrs: mm(false, false),
        results: [[10, 14, 15, 21]],
      },
      // Zero times what is not finite is not zero.
      {
        operands: [
          ['f32[1,2]', [0, 1]],
          ['f32[2,2]', [nan, inf, 1, 2]],
        ],
        attrs: mm(false, false),
        results: [[nan, nan]],
      },
    ],
  },
  conv: {
    types: [
      [['f32[N,3,8,8]', 'f32[16,3,3,3]'], window, ['f32[N,16,4,4]']],
      [
        ['f32[N,4,8,9]', 'f32[6,2,3,3]'],
        { ...window, groups: 2, dilations: [2, 1], strides: [1, 1] },
        ['f32[N,6,6,9]'],
      ],
    ],
    rejects: [
      [['f32[N,4,8,8]', 'f32[16,3,3,3]'], window, /does not fit 4 channels/],
      [['f32[N,4,8,8]', 'f32[5,2,3,3]'], { ...window, groups: 2 }, /does not fit/],
      [['f32[N,3,8]', 'f32[16,3,3,3]'], window, /must be \[N,C,H,W\]/],
      [['f32[N,3,1,1]', 'f32[16,3,5,5]'], window, /does not fit an image/],
      [['f32[N,3,8,8]', 'f32[16,3,3,3]'], { ...window, strides: [0, 1] }, /strides/],
      [['f32[N,3,8,8]', 'f32[16,3,3,3]'], { ...window, pads: [1, 1] }, /pads/],
      [['f32[N,3,8,8]', 'f32[16,3,N,3]'], window, /does not fit/],
      [['f16[N,3,8,8]', 'f32[16,3,3,3]'], window, /one type/],
      [['i32[N,3,8,8]', 'i32[16,3,3,3]'], window, /floating point/],
    ],
    values: values.conv,
  },
  conv_input_grad: {
    types: [[['f32[N,16,4,4]', 'f32[16,3,3,3]'], inputGrad, ['f32[N,3,8,8]']]],
    rejects: [
      [['f32[N,16,5,4]', 'f32[16,3,3,3]'], inputGrad, /output of an image/],
      [['f32[N,15,4,4]', 'f32[16,3,3,3]'], inputGrad, /does not fit weight/],
      [['f32[N,16,4,4]', 'f32[16,3,3]'], inputGrad, /does not fit/],
    ],
    values: values.input,
  },
  conv_weight_grad: {
    types: [
      [['f32[N,3,8,8]', 'f32[N,16,4,4]'], weightGrad, ['f32[16,3,3,3]']],
      [['f32[N,4,8,8]', 'f32[N,16,4,4]'], { ...weightGrad, groups: 2 }, ['f32[16,2,3,3]']],
    ],
    rejects: [
      [['f32[N,3,8,8]', 'f32[M,16,4,4]'], weightGrad, /does not fit x/],
      [['f32[N,3,8,8]', 'f32[N,16,4,5]'], weightGrad, /output of an image/],
      [['f32[N,3,8,8]', 'f32[N,16,4,4]'], { ...weightGrad, groups: 2 }, /does not fit 3 channels/],
    ],
    values: values.weight,
  },
};
