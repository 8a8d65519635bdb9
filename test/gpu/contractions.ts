/**
 * Products, convolutions with both gradients, and second moments, each in every block and with single results; odd sizes
 * everywhere, and the shapes of ResNet-50 on a real GPU.
 */
import { blockChoices, type ContractionChoice, lowerContraction } from '../../compiler/kernels/gpu/contraction.js';
import type { Func, Value } from '../../ir/graph.js';
import { product, tensor } from '../../ir/types.js';
import type { Conv } from '../kernels/convs.js';
import { builder, type Lower, type Problem, problem } from './problem.js';

const name = (c: ContractionChoice): string =>
  'results' in c
    ? `${c.results} results a workgroup`
    : 'correlate' in c
      ? `offset correlations, ${name(c.correlate)}`
      : `block ${c.rows}x${c.cols}, tile ${c.tile}, depth ${c.depth}`;

const way = (choice: ContractionChoice): readonly [string, Lower] => [
  name(choice),
  (region, kernel) => lowerContraction(region, kernel, choice),
];

const chosen: readonly [string, Lower] = ['chosen', (region, kernel) => lowerContraction(region, kernel)];
const ways = [chosen, ...blockChoices.map(way), ...[1, 8, 256].map((results) => way({ results }))];
const everyWay = [...ways, ...[2, 4, 16, 32, 64, 128].map((results) => way({ results }))];
const correlations = blockChoices.map((correlate) => way({ correlate }));
/** A result alone in a workgroup would take a large problem long; blocks are what it is for. */
const blocks = [chosen, ...blockChoices.map(way)];

/**
 * Inputs are in (-2, 2), so K products of magnitude up to 4 sum to at most 4 K. Each of K additions in a row rounds to 2^-24 of the
 * sum so far, which together is about sqrt(K) of that: several times what is to be expected, and far below one wrong term.
 */
function contraction(
  what: string,
  func: Func,
  terms: number,
  some: readonly (readonly [string, Lower])[],
  large = false,
): Problem {
  const tolerance = { absolute: 2 ** -24 * Math.sqrt(terms) * 4 * terms };
  return problem(`contraction: ${what}`, func, some, { tolerance, large });
}

function matmul(m: number, n: number, k: number, ta: boolean, tb: boolean, some = ways, large = false): Problem {
  const b = builder();
  const x = b.input('x', tensor('f32', ta ? [k, m] : [m, k]));
  const y = b.input('y', tensor('f32', tb ? [n, k] : [k, n]));
  b.output('z', b.matmul(x, y, ta, tb));
  const forms = `${ta ? ', left transposed' : ''}${tb ? ', right transposed' : ''}`;
  return contraction(`matmul ${m}x${n}x${k}${forms}`, b.finish(), k, some, large);
}

function batched(left: readonly number[], right: readonly number[], ta: boolean, tb: boolean): Problem {
  const b = builder();
  b.output('z', b.matmul(b.input('x', tensor('f32', left)), b.input('y', tensor('f32', right)), ta, tb));
  return contraction(`matmul [${left}] x [${right}]`, b.finish(), 4, ways);
}

/** Operands that are computed on the way, and work behind the sum. */
function fusedProduct(): Problem {
  const b = builder();
  const x = b.input('x', tensor('f32', [2, 11, 7]));
  const right = b.transpose(b.mul(b.input('w', tensor('f32', [9, 7])), b.fill(0.5)), [1, 0]);
  const sum = b.add(b.matmul(b.reshape(b.neg(x), [22, 7]), right), b.input('bias', tensor('f32', [9])));
  b.output('y', b.node('relu', [sum]));
  b.output('sum', sum);
  return contraction('matmul with prologue and epilogue', b.finish(), 7, ways);
}

