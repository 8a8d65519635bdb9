import { describe, expect, it } from 'vitest';
import { chooseAlgorithm } from '../../compiler/kernels/contraction-algorithms.js';
import { type ContractionChoice, lowerContraction as lowerForGpu } from '../../compiler/kernels/gpu/contraction.js';
import type { Func } from '../../ir/graph.js';
import { product, tensor } from '../../ir/types.js';
import { runDawn } from '../targets/run-dawn.js';
import { builder, check, choices, gpuChoices, toleranceOf } from './check-contraction.js';
import { attrsOf, type Conv, outputShape, weightShape } from './convs.js';
import { agrees, noise } from './execute.js';
import { near, regionOf, runRegion, truthOf } from './lowered.js';

describe('matmul', () => {
  const sizes = [
    [1, 1, 1],
    [3, 5, 7],
    [4, 8, 8],
    [5, 17, 3],
    [8, 10, 33],
    [1, 40, 9],
    [20, 1, 11],
    [13, 30, 12],
    [2, 100, 6],
  ] as const;
  for (const ta of [false, true])
    for (const tb of [false, true])
      it(`ta=${ta} tb=${tb}`, () => {
        for (const [m, n, k] of sizes) {
          const b = builder();
          const x = b.input('x', tensor('f32', ta ? [k, m] : [m, k]));
          const y = b.input('y', tensor('f32', tb ? [n, k] : [k, n]));
          b.output('z', b.matmul(x, y, ta, tb));
          check(`${m}x${n}x${k}`, b.finish(), k);
        }
      });

  it('broadcasts leading dimensions', () => {
    const shapes: readonly (readonly [number[], number[], boolean, boolean])[] = [
      [[2, 3, 5, 4], [2, 3, 4, 6], false, false],
      [[2, 3, 5, 4], [4, 6], false, false],
      [[2, 3, 5, 4], [1, 3, 6, 4], false, true],
      [[4, 5], [3, 4, 6], true, false],
      [[2, 1, 5, 4], [3, 4, 9], false, false],
    ];
    for (const [sx, sy, ta, tb] of shapes) {
      const b = builder();
      b.output('z', b.matmul(b.input('x', tensor('f32', sx)), b.input('y', tensor('f32', sy)), ta, tb));
      check(`[${sx}] x [${sy}]`, b.finish(), 4);
    }
  });

  it('has computed operands and an epilogue', () => {
    const b = builder();
    const x = b.input('x', tensor('f32', [2, 11, 7]));
    const w = b.input('w', tensor('f32', [9, 7]));
    const bias = b.input('bias', tensor('f32', [9]));
    const left = b.reshape(b.neg(x), [22, 7]);
    const right = b.transpose(b.mul(w, b.fill(0.5)), [1, 0]);
    const sum = b.add(b.matmul(left, right), bias);
    b.output('y', b.node('relu', [sum]));
    b.output('sum', sum);
    check('fused', b.finish(), 7);
  });

  it('reads an unpacked symmetric operand', () => {
    const b = builder();
    const s = b.input('s', tensor('f32', [15]));
    const x = b.input('x', tensor('f32', [5, 6]));
    const dense = b.node('concat', [b.reshape(s, [1, 15]), b.reshape(s, [1, 15])], { attrs: { axis: 0 } });
    const square = b.reshape(b.sliceAxis(b.reshape(dense, [30]), 0, 2, 27), [5, 5]);
    b.output('y', b.matmul(square, x));
    check('views', b.finish(), 5);
  });
});

