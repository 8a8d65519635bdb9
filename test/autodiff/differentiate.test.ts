/**
 * Every gradient rule against central finite differences of the float64 evaluator, with the op in the middle of a graph:
 * p -> p + c p -> op -> sum r tanh(y). Step h = 1e-6: truncation ~ h^2 = 1e-12, cancellation ~ 1e-16 |loss| / h = 1e-10 for
 * losses of order one; a hundred times that, relative to the largest entry, is the tolerance.
 */
import { describe, expect, it } from 'vitest';
import { differentiate } from '../../compiler/autodiff/differentiate.js';
import { isRule } from '../../compiler/autodiff/rule.js';
import { gradients } from '../../compiler/autodiff/table.js';
import { Builder } from '../../ir/builder.js';
import { evaluate } from '../../ir/evaluate.js';
import { type Func, findFunction, type Module, type Value } from '../../ir/graph.js';
import { opNames } from '../../ir/ops/table.js';
import { mix32 } from '../../ir/random.js';
import { product, tensor } from '../../ir/types.js';
import { type Case, cases, type Operand } from './cases.js';

const STEP = 1e-6;
const TOLERANCE = 1e-8;
const loc = { kind: 'file', file: 'test', line: 1, column: 1 } as const;

/** Uniform in [0, 1). */
const noise = (key: number, i: number): number => mix32(mix32(key) ^ i) / 2 ** 32;

function valuesOf(o: Operand, key: number): Float64Array {
  const n = product(o.shape);
  if (o.values) return Float64Array.from(o.values);
  if (o.distinct) {
    const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => noise(key, a) - noise(key, b));
    // Multiples of 1/8 off zero by a share of the key: distinct within and across operands.
    return Float64Array.from(order, (i) => (i - n / 2) / 8 + 0.01 + (key % 7) / 100);
  }
  const [from, to] = o.range ?? [-1, 1];
  return Float64Array.from({ length: n }, (_, i) => from + (to - from) * noise(key, i));
}

function moduleOf(func: Func, parameters: readonly string[]): Module {
  const state = func.reads.map((r) => ({
    name: r.name,
    type: r.type,
    role: 'parameter' as const,
    owner: 'all' as const,
    lifetime: 'training' as const,
    checkpoint: true,
    init: { kind: 'weights' } as const,
    loc,
  }));
  return {
    name: 'test',
    level: 'model',
    state,
    functions: [func],
    weights: new Map(),
    parameters: parameters.map((name) => ({ name, trainable: true, rule: '', why: '' })),
  };
}

/** The case's op between two others; floating operands without given values are parameters. */
function graphOf(c: Case) {
  const b = new Builder('train', loc);
  const state: Record<string, Float64Array> = {};
  const inputs: Record<string, Float64Array> = {};
  const parameters: string[] = [];
  const operands = c.operands.map((o, i): Value => {
    const type = tensor(o.dtype ?? 'f32', o.shape);
    if (o.values) {
      inputs[`i${i}`] = valuesOf(o, i);
      return b.input(`i${i}`, type);
    }
    const name = `p${i}`;
    parameters.push(name);
    state[name] = valuesOf(o, i + 1);
    const p = b.read(name, type);
    return b.add(p, b.mul(p, b.fill(0.25)));
  });
  const y = b.node(c.op, operands, { attrs: c.attrs, name: 'y' });
  const r = b.input('r', y.type);
  inputs.r = valuesOf({ shape: y.type.shape as number[] }, 99);
  const loss = b.sumAll(b.mul(b.node('tanh', [b.mul(y, b.fill(0.5))]), r));
  b.output('loss', loss);
  return { func: b.finish(), state, inputs, parameters };
}

