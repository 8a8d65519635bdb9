/**
 * Every elementwise op on ordinary and on extreme numbers, every view, and loops that are shared.
 */
import type { Value } from '../../ir/graph.js';
import { elementwiseOps } from '../../ir/ops/elementwise.js';
import { formulaOps } from '../../ir/ops/formulas.js';
import { type OpName, ops } from '../../ir/ops/table.js';
import { type DType, product, symmetric, tensor } from '../../ir/types.js';
import { builder, isDenormal, noise, type Problem, problem } from './problem.js';

const elementwise = Object.keys(elementwiseOps) as (keyof typeof elementwiseOps)[];

/** Where an op is defined, and not so steep that a rounding of its input shows. */
const domains: Partial<Record<OpName, (x: number, operand: number) => number>> = {
  log: (x) => Math.abs(x) + 0.1,
  sqrt: Math.abs,
  reciprocal: (x) => x + 3,
  sign: Math.round,
  floor: (x) => x * 3,
  equal: Math.round,
  pow: Math.abs,
  div: (x, operand) => (operand === 1 ? x + 3 : x),
};

const dtypesOf = (op: OpName): readonly DType[] => {
  if (op === 'not') return ['bool'];
  if (op === 'and' || op === 'or') return ['bool', 'bool'];
  if (op === 'select') return ['bool', 'f32', 'f32'];
  return new Array<DType>(ops[op].arity[0]).fill('f32');
};

const shapes: readonly (readonly (readonly number[])[])[] = [
  [[], [], []],
  [[7], [7], [7]],
  [[3, 4], [4], [3, 1]],
  [
    [5, 1],
    [1, 6],
    [5, 6],
  ],
  [
    [4, 1, 5],
    [3, 1],
    [4, 3, 5],
  ],
  [[70, 300], [300], []],
];

function ordinary(op: OpName): Problem[] {
  const dtypes = dtypesOf(op);
  return shapes.map((some, turn) => {
    const b = builder();
    const inputs: Record<string, ArrayLike<number>> = {};
    const operands = dtypes.map((dtype, i) => {
      const domain = domains[op] ?? ((x: number) => x);
      const values = noise(product(some[i]), 7 * turn + i + 1).map((x) => domain(x, i));
      inputs[`x${i}`] = dtype === 'bool' ? values.map((x) => Number(x > 0)) : values;
      return b.input(`x${i}`, tensor(dtype, some[i]));
    });
    b.output('y', b.node(op, operands, op === 'cast' ? { attrs: { dtype: 'i32' } } : {}));
    const sizes = some.slice(0, dtypes.length).map((s) => `[${s}]`);
    return problem(`pointwise: ${op} ${sizes.join(' ')}`, b.finish(), [], { inputs: () => inputs });
  });
}

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
/** The last three are denormal. */
const extremes = [0, -0, 1, -1, 0.5, 88, -104, 3e38, -3e38, inf, -inf, nan, 1.2e-38, -1.2e-38, 1e-40, -1e-40, 1e-45];

/**
 * Devices may take denormal numbers for zero, as inputs and as results; other results are as near as elsewhere. A power is
 * exp(y log x), and exp multiplies the roundings of its argument, which is up to 88, by that argument.
 */
const extremeTolerance = (op: OpName) => ({ own: op === 'pow' ? 88 * 2 ** -22 : 4e-6, absolute: 2 ** -126 });

/** Each number for one operand; each pair for two. */
function extreme(op: OpName): Problem[] {
  const dtypes = dtypesOf(op);
  if (dtypes.includes('bool') || op === 'cast') return [];
  const b = builder();
  // A power is exp(y log |x|), with a sign and a domain after that: those of -0 and of -infinity it does not know.
  const bases =
    op === 'pow' ? extremes.filter((x) => !Object.is(x, -0) && !(x < 0 && isDenormal(x)) && x !== -inf) : extremes;
  const n = bases.length;
  const inputs: Record<string, ArrayLike<number>> = { x0: bases };
  const operands = [b.input('x0', tensor('f32', dtypes.length === 1 ? [n] : [n, 1]))];
  if (dtypes.length === 2) {
    operands.push(b.input('x1', tensor('f32', [extremes.length])));
    inputs.x1 = extremes;
  }
  b.output('y', b.node(op, operands));
  return [
    problem(`pointwise: ${op} of extremes`, b.finish(), [], {
      inputs: () => inputs,
      tolerance: extremeTolerance(op),
      flushes: true,
    }),
  ];
}