const convs: readonly Conv[] = [
  { x: [2, 3, 6, 7], outputs: 5, kernel: [3, 3], pads: [1, 1, 1, 1] },
  { x: [3, 4, 5, 5], outputs: 8, kernel: [1, 1] },
  { x: [2, 9, 6, 6], outputs: 4, kernel: [1, 1], strides: [2, 2] },
  // Several images by packed weights.
  { x: [17, 5, 5, 5], outputs: 6, kernel: [1, 1] },
  // Images side by side.
  { x: [3, 41, 2, 2], outputs: 43, kernel: [1, 1] },
  { x: [3, 21, 3, 2], outputs: 22, kernel: [1, 1], strides: [2, 2] },
  { x: [2, 2, 9, 11], outputs: 3, kernel: [3, 2], strides: [2, 3], pads: [1, 0, 2, 1] },
  { x: [1, 1, 12, 12], outputs: 6, kernel: [5, 5] },
  { x: [2, 3, 13, 13], outputs: 4, kernel: [7, 7], strides: [2, 2], pads: [3, 3, 3, 3] },
  { x: [1, 2, 11, 10], outputs: 4, kernel: [3, 3], pads: [2, 2, 2, 2], dilations: [2, 2] },
  { x: [2, 2, 12, 9], outputs: 2, kernel: [2, 3], strides: [3, 2], dilations: [2, 3], pads: [0, 3, 1, 2] },
  { x: [2, 6, 5, 4], outputs: 4, kernel: [3, 3], pads: [1, 1, 1, 1], groups: 2 },
  { x: [2, 5, 6, 6], outputs: 10, kernel: [3, 3], pads: [1, 1, 1, 1], groups: 5, strides: [2, 2] },
  { x: [3, 7, 1, 1], outputs: 9, kernel: [1, 1] },
  { x: [5, 12, 2, 2], outputs: 20, kernel: [3, 3], pads: [1, 1, 1, 1] },
  { x: [1, 2, 3, 3], outputs: 3, kernel: [1, 1], pads: [2, 1, 2, 3] },
  { x: [2, 2, 5, 7], outputs: 3, kernel: [1, 1], pads: [1, 1, 1, 1], strides: [2, 3] },
  { x: [2, 3, 9, 9], outputs: 2, kernel: [3, 3], pads: [2, 2, 2, 2], strides: [2, 2], dilations: [2, 2] },
  { x: [1, 2, 13, 11], outputs: 2, kernel: [3, 2], pads: [1, 2, 3, 0], strides: [4, 6], dilations: [2, 4] },
  { x: [2, 2, 1, 1], outputs: 3, kernel: [3, 3], pads: [1, 1, 1, 1] },
  { x: [1, 1, 15, 15], outputs: 2, kernel: [5, 5], strides: [4, 4], pads: [2, 2, 2, 2] },
  { x: [3, 3, 9, 8], outputs: 3, kernel: [3, 3], pads: [2, 1, 1, 3], dilations: [2, 3], strides: [1, 2], groups: 3 },
  { x: [2, 3, 5, 7], outputs: 6, kernel: [3, 1], pads: [1, 0, 1, 0], groups: 3 },
  { x: [2, 6, 7, 5], outputs: 3, kernel: [2, 2], strides: [3, 1], dilations: [1, 2], groups: 3 },
  { x: [3, 6, 4, 5], outputs: 4, kernel: [1, 1], strides: [2, 3], groups: 2 },
  // Four channels at a time.
  { x: [2, 4, 7, 7], outputs: 4, kernel: [3, 3], pads: [1, 1, 1, 1], groups: 4 },
  { x: [2, 8, 9, 10], outputs: 8, kernel: [3, 5], pads: [1, 2, 0, 1], strides: [2, 3], groups: 8 },
  { x: [1, 4, 11, 6], outputs: 4, kernel: [2, 3], pads: [2, 0, 1, 3], dilations: [2, 1], strides: [1, 2], groups: 4 },
  { x: [2, 4, 1, 30], outputs: 4, kernel: [1, 5], pads: [0, 4, 0, 3], dilations: [1, 2], groups: 4 },
];

