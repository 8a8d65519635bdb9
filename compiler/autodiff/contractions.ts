/**
 * Gradients of matrix products, convolutions and pooling. Convolution, its input gradient and its weight gradient are one
 * trilinear form with a different factor left out each time, so their gradients are one another.
 */
import { type Builder, dims } from '../../ir/builder.js';
import type { Attrs, Value } from '../../ir/graph.js';
import { flagOf } from '../../ir/ops/declare.js';
import { product } from '../../ir/types.js';
import { type NoGradient, notTwice, type Rule, type Site } from './rule.js';

/** With C = op(A) op(B): dA = dC op(B)^T and dB = op(A)^T dC, each transposed where its operand is. */
function matmul(s: Site): readonly (() => Value)[] {
  const { b, dy } = s;
  const [x, w] = s.x;
  const [ta, tb] = [flagOf(s.attrs, 'ta'), flagOf(s.attrs, 'tb')];
  const da = () => (ta ? b.matmul(w, dy, tb, true, s.dx(0)) : b.matmul(dy, w, false, !tb, s.dx(0)));
  const db = () => {
    // A weight shared by all leading positions: they are rows of one product, not a batch of products to be summed.
    const rows = w.type.shape.length === 2 && !ta;
    const [a, d] = rows ? [flattened(b, x), flattened(b, dy)] : [x, dy];
    return tb ? b.matmul(d, a, true, ta, s.dx(1)) : b.matmul(a, d, !ta, false, s.dx(1));
  };
  return [da, db];
}

function flattened(b: Builder, x: Value): Value {
  const shape = dims(x);
  return b.reshape(x, [product(shape.slice(0, -1)), shape[shape.length - 1]]);
}

function only(attrs: Attrs, names: readonly string[]): Attrs {
  return Object.fromEntries(names.map((n) => [n, attrs[n]]));
}

/** The three forms over (image x, weight w, output y) with the window of the forward node. */
function convolution(s: Site) {
  const window = only(s.attrs, ['strides', 'pads', 'dilations', 'groups']);
  return {
    output: (x: Value, w: Value, name: string) => s.b.node('conv', [x, w], { attrs: window, name }),
    image: (y: Value, w: Value, like: Value, name: string) => {
      const [, , height, width] = dims(like);
      return s.b.node('conv_input_grad', [y, w], { attrs: { ...window, height, width }, name });
    },
    weight: (x: Value, y: Value, like: Value, name: string) => {
      const kernel = dims(like).slice(2);
      return s.b.node('conv_weight_grad', [x, y], { attrs: { ...window, kernel }, name });
    },
  };
}

export const contractionGradients = {
  matmul,
  conv: (s) => {
    const [x, w] = s.x;
    const form = convolution(s);
    return [() => form.image(s.dy, w, x, s.dx(0)), () => form.weight(x, s.dy, w, s.dx(1))];
  },
  conv_input_grad: (s) => {
    const [y, w] = s.x;
    const form = convolution(s);
    return [() => form.output(s.dy, w, s.dx(0)), () => form.weight(s.dy, y, w, s.dx(1))];
  },
  conv_weight_grad: (s) => {
    const [x, y] = s.x;
    const form = convolution(s);
    return [() => form.image(y, s.dy, x, s.dx(0)), () => form.output(x, s.dy, s.dx(1))];
  },
} satisfies Record<string, Rule | NoGradient>;

export const poolingGradients = {
  max_pool: (s) => [() => s.b.node('max_pool_grad', [s.x[0], s.dy], { attrs: s.attrs, name: s.dx(0) })],
  max_pool_grad: notTwice,
  avg_pool: (s) => {
    const [, , input_height, input_width] = dims(s.x[0]);
    const attrs = { ...s.attrs, input_height, input_width };
    return [() => s.b.node('avg_pool_grad', [s.dy], { attrs, name: s.dx(0) })];
  },
  // Linear, so its gradient is its transpose: the average itself.
  avg_pool_grad: (s) => {
    const names = Object.keys(s.attrs).filter((n) => n !== 'input_height' && n !== 'input_width');
    return [() => s.b.node('avg_pool', [s.dy], { attrs: only(s.attrs, names), name: s.dx(0) })];
  },
} satisfies Record<string, Rule | NoGradient>;
