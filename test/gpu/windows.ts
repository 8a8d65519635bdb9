/**
 * Pooling with its gradients; gather and its gradient.
 */
import { windowOf, windowOutput } from '../../ir/ops/contractions.js';
import { product, tensor } from '../../ir/types.js';
import { builder, noise, type Problem, problem } from './problem.js';

interface Pool {
  readonly shape: readonly number[];
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly pads: readonly number[];
  readonly dilations?: readonly number[];
  /** Added to the output height: a last window that hangs over the edge (ceil mode). */
  readonly over?: number;
  readonly large?: boolean;
}

const pools: readonly Pool[] = [
  { shape: [2, 3, 6, 6], kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0] },
  { shape: [1, 2, 7, 9], kernel: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
  { shape: [2, 1, 5, 6], kernel: [3, 2], strides: [1, 1], pads: [0, 1, 2, 0] },
  { shape: [1, 2, 7, 7], kernel: [7, 7], strides: [1, 1], pads: [0, 0, 0, 0] },
  { shape: [1, 1, 11, 12], kernel: [5, 6], strides: [3, 2], pads: [2, 1, 2, 3] },
  { shape: [1, 2, 8, 7], kernel: [3, 3], strides: [2, 2], pads: [0, 0, 0, 0], over: 1 },
  { shape: [1, 2, 9, 9], kernel: [2, 3], strides: [1, 2], pads: [1, 1, 1, 1], dilations: [2, 2] },
  { shape: [8, 64, 112, 112], kernel: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], large: true },
];

function pooling(c: Pool): Problem[] {
  const { kernel, strides, pads, dilations, large } = c;
  const window = { kernel, strides, pads, ...(dilations ? { dilations } : {}) };
  const [height, width] = windowOutput(windowOf(window), c.shape[2], c.shape[3]);
  const attrs = { ...window, height: height + (c.over ?? 0), width };
  const out = [c.shape[0], c.shape[1], attrs.height, attrs.width];
  const what = `of [${c.shape}], kernel ${kernel}, strides ${strides}, pads ${pads}${dilations ? `, dilations ${dilations}` : ''}`;

  const dilated = { ...attrs, dilations: dilations ?? [1, 1] };
  const m = builder();
  const x = m.input('x', tensor('f32', c.shape));
  m.output('y', m.add(m.node('max_pool', [x], { attrs: dilated }), m.fill(1)));
  const dx = m.node('max_pool_grad', [x, m.mul(m.input('dy', tensor('f32', out)), m.fill(2))], { attrs: dilated });
  m.output('dx', m.select(m.node('less', [x, m.fill(5)]), dx, m.fill(0.5)));
  // Whole numbers: some are equal, and f32 and float64 agree on which is the largest.
  const inputs = () => ({ x: noise(product(c.shape)).map((v) => Math.round(v * 20)), dy: noise(product(out), 3) });
  const maximum = problem(`window: max_pool and gradient ${what}`, m.finish(), [], { inputs, large });
  // Averages have no dilations.
  if (dilations) return [maximum];
  const averages = [true, false].map((padded) => {
    const b = builder();
    const average = { ...attrs, count_include_pad: padded };
    b.output('y', b.node('relu', [b.node('avg_pool', [b.input('x', tensor('f32', c.shape))], { attrs: average })]));
    const back = { ...average, input_height: c.shape[2], input_width: c.shape[3] };
    b.output('dx', b.node('avg_pool_grad', [b.input('dy', tensor('f32', out))], { attrs: back }));
    return problem(`window: avg_pool and gradient ${what}, padding ${padded ? 'counts' : 'does not'}`, b.finish(), [], {
      large,
    });
  });
  return [maximum, ...averages];
}

function gather(shape: readonly number[], axis: number, count: number, large = false): Problem[] {
  const indices = noise(count, 5).map((v) => Math.floor(((v + 2) / 4) * shape[axis]));
  const g = builder();
  const [x, i] = [g.input('x', tensor('f32', shape)), g.input('i', tensor('i32', [count]))];
  g.output('y', g.mul(g.node('gather', [g.node('neg', [x]), i], { attrs: { axis } }), g.fill(3)));
  const s = builder();
  const updates = shape.map((d, a) => (a === axis ? count : d));
  const operands = [s.input('i', tensor('i32', [count])), s.input('u', tensor('f32', updates))];
  s.output('y', s.node('scatter_add', operands, { attrs: { axis, size: shape[axis] } }));
  const what = `of [${shape}] along ${axis}, ${count} indices`;
  return [
    problem(`indexing: gather ${what}`, g.finish(), [], {
      inputs: () => ({ x: noise(product(shape)), i: indices }),
      large,
    }),
    problem(`indexing: scatter_add ${what}`, s.finish(), [], {
      inputs: () => ({ i: indices, u: noise(product(updates), 2) }),
      large,
    }),
  ];
}

export const windowProblems: readonly Problem[] = [
  ...pools.flatMap(pooling),
  ...gather([7], 0, 3),
  ...gather([5, 4], 0, 9),
  ...gather([3, 6, 2], 1, 11),
  ...gather([2, 3, 5], 2, 4),
  ...gather([3000, 128], 0, 512, true),
];