describe('convolution', () => {
  for (const c of convs) {
    const name = `${JSON.stringify(c)}`;
    it(`forward ${name}`, () => {
      const b = builder();
      const [x, w] = [b.input('x', tensor('f32', c.x)), b.input('w', tensor('f32', weightShape(c)))];
      b.output('y', b.node('conv', [x, w], { attrs: attrsOf(c) }));
      check('conv', b.finish(), product(weightShape(c).slice(1)));
    });
    it(`input gradient ${name}`, () => {
      const b = builder();
      const [dy, w] = [b.input('dy', tensor('f32', outputShape(c))), b.input('w', tensor('f32', weightShape(c)))];
      const attrs = { ...attrsOf(c), height: c.x[2], width: c.x[3] };
      b.output('dx', b.node('conv_input_grad', [dy, w], { attrs }));
      check('conv_input_grad', b.finish(), c.outputs * product(c.kernel));
    });
    it(`weight gradient ${name}`, () => {
      const b = builder();
      const [x, dy] = [b.input('x', tensor('f32', c.x)), b.input('dy', tensor('f32', outputShape(c)))];
      b.output('dw', b.node('conv_weight_grad', [x, dy], { attrs: { ...attrsOf(c), kernel: c.kernel } }));
      const y = outputShape(c);
      check('conv_weight_grad', b.finish(), y[0] * y[2] * y[3]);
    });
    it(`patch second moment ${name}`, () => {
      for (const ones of [false, true])
        for (const weighted of [false, true]) {
          const b = builder();
          const [x, scale] = [b.input('x', tensor('f32', c.x)), b.input('scale', tensor('f32', []))];
          const weight = weighted ? [b.input('weight', tensor('f32', [c.x[0]]))] : [];
          const attrs = { ...attrsOf(c), kernel: c.kernel, ones };
          b.output('A', b.node('patch_second_moment', [x, scale, ...weight], { attrs }));
          const y = outputShape(c);
          check('patch_second_moment', b.finish(), 4 * y[0] * y[2] * y[3], weighted ? choices.slice(0, 2) : choices);
        }
    });
  }

  it('is a product where the window is a point', () => {
    const algorithm = (c: Conv): string => {
      const b = builder();
      b.node('conv', [b.input('x', tensor('f32', c.x)), b.input('w', tensor('f32', weightShape(c)))], {
        attrs: attrsOf(c),
      });
      return chooseAlgorithm(b.nodes[0]).name;
    };
    expect(algorithm({ x: [1, 2, 4, 4], outputs: 3, kernel: [1, 1] })).toBe('pointwise-gemm');
    expect(algorithm({ x: [1, 2, 4, 4], outputs: 3, kernel: [1, 1], strides: [1, 2] })).toBe('pointwise-gemm');
    expect(algorithm({ x: [1, 2, 4, 4], outputs: 3, kernel: [1, 1], pads: [0, 1, 0, 0] })).toBe('implicit-gemm');
    expect(algorithm({ x: [1, 2, 4, 4], outputs: 3, kernel: [1, 3] })).toBe('implicit-gemm');
  });

  it('has computed operands and an epilogue', () => {
    const shape = [2, 3, 6, 5];
    const b = builder();
    const x = b.input('x', tensor('f32', shape));
    const w = b.input('w', tensor('f32', [4, 3, 3, 3]));
    const bias = b.input('bias', tensor('f32', [4, 1, 1]));
    const attrs = { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 };
    const y = b.add(b.node('conv', [b.node('relu', [x]), b.neg(w)], { attrs }), bias);
    b.output('y', b.node('relu', [y]));
    check('fused conv', b.finish(), 27);

    const g = builder();
    const gx = g.input('x', tensor('f32', shape));
    const dy = g.input('dy', tensor('f32', [2, 4, 6, 5]));
    const mask = g.input('mask', tensor('f32', [2, 4, 6, 5]));
    const old = g.input('old', tensor('f32', [4, 3, 3, 3]));
    const masked = g.mul(dy, mask);
    const grad = g.node('conv_weight_grad', [g.neg(gx), masked], { attrs: { ...attrs, kernel: [3, 3] } });
    g.output('dw', g.add(grad, old));
    check('fused weight gradient', g.finish(), 4 * 60);
  });

  it('has an epilogue where a strided window leaves positions out', () => {
    const b = builder();
    const [dy, w] = [b.input('dy', tensor('f32', [2, 6, 4, 3])), b.input('w', tensor('f32', [6, 5, 1, 1]))];
    const attrs = { strides: [2, 3], pads: [0, 0, 0, 0], dilations: [1, 1], groups: 1, height: 7, width: 9 };
    const dx = b.node('conv_input_grad', [dy, w], { attrs });
    b.output('dx', b.node('relu', [b.add(dx, b.input('past', tensor('f32', [2, 5, 7, 9])))]));
    check('strided', b.finish(), 6);
  });

  it('has them four channels at a time', () => {
    const shape = [2, 8, 5, 7];
    const attrs = { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 8 };
    const fused = (op: 'conv' | 'conv_input_grad', extent: Readonly<Record<string, number>>): Func => {
      const b = builder();
      const [x, w] = [b.input('x', tensor('f32', shape)), b.input('w', tensor('f32', [8, 1, 3, 3]))];
      const y = b.node(op, [b.node('relu', [x]), b.neg(w)], { attrs: { ...attrs, ...extent } });
      expect(chooseAlgorithm(b.nodes[b.nodes.length - 1]).name).toBe('narrow-depthwise');
      const bias = b.input('bias', tensor('f32', [8, 1, 1]));
      b.output('y', b.node('relu', [b.add(b.add(y, bias), b.input('past', tensor('f32', shape)))]));
      return b.finish();
    };
    check('fused conv', fused('conv', {}), 9);
    check('fused input gradient', fused('conv_input_grad', { height: 5, width: 7 }), 9);
    const b = builder();
    const [x, dy] = [b.input('x', tensor('f32', shape)), b.input('dy', tensor('f32', shape))];
    const w = b.node('conv_weight_grad', [b.node('relu', [x]), b.neg(dy)], { attrs: { ...attrs, kernel: [3, 3] } });
    b.output('dw', b.add(w, b.input('old', tensor('f32', [8, 1, 3, 3]))));
    check('fused weight gradient', b.finish(), 70);
  });
});

