/**
 * Random graphs of elementwise ops, views and reductions: fused, unfused and float64 must agree, whatever fusion decides.
 */
import { expect, it } from 'vitest';
import { Builder } from '../../ir/builder.js';
import type { Func, Value } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { broadcastShapes, concrete, product, storedCount, symmetric, tensor } from '../../ir/types.js';
import { agrees, noise } from './execute.js';

/** Small, seeded generator of choices. */
class Dice {
  constructor(private state: number) {}
  below(n: number): number {
    this.state = (Math.imul(this.state ^ (this.state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    const h = Math.imul(this.state ^ (this.state >>> 13), 0x297a2d39) >>> 0;
    return Math.floor((h / 2 ** 32) * n);
  }
  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
}

const MOST_ELEMENTS = 4000;
const shapes = [[], [5], [3, 5], [2, 3, 4], [4, 6], [2, 3, 2, 5], [1, 3, 1], [12], [1, 5], [300]];
const unary = ['neg', 'abs', 'relu', 'tanh', 'sigmoid', 'sign', 'floor'] as const;
const binary = ['add', 'sub', 'mul', 'max', 'min'] as const;

function permutation(rank: number, dice: Dice): number[] {
  const out = Array.from({ length: rank }, (_, i) => i);
  for (let i = rank - 1; i > 0; i--) {
    const j = dice.below(i + 1);
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

/** Another shape of the same number of elements. */
function reshaped(shape: readonly number[], dice: Dice): number[] {
  const factors = shape.flatMap((d) => [2, 3, 5, 7].flatMap((p) => (d % p === 0 && d > 1 ? [p] : [])));
  let rest = product(shape);
  const out: number[] = [];
  for (const f of factors) {
    if (rest % f === 0 && dice.below(2)) {
      out.push(f);
      rest /= f;
    }
  }
  out.splice(dice.below(out.length + 1), 0, rest);
  if (dice.below(3) === 0) out.splice(dice.below(out.length + 1), 0, 1);
  return out;
}

function step(b: Builder, pool: Value[], dice: Dice): Value | undefined {
  const x = dice.of(pool);
  const packed = x.type.layout === 'packed-lower';
  if (packed) {
    const kind = dice.below(4);
    if (kind === 0) return b.node('unpack', [x]);
    if (kind === 1) return b.node('trace', [x]);
    if (kind === 2) return b.node(dice.of(unary.slice(0, 4)), [x]);
    const scalars = pool.filter((v) => v.type.shape.length === 0 || v.type === x.type);
    return b.node(dice.of(binary), [x, dice.of(scalars.length > 0 ? scalars : [x])]);
  }
  const shape = concrete(x.type.shape);
  const rank = shape.length;
  const axes = shape.map((_, i) => i).filter(() => dice.below(2));
  switch (dice.below(14)) {
    case 0:
    case 1:
      return b.node(dice.of(unary), [x]);
    case 2:
    case 3:
    case 4: {
      const partners = pool.filter((v) => {
        const joined = v.type.layout === 'dense' ? broadcastShapes(v.type.shape, shape) : undefined;
        return joined && product(concrete(joined)) <= MOST_ELEMENTS;
      });
      const y = dice.of(partners);
      return dice.below(5) === 0 ? b.select(b.node('less', [x, y]), y, x) : b.node(dice.of(binary), [x, y]);
    }
    case 5:
      return b.reshape(x, reshaped(shape, dice));
    case 6:
      return b.transpose(x, permutation(rank, dice));
    case 7: {
      const starts = shape.map((d) => dice.below(d));
      const ends = shape.map((d, i) => starts[i] + 1 + dice.below(d - starts[i]));
      return b.node('slice', [x], { attrs: { starts, ends, steps: shape.map(() => 1 + dice.below(2)) } });
    }
    case 8: {
      const low = shape.map(() => dice.below(3));
      const high = shape.map(() => dice.below(2));
      if (rank > 3) return undefined;
      return b.node('pad', [x], { attrs: { low, high, value: dice.below(3) } });
    }
    case 9: {
      if (rank === 0) return undefined;
      const axis = dice.below(rank);
      const alike = pool.filter(
        (v) =>
          v.type.layout === 'dense' &&
          v.type.shape.length === rank &&
          v.type.shape.every((d, i) => i === axis || d === shape[i]),
      );
      const operands = [x, ...Array.from({ length: dice.below(6) }, () => dice.of(alike))];
      return b.node('concat', operands, { attrs: { axis } });
    }
    case 10:
    case 11:
      return axes.length === 0
        ? undefined
        : b.node(dice.of(['reduce_sum', 'reduce_max'] as const), [x], {
            attrs: { axes, keep: dice.below(2) === 0 },
          });
    case 12: {
      if (rank === 0 || rank > 3) return undefined;
      const lead = dice.of([[], [2], [3]]);
      return b.broadcast(x, [...lead, ...shape.map((d) => (d === 1 ? dice.of([1, 3]) : d))]);
    }
    default: {
      if (rank === 0) return undefined;
      const attrs = { axis: dice.below(rank) };
      const index = b.node('argmax', [x], { attrs });
      return dice.below(2)
        ? b.cast(index, 'f32')
        : storedCount(index.type) <= 30
          ? b.node('gather', [x, index], { attrs })
          : undefined;
    }
  }
}

function randomFunction(seed: number): { func: Func; inputs: Record<string, Float64Array> } {
  const dice = new Dice(seed);
  const b = new Builder(`random${seed}`, passLoc('test'));
  const inputs: Record<string, Float64Array> = {};
  const pool: Value[] = [];
  const give = (name: string, v: Value): void => {
    // Multiples of 1/4: floor, sign, comparisons and maxima then decide alike in float32 and float64.
    inputs[name] = noise(storedCount(v.type), seed + pool.length).map((n) => Math.round(n * 4) / 4);
    pool.push(v);
  };
  for (let k = 0; k < 3; k++) give(`x${k}`, b.input(`x${k}`, tensor('f32', dice.of(shapes))));
  give('s', b.input('s', symmetric(1 + dice.below(4), dice.of([[], [2]]))));
  give('c', b.input('c', tensor('f32', [])));
  const nodes = 6 + dice.below(25);
  for (let k = 0; k < nodes; k++) {
    const v = step(b, pool, dice);
    if (v && storedCount(v.type) <= MOST_ELEMENTS) pool.push(v);
  }
  const outputs = new Set([pool[pool.length - 1], ...Array.from({ length: 1 + dice.below(4) }, () => dice.of(pool))]);
  [...outputs].forEach((v, i) => {
    b.output(`out${i}`, v);
  });
  return { func: b.finish(), inputs };
}

/** tanh and sigmoid leave the grid of quarters; discontinuous ops after them would decide by rounding errors. */
function smooth(func: Func): boolean {
  const inexact = new Set<Value>();
  for (const n of func.nodes) {
    const from = n.operands.some((o) => inexact.has(o));
    if (n.op === 'tanh' || n.op === 'sigmoid' || from) for (const r of n.results) inexact.add(r);
    if (from && ['floor', 'sign', 'less', 'argmax'].includes(n.op)) return false;
  }
  return true;
}

it('random graphs', () => {
  let tried = 0;
  let fused = 0;
  for (let seed = 1; tried < 400; seed++) {
    const { func, inputs } = randomFunction(seed);
    if (!smooth(func)) continue;
    tried++;
    try {
      const { regions } = agrees(func, inputs, 1e-5, tried % 40 === 0);
      if (regions.some((r) => r.nodes.length > 1)) fused++;
    } catch (e) {
      throw new Error(`seed ${seed}: ${(e as Error).message}`, { cause: e });
    }
  }
  expect(fused).toBeGreaterThan(200);
});
