/** Sizes at which the algorithms' own choices have many blocks of each kind; too slow for the interpreter. */
import { describe, it } from 'vitest';
import { product, tensor } from '../../ir/types.js';
import { builder, check } from './check-contraction.js';
import { attrsOf, type Conv } from './convs.js';
import { runners } from './lowered.js';

describe('many blocks', () => {
  const only = { wasm: runners.wasm };
  it('of a product', () => {
    for (const [m, n, k, ta, tb] of [
      [70, 300, 1500],
      [600, 50, 20],
      [3, 600, 700],
      [600, 3, 700],
      // Rows that are packed, several blocks of them.
      [301, 77, 530, true],
      [270, 270, 1100, false, true],
      [51, 49, 21, true, true],
      // Wide blocks, and wide and high ones.
      [513, 1300, 530, false, true],
      [1040, 1100, 600, true],
    ] as const) {
      const b = builder();
      const [x, y] = [
        b.input('x', tensor('f32', ta ? [k, m] : [m, k])),
        b.input('y', tensor('f32', tb ? [n, k] : [k, n])),
      ];
      b.output('z', b.matmul(x, y, ta, tb));
      check(`${m}x${n}x${k}`, b.finish(), k, [{}], only);
    }
  });
  const large: readonly Conv[] = [
    { x: [3, 130, 14, 14], outputs: 140, kernel: [3, 3], pads: [1, 1, 1, 1] },
    { x: [2, 300, 7, 7], outputs: 300, kernel: [1, 1] },
    { x: [9, 300, 5, 5], outputs: 600, kernel: [1, 1] },
    // Images side by side.
    { x: [9, 300, 3, 3], outputs: 130, kernel: [1, 1] },
    { x: [33, 50, 1, 1], outputs: 70, kernel: [1, 1] },
    { x: [5, 120, 3, 4], outputs: 130, kernel: [1, 1], strides: [2, 2] },
    { x: [3, 70, 13, 14], outputs: 90, kernel: [1, 1], strides: [2, 3] },
    { x: [1, 20, 40, 90], outputs: 6, kernel: [5, 3], pads: [2, 1, 2, 1], strides: [1, 2] },
    { x: [40, 16, 8, 8], outputs: 40, kernel: [3, 3], pads: [1, 1, 1, 1], groups: 8 },
    { x: [3, 64, 15, 13], outputs: 64, kernel: [3, 3], pads: [1, 1, 1, 1], strides: [2, 2], groups: 64 },
    { x: [7, 20, 17, 14], outputs: 20, kernel: [5, 3], pads: [2, 1, 2, 1], groups: 20 },
    { x: [5, 9, 31, 29], outputs: 9, kernel: [3, 3], pads: [1, 1, 1, 1], strides: [2, 1], groups: 9 },
    { x: [3, 21, 9, 23], outputs: 34, kernel: [3, 2], pads: [1, 3, 0, 1], dilations: [2, 3], strides: [1, 2] },
  ];
  it.each(large)('of a convolution $x', (c) => {
    const attrs = attrsOf(c);
    const weight = tensor('f32', [c.outputs, c.x[1] / attrs.groups, ...c.kernel]);
    const image = tensor('f32', c.x);
    const f = builder();
    const y = f.node('conv', [f.input('x', image), f.input('w', weight)], { attrs });
    f.output('y', y);
    const terms = product(weight.shape.slice(1) as number[]);
    check('conv', f.finish(), terms, [{}], only);
    const [n, , h, w] = y.type.shape as number[];
    const g = builder();
    const extent = { height: c.x[2], width: c.x[3] };
    g.output(
      'dx',
      g.node('conv_input_grad', [g.input('dy', y.type), g.input('w', weight)], { attrs: { ...attrs, ...extent } }),
    );
    check('conv_input_grad', g.finish(), c.outputs * product(c.kernel), [{}], only);
    const d = builder();
    d.output(
      'dw',
      d.node('conv_weight_grad', [d.input('x', image), d.input('dy', y.type)], {
        attrs: { ...attrs, kernel: c.kernel },
      }),
    );
    check('conv_weight_grad', d.finish(), n * h * w, [{}], only);
  });
  it('of a second moment', () => {
    const cases: readonly (readonly [Conv, boolean])[] = [
      [{ x: [5, 16, 20, 20], outputs: 16, kernel: [3, 3], pads: [1, 1, 1, 1] }, true],
      [{ x: [2, 33, 12, 12], outputs: 33, kernel: [3, 3], pads: [1, 1, 1, 1] }, false],
      [{ x: [5, 9, 31, 29], outputs: 9, kernel: [3, 3], pads: [1, 1, 1, 1], strides: [2, 1], groups: 9 }, true],
      [{ x: [70, 12, 7, 7], outputs: 12, kernel: [1, 1], groups: 12 }, false],
    ];
    for (const [c, ones] of cases) {
      const b = builder();
      const inputs = [
        b.input('x', tensor('f32', c.x)),
        b.input('s', tensor('f32', [])),
        b.input('w', tensor('f32', [c.x[0]])),
      ];
      const attrs = { ...attrsOf(c), kernel: c.kernel, ones };
      b.output('A', b.node('patch_second_moment', inputs, { attrs }));
      check('patches', b.finish(), 4 * c.x[0] * c.x[2] * c.x[3], [{}], only);
    }
    for (const shape of [
      [700, 150],
      [9, 140, 17, 11],
    ]) {
      const b = builder();
      const inputs = [b.input('x', tensor('f32', shape)), b.input('s', tensor('f32', []))];
      b.output('A', b.node('second_moment', inputs, { attrs: { axis: 1, ones: true } }));
      check('second_moment', b.finish(), (4 * product(shape)) / shape[1], [{}], only);
    }
  });
});