describe('second moment', () => {
  it('is made of dot products where groups have few features', () => {
    const algorithm = (c: Conv, ones = false): string => {
      const b = builder();
      const inputs = [b.input('x', tensor('f32', c.x)), b.input('s', tensor('f32', []))];
      b.node('patch_second_moment', inputs, { attrs: { ...attrsOf(c), kernel: c.kernel, ones } });
      return chooseAlgorithm(b.nodes[0]).name;
    };
    const depthwise: Conv = { x: [1, 4, 6, 6], outputs: 4, kernel: [3, 3], groups: 4 };
    expect(algorithm(depthwise)).toBe('narrow-moment');
    expect(algorithm(depthwise, true)).toBe('narrow-moment');
    expect(algorithm({ ...depthwise, kernel: [2, 5] }, true)).toBe('symmetric-gemm');
    expect(algorithm({ ...depthwise, groups: 2 })).toBe('symmetric-gemm');
    expect(algorithm({ ...depthwise, x: [1, 1, 6, 6], groups: 1 })).toBe('symmetric-gemm');
  });

  const shapes: readonly (readonly [number[], number])[] = [
    [[5, 7], 1],
    [[40, 3], 1],
    [[6, 17], 1],
    [[3, 6, 4, 5], 1],
    [[2, 11, 3, 3], 1],
    [[4, 3, 9], 2],
    [[6, 10], 0],
    [[3, 5, 4], 0],
    [[12, 1], 1],
  ];
  it.each(shapes)('%j along axis %i', (shape, axis) => {
    for (const ones of [false, true])
      for (const weighted of axis > 0 ? [false, true] : [false]) {
        const b = builder();
        const [x, scale] = [b.input('x', tensor('f32', shape)), b.input('scale', tensor('f32', []))];
        const weight = weighted ? [b.input('weight', tensor('f32', [shape[0]]))] : [];
        b.output('A', b.node('second_moment', [x, scale, ...weight], { attrs: { axis, ones } }));
        check('second_moment', b.finish(), 4 * product(shape));
      }
  });

  it('updates a running factor in its epilogue', () => {
    const b = builder();
    const [x, scale] = [b.input('x', tensor('f32', [9, 6])), b.input('scale', tensor('f32', []))];
    const A = b.node('second_moment', [b.node('relu', [x]), scale], { attrs: { axis: 1, ones: true } });
    b.output('A', b.mul(A, b.fill(0.25)));
    check('epilogue', b.finish(), 40);
  });
});

