/**
 * Random functions for tests of what stands behind the graph (fusion, kernels, targets): typed, of core ops only, with shapes
 * that are small enough for the float64 evaluator. Two rules let float32 be held against float64:
 * - values stay bounded: what could grow is scaled or squashed;
 * - ops that jump (argmax, less, floor, max_pool_grad, ...) take only inputs, which both have exactly.
 */
import { Builder } from '../../ir/builder.js';
import type { Func, Value } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { broadcastShapes, concrete, product, storedCount } from '../../ir/types.js';
import { formula } from './formulas.js';
import { Rng } from './rng.js';
import { any, anyThat, dims, exact, type Graph, input, ofShape, type Step, scaled, small } from './step.js';

const unary: Step = (g) => {
  const { b, r } = g;
  const x = any(g);
  const above = (): Value => b.add(b.node('abs', [x]), b.fill(0.5));
  const op = r.pick([
    'neg',
    'abs',
    'tanh',
    'erf',
    'sigmoid',
    'relu',
    'exp',
    'log',
    'sqrt',
    'reciprocal',
    'pow',
  ] as const);
  if (op === 'exp') return b.node(op, [b.neg(b.node('abs', [x]))]);
  if (op === 'log' || op === 'sqrt' || op === 'reciprocal') return b.node(op, [above()]);
  if (op === 'pow') return b.node('tanh', [b.node('pow', [above(), b.fill(r.pick([2, 0.5, -1.5]))])]);
  return b.node(op, [x]);
};

const binary: Step = (g) => {
  const { b, r } = g;
  const x = any(g);
  const y = anyThat(g, (s) => {
    const joined = broadcastShapes(s, x.type.shape);
    return joined !== undefined && small(concrete(joined));
  });
  if (!y) return undefined;
  const [p, q] = r.chance(0.5) ? [x, y] : [y, x];
  const op = r.pick(['add', 'sub', 'mul', 'div', 'max', 'min'] as const);
  if (op === 'mul') return b.node('tanh', [b.mul(p, q)]);
  if (op === 'div') return b.node('tanh', [b.div(p, b.add(b.node('abs', [q]), b.fill(0.5)))]);
  if (op === 'max' || op === 'min') return b.node(op, [p, q]);
  return b.mul(b.node(op, [p, q]), b.fill(0.5));
};

/** Comparisons, logic and rounding, of inputs only. */
const decision: Step = (g) => {
  const { b, r } = g;
  const x = exact(g);
  const half = b.fill(r.pick([0, 0.25, -0.5]));
  const condition = r.pick([
    () => b.node('less', [x, half]),
    () => b.node('not', [b.node('less', [half, x])]),
    () => b.node('and', [b.node('less', [half, x]), b.node('is_finite', [x])]),
    () => b.node('or', [b.node('equal', [b.node('sign', [x]), half]), b.node('less', [half, x])]),
  ])();
  const y = anyThat(g, (s) => String(broadcastShapes(s, x.type.shape)) === String(dims(x)));
  return r.chance(0.3)
    ? b.cast(condition, 'f32')
    : b.select(condition, y ?? x, r.chance(0.5) ? b.node('floor', [x]) : half);
};

function factorized(r: Rng, count: number): number[] {
  const out: number[] = [];
  let rest = count;
  for (const p of [2, 3, 5]) {
    if (rest % p === 0 && r.chance(0.6)) {
      out.push(p);
      rest /= p;
    }
  }
  out.splice(r.int(0, out.length), 0, rest);
  return out;
}

const view: Step = (g) => {
  const { b, r } = g;
  const x = any(g);
  const shape = dims(x);
  const rank = shape.length;
  switch (r.int(0, 5)) {
    case 0:
      return b.reshape(x, factorized(r, product(shape)));
    case 1: {
      const order = shape.map((_, i) => [r.real(), i]).sort((p, q) => p[0] - q[0]);
      return b.transpose(
        x,
        order.map(([, i]) => i),
      );
    }
    case 2: {
      const wide = [...r.list(0, 1, () => r.int(1, 3)), ...shape.map((d) => (d === 1 ? r.int(1, 4) : d))];
      return small(wide) ? b.broadcast(x, wide) : undefined;
    }
    case 3: {
      const starts = shape.map((d) => r.int(0, Math.floor((d - 1) / 2)));
      const ends = shape.map((d, i) => r.int(starts[i] + 1, d));
      return b.node('slice', [x], { attrs: { starts, ends, steps: shape.map(() => r.int(1, 2)) } });
    }
    case 4: {
      const attrs = {
        low: shape.map(() => r.int(0, 2)),
        high: shape.map(() => r.int(0, 2)),
        value: r.pick([0, 1, -0.5]),
      };
      const out = b.node('pad', [x], { attrs });
      return small(dims(out)) ? out : undefined;
    }
    default: {
      if (rank === 0) return undefined;
      const axis = r.int(0, rank - 1);
      const others = g.pool.filter(
        (v) => dims(v).length === rank && dims(v).every((d, i) => i === axis || d === shape[i]),
      );
      const parts = [x, ...r.list(1, 2, () => r.pick(others))];
      const out = b.node('concat', parts, { attrs: { axis } });
      return small(dims(out)) ? out : undefined;
    }
  }
};