function expectGradients(
  func: Func,
  parameters: readonly string[],
  inputs: Record<string, Float64Array>,
  state: Record<string, Float64Array>,
): void {
  const train = findFunction(differentiate(moduleOf(func, parameters)), 'train');
  const got = evaluate(train, inputs, state).outputs;
  const loss = (s: Record<string, Float64Array>): number => evaluate(func, inputs, s).outputs.loss[0];
  for (const name of parameters) {
    const numeric = state[name].map((_, i) => {
      const moved = (h: number) => ({ ...state, [name]: state[name].with(i, state[name][i] + h) });
      return (loss(moved(STEP)) - loss(moved(-STEP))) / (2 * STEP);
    });
    const analytic = got[`gradient(${name})`];
    const scale = Math.max(1, ...numeric.map(Math.abs));
    const error = Math.max(...numeric.map((v, i) => Math.abs(v - analytic[i]))) / scale;
    expect(error, `gradient of ${name}`).toBeLessThan(TOLERANCE);
  }
}

describe('gradient of', () => {
  for (const c of cases)
    it(`${c.op}: ${c.what}`, () => {
      const { func, state, inputs, parameters } = graphOf(c);
      expectGradients(func, parameters, inputs, state);
    });
});

describe('the table', () => {
  it('has a test case for every op that has a gradient', () => {
    const covered = new Set(cases.map((c) => c.op));
    expect(opNames.filter((op) => isRule(gradients[op]) && !covered.has(op))).toEqual([]);
  });
});

describe('differentiate', () => {
  const vector = tensor('f32', [3]);

  it('adds up all uses of a parameter', () => {
    const b = new Builder('train', loc);
    const p = b.read('p', vector);
    const q = b.mul(p, p);
    b.output('loss', b.sumAll(b.add(b.mul(q, p), b.sub(p, b.node('exp', [q])))));
    expectGradients(b.finish(), ['p'], {}, { p: Float64Array.of(0.3, -0.7, 1.1) });
  });

  it('gives ties of max and min to the first operand, of reduce_max and relu as stated', () => {
    const b = new Builder('train', loc);
    const p = b.read('p', vector);
    const bound = b.fill(1);
    const clipped = b.node('min', [p, bound]);
    const first = b.node('reduce_max', [p], { attrs: { axes: [0], keep: false } });
    const flat = b.node('relu', [b.sub(p, bound)]);
    b.output('loss', b.add(b.add(b.sumAll(clipped), b.mul(first, b.fill(10))), b.sumAll(flat)));
    const { functions } = differentiate(moduleOf(b.finish(), ['p']));
    const got = evaluate(functions[0], {}, { p: Float64Array.of(1, 0, 1) }).outputs['gradient(p)'];
    expect([...got]).toEqual([11, 1, 1]);
  });

  it('gives gradients only to what lies between trainable parameters and the loss', () => {
    const b = new Builder('train', loc);
    const x = b.input('x', tensor('f32', [4, 3]));
    const w = b.read('w', tensor('f32', [3, 2]));
    const frozen = b.read('frozen', tensor('f32', [2, 2]));
    const stray = b.read('stray', vector);
    b.node('exp', [stray]);
    b.output('loss', b.sumAll(b.matmul(b.matmul(x, w), frozen)));
    const func = b.finish();
    const module = differentiate(moduleOf(func, ['w', 'stray']));
    const train = module.functions[0];
    expect(train.outputs.map((o) => o.name)).toEqual(['loss', 'gradient(w)']);
    // One product back through `frozen`, one for w; none for x or frozen.
    expect(train.nodes.slice(func.nodes.length).filter((n) => n.op === 'matmul')).toHaveLength(2);
    expect(module.parameters).toContainEqual({
      name: 'stray',
      trainable: true,
      rule: 'unused',
      why: 'it does not influence the loss',
    });
  });

  it('refuses a module in which nothing can be trained', () => {
    const b = new Builder('train', loc);
    b.output('loss', b.sumAll(b.node('sign', [b.read('p', vector)])));
    expect(() => differentiate(moduleOf(b.finish(), ['p']))).toThrow(expect.objectContaining({ code: 205 }));
  });
});