it('lowers the regions that fusion makes of a small convolutional layer and its statistics', () => {
  const b = builder();
  const x = b.input('x', tensor('f32', [4, 3, 8, 8]));
  const w = b.input('w', tensor('f32', [6, 3, 3, 3]));
  const bias = b.input('bias', tensor('f32', [6, 1, 1]));
  const dense = b.input('dense', tensor('f32', [5, 96]));
  const seed = b.input('seed', tensor('f32', [4, 5]));
  const valid = b.input('valid', tensor('f32', [4]));
  const attrs = { strides: [2, 2], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 };
  const z = b.add(b.node('conv', [x, w], { attrs }), bias);
  const a = b.node('relu', [z]);
  const flat = b.reshape(a, [4, 96]);
  b.output('y', b.mul(b.matmul(flat, dense, false, true), b.reshape(valid, [4, 1])));
  const back = b.reshape(b.matmul(seed, dense), [4, 6, 4, 4]);
  const dz = b.select(b.node('less', [b.fill(0, [4, 6, 4, 4]), z]), back, b.fill(0, [4, 6, 4, 4]));
  b.output('dw', b.node('conv_weight_grad', [x, dz], { attrs: { ...attrs, kernel: [3, 3] } }));
  b.output('dx', b.node('conv_input_grad', [dz, w], { attrs: { ...attrs, height: 8, width: 8 } }));
  const scale = b.node('reciprocal', [b.sumAll(valid)]);
  b.output('A', b.node('patch_second_moment', [x, scale, valid], { attrs: { ...attrs, kernel: [3, 3], ones: true } }));
  b.output('G', b.node('second_moment', [dz, scale, valid], { attrs: { axis: 1, ones: false } }));
  b.output('flat', b.node('second_moment', [flat, scale], { attrs: { axis: 1, ones: true } }));
  const sizes = { x: 768, w: 162, bias: 6, dense: 480, seed: 20 };
  const inputs = Object.fromEntries(Object.entries(sizes).map(([name, n], i) => [name, noise(n, i + 1)]));
  agrees(b.finish(), { ...inputs, valid: Float64Array.of(1, 1, 0, 1) });
});

describe('choices for a GPU on Dawn', () => {
  it.each(gpuChoices)('%j', (choice) => {
    const b = builder();
    const x = b.input('x', tensor('f32', [2, 3, 9, 7]));
    const w = b.input('w', tensor('f32', [20, 3, 3, 3]));
    const attrs = { strides: [2, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 };
    b.output('y', b.node('relu', [b.node('conv', [x, w], { attrs })]));
    checkOnDawn(b.finish(), 27, choice);
    const m = builder();
    const moment = { kernel: [3, 3], strides: [1, 1], pads: [1, 0, 1, 0], dilations: [1, 1], groups: 1, ones: true };
    const operands = [m.input('x', tensor('f32', [2, 3, 6, 7])), m.input('scale', tensor('f32', []))];
    m.output('A', m.node('patch_second_moment', operands, { attrs: moment }));
    checkOnDawn(m.finish(), 60, choice);
  });
});

function checkOnDawn(func: Func, terms: number, choice: ContractionChoice | undefined): void {
  const inputs = Object.fromEntries(
    func.inputs.map((v, i) => [v.name, noise(product(v.type.shape as number[]), i + 1)]),
  );
  const region = regionOf(func);
  const got = runRegion(region, lowerForGpu(region, 'k', choice), inputs, runDawn);
  for (const [i, w] of truthOf(func, inputs).entries()) near(got[i], w, toleranceOf(terms), JSON.stringify(choice));
}