const small: readonly Conv[] = [
  { x: [2, 3, 6, 7], outputs: 5, kernel: [3, 3], pads: [1, 1, 1, 1] },
  { x: [3, 4, 5, 5], outputs: 8, kernel: [1, 1] },
  { x: [2, 9, 6, 6], outputs: 4, kernel: [1, 1], strides: [2, 2] },
  { x: [2, 2, 9, 11], outputs: 3, kernel: [3, 2], strides: [2, 3], pads: [1, 0, 2, 1] },
  { x: [2, 3, 13, 13], outputs: 20, kernel: [7, 7], strides: [2, 2], pads: [3, 3, 3, 3] },
  { x: [1, 2, 11, 10], outputs: 4, kernel: [3, 3], pads: [2, 2, 2, 2], dilations: [2, 2] },
  { x: [2, 2, 12, 9], outputs: 2, kernel: [2, 3], strides: [3, 2], dilations: [2, 3], pads: [0, 3, 1, 2] },
  { x: [2, 6, 5, 4], outputs: 4, kernel: [3, 3], pads: [1, 1, 1, 1], groups: 2 },
  { x: [2, 5, 6, 6], outputs: 10, kernel: [3, 3], pads: [1, 1, 1, 1], groups: 5, strides: [2, 2] },
  { x: [5, 12, 2, 2], outputs: 20, kernel: [3, 3], pads: [1, 1, 1, 1] },
  { x: [1, 2, 3, 3], outputs: 3, kernel: [1, 1], pads: [2, 1, 2, 3] },
  { x: [1, 2, 13, 11], outputs: 2, kernel: [3, 2], pads: [1, 2, 3, 0], strides: [4, 6], dilations: [2, 4] },
  { x: [3, 3, 9, 8], outputs: 3, kernel: [3, 3], pads: [2, 1, 1, 3], dilations: [2, 3], strides: [1, 2], groups: 3 },
  { x: [2, 4, 1, 30], outputs: 4, kernel: [1, 5], pads: [0, 4, 0, 3], dilations: [1, 2], groups: 4 },
];

/** ResNet-50's kinds: stem, 1x1 that widens, 3x3, 3x3 with stride, 1x1 shortcut with stride, the last stage; and a depthwise one. */
const resnet: readonly Conv[] = [
  { x: [1, 3, 224, 224], outputs: 64, kernel: [7, 7], strides: [2, 2], pads: [3, 3, 3, 3] },
  { x: [1, 64, 56, 56], outputs: 256, kernel: [1, 1] },
  { x: [1, 64, 56, 56], outputs: 64, kernel: [3, 3], pads: [1, 1, 1, 1] },
  { x: [1, 128, 56, 56], outputs: 128, kernel: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
  { x: [1, 256, 56, 56], outputs: 512, kernel: [1, 1], strides: [2, 2] },
  { x: [1, 512, 7, 7], outputs: 512, kernel: [3, 3], pads: [1, 1, 1, 1] },
  { x: [1, 96, 28, 28], outputs: 96, kernel: [3, 3], pads: [1, 1, 1, 1], groups: 96 },
];

function convolutions(c: Conv, some: readonly (readonly [string, Lower])[], large: boolean): Problem[] {
  const { strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], groups = 1 } = c;
  const attrs = { strides, pads, dilations, groups };
  const weight = tensor('f32', [c.outputs, c.x[1] / groups, ...c.kernel]);
  const image = tensor('f32', c.x);
  const window = product([c.x[1] / groups, ...c.kernel]);
  const f = builder();
  const y = f.node('conv', [f.input('x', image), f.input('w', weight)], { attrs });
  f.output('y', y);
  const [images, , height, width] = y.type.shape as readonly number[];
  const positions = images * height * width;
  const g = builder();
  const extent = { height: c.x[2], width: c.x[3] };
  g.output(
    'dx',
    g.node('conv_input_grad', [g.input('dy', y.type), g.input('w', weight)], { attrs: { ...attrs, ...extent } }),
  );
  const d = builder();
  const operands = [d.input('x', image), d.input('dy', y.type)];
  d.output('dw', d.node('conv_weight_grad', operands, { attrs: { ...attrs, kernel: c.kernel } }));
  const what = `[${c.x}] to ${c.outputs}, kernel ${c.kernel}, strides ${strides}, pads ${pads}, dilations ${dilations}, groups ${groups}`;
  return [
    contraction(`conv ${what}`, f.finish(), window, some, large),
    contraction(`conv_input_grad ${what}`, g.finish(), (c.outputs / groups) * product(c.kernel), some, large),
    contraction(`conv_weight_grad ${what}`, d.finish(), positions, some, large),
    ...[false, true].map((ones) => {
      const s = builder();
      const [x, scale] = [s.input('x', image), s.input('scale', tensor('f32', []))];
      const weights: Value[] = ones ? [s.input('weight', tensor('f32', [c.x[0]]))] : [];
      s.output(
        'A',
        s.node('patch_second_moment', [x, scale, ...weights], { attrs: { ...attrs, kernel: c.kernel, ones } }),
      );
      return contraction(
        `patch_second_moment ${what}${ones ? ', with ones' : ''}`,
        s.finish(),
        4 * positions,
        [...some, ...correlations.slice(large ? 0 : 2)],
        large,
      );
    }),
  ];
}