const source: Step = (g) => {
  const { b, r } = g;
  const shape = dims(any(g));
  if (shape.length === 0 || r.chance(0.3)) return b.fill(r.pick([0, 1, -0.25, 0.1]), shape);
  const iota = b.node('iota', [], {
    attrs: { shape, axis: r.int(0, shape.length - 1), dtype: r.pick(['i32', 'f32']) },
  });
  return b.mul(b.cast(iota, 'f32'), b.fill(0.05));
};

const reduction: Step = (g) => {
  const { b, r } = g;
  const x = any(g);
  const shape = dims(x);
  if (shape.length === 0) return undefined;
  const axes = shape.map((_, i) => i).filter(() => r.chance(0.5));
  if (axes.length === 0) axes.push(r.int(0, shape.length - 1));
  const attrs = { axes, keep: r.chance(0.5) };
  if (r.chance(0.3)) return b.node('reduce_max', [x], { attrs });
  return scaled(g, b.node('reduce_sum', [x], { attrs }), product(axes.map((a) => shape[a])));
};

/** argmax, gather and scatter_add; the indices come from inputs. */
const indexing: Step = (g) => {
  const { b, r } = g;
  const from = exact(g);
  if (dims(from).length === 0) return undefined;
  const indices = b.node('argmax', [from], { attrs: { axis: r.int(0, dims(from).length - 1) } });
  if (r.chance(0.2)) return b.mul(b.cast(indices, 'f32'), b.fill(0.1));
  const x = any(g);
  const shape = dims(x);
  if (shape.length === 0) return undefined;
  const axis = r.int(0, shape.length - 1);
  const out = b.node('gather', [x, indices], { attrs: { axis } });
  if (!small(dims(out))) return undefined;
  if (r.chance(0.5)) return out;
  return b.node('tanh', [b.node('scatter_add', [indices, out], { attrs: { axis, size: r.int(1, 6) } })]);
};

const matmul: Step = (g) => {
  const { b, r } = g;
  const x = anyThat(g, (s) => s.length >= 2);
  if (!x) return undefined;
  const shape = dims(x);
  const [p, q] = shape.slice(-2);
  const [ta, tb] = [r.chance(0.4), r.chance(0.4)];
  const k = ta ? p : q;
  const n = r.int(1, 9);
  const other = anyThat(g, (s) => s.length === 2 && s[tb ? 1 : 0] === k) ?? input(g, tb ? [n, k] : [k, n]);
  const out = b.matmul(x, other, ta, tb);
  return small(dims(out)) ? scaled(g, out, k) : undefined;
};

/** Kernel, stride, padding and dilation that fit an image of this size. */
function windowFor(
  r: Rng,
  height: number,
  width: number,
): { attrs: Record<'kernel' | 'strides' | 'pads' | 'dilations', number[]>; size: number[] } {
  const image = [height, width];
  const dilations = image.map(() => (r.chance(0.2) ? 2 : 1));
  const kernel = image.map((n, d) => r.int(1, Math.max(1, Math.min(3, Math.floor((n - 1) / dilations[d]) + 1))));
  const strides = image.map(() => r.int(1, 2));
  const pads = [0, 1, 2, 3].map((i) => r.int(0, kernel[i % 2] - 1));
  const size = image.map(
    (n, d) => Math.floor((n + pads[d] + pads[d + 2] - dilations[d] * (kernel[d] - 1) - 1) / strides[d]) + 1,
  );
  return { attrs: { kernel, strides, pads, dilations }, size };
}

const image = (g: Graph): Value =>
  anyThat(g, (s) => s.length === 4 && s[1] <= 12) ??
  input(g, [g.r.int(1, 3), g.r.pick([1, 2, 4]), g.r.int(2, 7), g.r.int(2, 7)]);

const convolution: Step = (g) => {
  const { b, r } = g;
  const x = image(g);
  const [n, c, h, w] = dims(x);
  const { attrs: window, size } = windowFor(r, h, w);
  const groups = c % 2 === 0 && r.chance(0.3) ? r.pick([2, c]) : 1;
  const o = groups * r.int(1, 3);
  const { kernel, ...geometry } = window;
  const attrs = { ...geometry, groups };
  const terms = (c / groups) * product(kernel);
  if (!small([n, o, ...size])) return undefined;
  const weight = (): Value => ofShape(g, [o, c / groups, ...kernel]);
  switch (r.int(0, 2)) {
    case 0:
      return scaled(g, b.node('conv', [x, weight()], { attrs }), terms);
    case 1:
      return scaled(
        g,
        b.node('conv_input_grad', [ofShape(g, [n, o, ...size]), weight()], {
          attrs: { ...attrs, height: h, width: w },
        }),
        terms,
      );
    default:
      return scaled(
        g,
        b.node('conv_weight_grad', [x, ofShape(g, [n, o, ...size])], { attrs: { ...attrs, kernel } }),
        n * product(size),
      );
  }
};