const whole = (seed: number): Float64Array => noise(30, seed).map((v) => Math.round(v * 40));

function integers(): Problem {
  const b = builder();
  const [x, y] = [b.input('x', tensor('i32', [30])), b.input('y', tensor('i32', [30]))];
  for (const op of ['add', 'sub', 'mul', 'max', 'min', 'equal', 'less'] as const) b.output(op, b.node(op, [x, y]));
  return problem('pointwise: integers', b.finish(), [], { inputs: () => ({ x: whole(1), y: whole(2) }) });
}

function conversions(): Problem {
  const b = builder();
  const [x, u] = [b.input('x', tensor('i32', [30])), b.input('u', tensor('u8', [30]))];
  b.output('scaled', b.mul(b.cast(u, 'f32'), b.fill(1 / 255)));
  b.output('wide', b.add(b.cast(u, 'i32'), x));
  b.output('truth', b.cast(x, 'bool'));
  b.output('low', b.cast(x, 'u8'));
  const inputs = () => ({ x: whole(1).map(Math.abs), u: whole(3).map((v) => Math.abs(v)) });
  return problem('pointwise: bytes and conversions', b.finish(), [], { inputs });
}

/** A formula over a tensor with channels and examples, its operands as they lie in memory. */
function formula(op: keyof typeof formulaOps, shape: readonly [number, number, ...number[]]): Problem {
  const b = builder();
  const { operands, attrs = {} } = formulaOps[op];
  const values: Record<string, number> = { momentum: 0.9, epsilon: 1e-3, ratio: 1.5 };
  const inputs: Record<string, ArrayLike<number>> = {};
  const given = operands.map((role, i) => {
    const own = { element: shape, example: [shape[0]], channel: [shape[1]], scalar: [] }[role];
    const x = noise(product(own), i + 1);
    inputs[`x${i}`] = /rstd|pi|inference/.test(op) ? x.map((v) => Math.abs(v) + 0.1) : x;
    return b.input(`x${i}`, tensor('f32', own));
  });
  b.output('y', b.node(op, given, { attrs: Object.fromEntries(Object.keys(attrs).map((a) => [a, values[a]])) }));
  return problem(`pointwise: ${op} [${shape}]`, b.finish(), [], { inputs: () => inputs });
}

function unitBlocks(n: number, c: number): Problem {
  const b = builder();
  const [gamma, beta] = ['gamma', 'beta'].map((name) => b.input(name, tensor('f32', [n, c])));
  const products = b.node('unit_products', [gamma, beta]);
  b.output('products', products);
  const fisher = b.sum(products, [0]);
  const [g, s] = [b.sum(gamma, [0]), b.sum(beta, [0])];
  for (const shift of [false, true])
    b.output(`natural ${shift}`, b.node('unit_natural', [fisher, g, s, b.fill(0.5)], { attrs: { shift } }));
  return problem(`pointwise: unit_products and unit_natural of ${n} examples, ${c} channels`, b.finish());
}

const formulas = Object.keys(formulaOps) as (keyof typeof formulaOps)[];

function view(op: OpName, shape: readonly number[], attrs: Record<string, unknown>): Problem {
  const b = builder();
  const x = b.input('x', tensor('f32', shape));
  b.output('plain', b.node(op, [x], { attrs: attrs as never }));
  b.output('computed', b.add(b.node('relu', [b.node(op, [b.mul(x, x)], { attrs: attrs as never })]), b.fill(1)));
  return problem(`view: ${op} [${shape}] ${JSON.stringify(attrs)}`, b.finish());
}

function concat(count: number, axis: number): Problem {
  const b = builder();
  const parts = Array.from({ length: count }, (_, k): Value => {
    const x = b.input(`x${k}`, tensor('f32', axis === 0 ? [k + 1, 3] : [3, k + 1]));
    return k % 2 ? b.mul(x, x) : x;
  });
  const joined = b.node('concat', parts, { attrs: { axis } });
  b.output('joined', joined);
  b.output('after', b.add(b.node('relu', [joined]), b.fill(1)));
  return problem(`view: concat of ${count} along ${axis}`, b.finish());
}