function moment(shape: readonly number[], axis: number, ones: boolean, some = ways, large = false): Problem {
  const b = builder();
  const [x, scale] = [b.input('x', tensor('f32', shape)), b.input('scale', tensor('f32', []))];
  const weight: Value[] = axis > 0 && ones ? [b.input('weight', tensor('f32', [shape[0]]))] : [];
  b.output('A', b.node('second_moment', [x, scale, ...weight], { attrs: { axis, ones } }));
  const terms = (4 * product(shape)) / shape[axis];
  return contraction(
    `second_moment of [${shape}] along ${axis}${ones ? ', with ones' : ''}`,
    b.finish(),
    terms,
    some,
    large,
  );
}

const flags = [false, true];
const sizes = [
  [1, 1, 1],
  [3, 5, 7],
  [5, 17, 3],
  [8, 10, 33],
  [1, 40, 9],
  [20, 1, 11],
  [13, 30, 12],
] as const;

export const contractionProblems: readonly Problem[] = [
  ...sizes.flatMap(([m, n, k]) => flags.flatMap((ta) => flags.map((tb) => matmul(m, n, k, ta, tb)))),
  matmul(70, 67, 130, false, true, everyWay),
  batched([2, 3, 5, 4], [2, 3, 4, 6], false, false),
  batched([2, 3, 5, 4], [4, 6], false, false),
  batched([2, 3, 5, 4], [1, 3, 6, 4], false, true),
  batched([4, 5], [3, 4, 6], true, false),
  batched([2, 1, 5, 4], [3, 4, 9], false, false),
  fusedProduct(),
  ...small.flatMap((c) => convolutions(c, ways, false)),
  ...[
    [[5, 7], 1],
    [[40, 3], 1],
    [[6, 17], 1],
    [[3, 6, 4, 5], 1],
    [[4, 3, 9], 2],
    [[6, 10], 0],
    [[12, 1], 1],
  ].flatMap(([shape, axis]) => flags.map((ones) => moment(shape as number[], axis as number, ones))),
  moment([70, 67], 1, true, everyWay),
  ...flags.flatMap((ta) => flags.map((tb) => matmul(512, 512, 512, ta, tb, blocks, true))),
  matmul(1024, 1024, 1024, false, false, blocks, true),
  matmul(1000, 1030, 777, false, true, blocks, true),
  matmul(64, 1000, 2048, false, true, blocks, true),
  matmul(3, 2000, 4000, false, false, [chosen], true),
  moment([128, 1024], 1, true, blocks, true),
  moment([8, 256, 28, 28], 1, false, blocks, true),
  ...resnet.flatMap((c) => convolutions(c, [chosen], true)),
];