const pooling: Step = (g) => {
  const { b, r } = g;
  const x = image(g);
  const [n, c, h, w] = dims(x);
  const { attrs: window, size } = windowFor(r, h, w);
  const { dilations, ...geometry } = window;
  const attrs = { ...geometry, height: size[0], width: size[1] };
  const dy = (): Value => ofShape(g, [n, c, ...size]);
  if (r.chance(0.4)) return b.node('max_pool', [x], { attrs: { ...attrs, dilations } });
  const exactImage = b.inputs.find((v) => String(dims(v)) === String(dims(x)));
  if (exactImage && r.chance(0.4))
    return b.node('max_pool_grad', [exactImage, dy()], { attrs: { ...attrs, dilations } });
  // Average pooling has no dilation: more windows fit.
  const windows = [h, w].map(
    (e, d) => Math.floor((e + window.pads[d] + window.pads[d + 2] - window.kernel[d]) / window.strides[d]) + 1,
  );
  const plain = { ...geometry, height: windows[0], width: windows[1], count_include_pad: r.chance(0.5) };
  if (!small([n, c, ...windows])) return undefined;
  if (r.chance(0.5)) return b.node('avg_pool', [x], { attrs: plain });
  return b.node('avg_pool_grad', [ofShape(g, [n, c, ...windows])], {
    attrs: { ...plain, input_height: h, input_width: w },
  });
};

/** Symmetric values: second moments, their arithmetic, and back to dense. */
const curvature: Step = (g) => {
  const { b, r } = g;
  const scale = b.fill(0.1);
  const features = anyThat(g, (s) => s.length >= 2 && s[s.length - 1] <= 12);
  const patches = r.chance(0.4) ? anyThat(g, (s) => s.length === 4 && s[1] <= 4 && s[2] >= 2 && s[3] >= 2) : undefined;
  let moment: Value;
  if (patches) {
    const [n, c, h, w] = dims(patches);
    const weights = r.chance(0.5) ? [ofShape(g, [n])] : [];
    moment = b.node('patch_second_moment', [patches, scale, ...weights], {
      attrs: { ...windowFor(r, h, w).attrs, groups: c > 3 || r.chance(0.5) ? c : 1, ones: r.chance(0.5) },
    });
  } else {
    if (!features) return undefined;
    const shape = dims(features);
    const weights = r.chance(0.5) ? [ofShape(g, [shape[0]])] : [];
    moment = b.node('second_moment', [features, scale, ...weights], {
      attrs: { axis: shape.length - 1, ones: r.chance(0.5) },
    });
  }
  const mixed = b.node('tanh', [b.mul(b.add(moment, moment), b.fill(0.1))]);
  if (r.chance(0.3)) return b.mul(b.node('trace', [mixed]), b.fill(0.1));
  return small(dims(mixed)) ? b.node('unpack', [mixed]) : undefined;
};

const steps = {
  unary,
  binary,
  formula,
  decision,
  view,
  source,
  reduction,
  indexing,
  matmul,
  convolution,
  pooling,
  curvature,
} satisfies Record<string, Step>;
export type StepKind = keyof typeof steps;
export const stepKinds = Object.keys(steps) as readonly StepKind[];

/** Pointwise ops are what fusion is about: they come more often than the rest. */
const often: readonly StepKind[] = ['unary', 'binary', 'binary', 'view', 'reduction'];

export interface GraphOptions {
  /** Steps to try; each adds one to four nodes. */
  readonly steps?: number;
  /** Kinds of steps to take from; default: all. */
  readonly kinds?: readonly StepKind[];
}

/** A function that is the same for the same seed and options. Outputs: what nothing else reads. */
export function randomFunc(seed: number, options: GraphOptions = {}): Func {
  const r = new Rng(seed);
  const b = new Builder(`random_${seed}`, passLoc('fuzz'));
  const g: Graph = { r, b, pool: [] };
  for (const shape of [[], [4], [3, 4], [2, 3, 4], [2, 4, 5, 6]])
    if (shape.length === 2 || r.chance(0.6)) input(g, shape);
  const kinds = options.kinds ?? stepKinds;
  const choices = [...kinds, ...often.filter((k) => kinds.includes(k))];
  const wanted = options.steps ?? r.int(3, 14);
  for (let i = 0; i < wanted; i++) {
    const made = steps[r.pick(choices)](g);
    if (made && made.type.dtype === 'f32' && !g.pool.includes(made)) g.pool.push(made);
  }
  const read = new Set(b.nodes.flatMap((n) => n.operands));
  const last = b.nodes.flatMap((n) => n.results).filter((v) => !read.has(v) && v.type.dtype === 'f32');
  for (const v of last.length > 0 ? last : [b.inputs[0]]) b.output(`out.${v.name}`, v);
  return b.finish();
}

/** Values for a random function's inputs: in [-1, 1], exact in f32. */
export function randomInputs(func: Func, seed: number): Record<string, Float32Array> {
  const r = new Rng(seed ^ 0x5eed);
  return Object.fromEntries(
    func.inputs.map((v) => [v.name, Float32Array.from({ length: storedCount(v.type) }, () => r.real() * 2 - 1)]),
  );
}