function stack(count: number): Problem {
  const b = builder();
  const scalars = Array.from({ length: count }, (_, k): Value => {
    const x = b.input(`x${k}`, tensor('f32', []));
    return k % 2 ? b.mul(x, x) : x;
  });
  const stacked = b.node('stack', scalars);
  b.output('stacked', stacked);
  b.output('after', b.add(b.node('relu', [stacked]), b.fill(1)));
  return problem(`view: stack of ${count}`, b.finish());
}

function packed(n: number, batch: readonly number[]): Problem {
  const b = builder();
  const [s, t] = [b.input('s', symmetric(n, batch)), b.input('t', symmetric(n, batch))];
  const mixed = b.add(b.mul(s, b.input('c', tensor('f32', []))), t);
  b.output('mixed', mixed);
  b.output('full', b.node('unpack', [b.add(s, t)]));
  return problem(`view: unpack ${n}, batch [${batch}]`, b.finish());
}

function sources(): Problem {
  const b = builder();
  const rng = b.input('rng', tensor('i32', [3]));
  b.output('fill', b.fill(2.5, [3, 2]));
  b.output('iota', b.node('iota', [], { attrs: { shape: [3, 4], axis: 1, dtype: 'i32' } }));
  b.output('ramp', b.node('iota', [], { attrs: { shape: [3, 4], axis: 0, dtype: 'f32' } }));
  b.output('uniform', b.node('random_uniform', [rng], { attrs: { shape: [4, 3, 5], key: 12345 } }));
  return problem('view: fill, iota, random numbers exact to the last bit', b.finish(), [], {
    inputs: () => ({ rng: [7, -3, 1000] }),
    tolerance: {},
  });
}

/** Velocity and weight of a parameter leave one kernel. */
function update(shape: readonly number[], large = false): Problem {
  const b = builder();
  const [w, v, g] = ['w', 'v', 'g'].map((n) => b.input(n, tensor('f32', shape)));
  const [lr, m] = ['lr', 'm'].map((n) => b.input(n, tensor('f32', [])));
  const velocity = b.add(b.mul(v, m), g);
  b.output('v1', velocity);
  b.output('w1', b.sub(w, b.mul(velocity, lr)));
  return problem(`pointwise: an update of [${shape}]`, b.finish(), [], { large });
}

export const pointwiseProblems: readonly Problem[] = [
  ...elementwise.flatMap(ordinary),
  ...elementwise.flatMap(extreme),
  ...formulas.flatMap((op) => [formula(op, [4, 3, 5, 5]), formula(op, [3, 70]), formula(op, [1, 3, 1, 1])]),
  unitBlocks(5, 7),
  unitBlocks(33, 1),
  integers(),
  conversions(),
  update([6, 5]),
  // More workgroups than fit into one dimension.
  update([4100, 4099], true),
];

export const viewProblems: readonly Problem[] = [
  view('reshape', [2, 3, 4], { shape: [6, 4] }),
  view('reshape', [12], { shape: [1, 3, 1, 4] }),
  view('transpose', [3, 5], { perm: [1, 0] }),
  view('transpose', [2, 3, 4, 5], { perm: [0, 2, 3, 1] }),
  view('broadcast', [3, 1], { shape: [2, 3, 4] }),
  view('broadcast', [], { shape: [5] }),
  view('slice', [5, 7], { starts: [1, 0], ends: [5, 7], steps: [2, 3] }),
  view('slice', [4, 6, 2], { starts: [0, 2, 0], ends: [4, 5, 2], steps: [1, 1, 1] }),
  view('pad', [3, 4], { low: [1, 0], high: [0, 2], value: 7 }),
  view('pad', [2, 3], { low: [2, 1], high: [1, 1], value: -1 }),
  ...[1, 2, 3, 7].flatMap((count) => [concat(count, 0), concat(count, 1)]),
  ...[1, 2, 3, 7].map(stack),
  ...[1, 2, 5, 33].flatMap((n) => [packed(n, []), packed(n, [3])]),
  sources(),
];
