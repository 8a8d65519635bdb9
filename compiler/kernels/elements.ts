/**
 * The element interface of fusion: one element of a value, at a multi-dimensional index, as a kernel expression. Values
 * computed inside the region are inlined through their views and elementwise ops; all others are loads. Expressions are
 * shared, not bound: the last step of lowering (`bind.ts`) binds what is used twice and hoists what a loop does not change.
 */
import type { Node, Value } from '../../ir/graph.js';
import {
  add,
  and,
  div,
  type Expr,
  i32,
  type KernelType,
  load,
  lt,
  max,
  min,
  mul,
  type Stmt,
  select,
  store,
  sub,
  unary,
} from '../../ir/kernel.js';
import { flagOf, intsOf, numberOf } from '../../ir/ops/declare.js';
import { axisOfOperand, formulaOps } from '../../ir/ops/formulas.js';
import { MIX_1, MIX_2 } from '../../ir/random.js';
import { concrete, type DType, storedCount } from '../../ir/types.js';
import { alignedIndex, alignments } from './alignment.js';
import { broadcastIndex, flatten, type Index, reshapeIndex, spaceOf, zero } from './indices.js';
import { Interner } from './intern.js';
import type { Region } from './region.js';
import { constant, isScalarOp, scalarRules } from './scalar.js';

/** How a graph dtype lies in a kernel's memory. */
export function memoryType(dtype: DType): KernelType {
  if (dtype === 'i64') throw new Error('kernels have no i64 values: they must be folded before');
  return dtype;
}

const half = (e: Expr): Expr => ({ kind: 'binary', op: 'shrU', a: e, b: i32(1) });
const xor = (a: Expr, b: Expr): Expr => ({ kind: 'binary', op: 'xor', a, b });
const shrU = (a: Expr, n: number): Expr => ({ kind: 'binary', op: 'shrU', a, b: i32(n) });

/** `mix32` of ir/random.ts. */
function mix32(x: Expr): Expr {
  const a = mul(xor(x, shrU(x, 16)), i32(MIX_1));
  const b = mul(xor(a, shrU(a, 15)), i32(MIX_2));
  return xor(b, shrU(b, 16));
}

/** Offset of (i, j) in a packed lower triangle, whichever of the two is larger. */
export function packedOffset(i: Expr, j: Expr): Expr {
  const row = max(i, j);
  return add(half(mul(row, add(row, i32(1)))), min(i, j));
}

export class Elements {
  private readonly definitions = new Map<Value, Node>();
  private readonly interner: Interner;
  private readonly memo = new Map<Value, Map<string, Expr>>();
  private readonly fixed = new Map<Value, Expr>();

  /** @param parameters memory name of every value that the region reads or writes */
  constructor(
    readonly region: Region,
    readonly parameters: ReadonlyMap<Value, string>,
    interner = new Interner(),
  ) {
    this.interner = interner;
    for (const node of region.nodes)
      if (node !== region.anchor) for (const r of node.results) this.definitions.set(r, node);
  }

  /** The same region while `element` is the one element of `value` in hand, whatever index asks for it. */
  given(value: Value, element: Expr): Elements {
    const e = new Elements(this.region, this.parameters, this.interner);
    for (const [v, x] of this.fixed) e.fixed.set(v, x);
    e.fixed.set(value, element);
    return e;
  }

  /** True when an element of `value` is a plain load: no computation, no view in between. */
  inMemory(value: Value): boolean {
    return !this.fixed.has(value) && !this.definitions.has(value);
  }

  /** Memory of a region input or output. */
  memory(value: Value): string {
    const name = this.parameters.get(value);
    if (name === undefined) throw new Error(`${value.name} is neither computed in this region nor a parameter of it`);
    return name;
  }

  /** Offset in memory of the element of `value` at `index`. */
  offset(value: Value, index: Index): Expr {
    return flatten(index, spaceOf(value.type));
  }

  /**
   * One element of `value`.
   * @param index one i32 expression per dimension; for packed values the offset among the stored elements, alone
   * @param guard where it is false the index may be out of bounds, and the element is arbitrary
   */
  at(value: Value, index: Index, guard?: Expr): Expr {
    const fixed = this.fixed.get(value);
    if (fixed) return fixed;
    let byIndex = this.memo.get(value);
    if (!byIndex) {
      byIndex = new Map();
      this.memo.set(value, byIndex);
    }
    let key = guard ? `${this.interner.id(guard)}:` : '';
    for (let d = 0; d < index.length; d++) key += `${this.interner.id(index[d])},`;
    const known = byIndex.get(key);
    if (known) return known;
    const node = this.definitions.get(value);
    const element = node ? this.compute(node, index, guard) : this.load(value, index, guard, 0);
    byIndex.set(key, element);
    return element;
  }

  private load(value: Value, index: Index, guard: Expr | undefined, otherwise: number): Expr {
    const at = this.offset(value, index);
    const memory = this.memory(value);
    const element: Expr = guard ? { kind: 'loadIf', cond: guard, memory, index: at, otherwise } : load(memory, at);
    // Registers hold bytes as i32.
    return value.type.dtype === 'u8' ? unary('toI32', element) : element;
  }

  private compute(node: Node, index: Index, guard: Expr | undefined): Expr {
    if (isScalarOp(node.op)) {
      const args = node.operands.map((o, k) => this.at(o, operandIndex(node, k, index), guard));
      return scalarRules[node.op](args, node);
    }
    const view = viewRules[node.op];
    if (!view) throw new Error(`${node.op} has no element expression: it must be an anchor`);
    return view(node, index, guard, this);
  }

  /** `cond ? value[index] : otherwise`, as one guarded load where the value lies in memory. */
  guarded(value: Value, index: Index, cond: Expr, guard: Expr | undefined, otherwise: number): Expr {
    const both = guard ? and(guard, cond) : cond;
    if (this.inMemory(value)) return this.load(value, index, both, otherwise);
    return select(cond, this.at(value, index, both), constant(value.type.dtype, otherwise));
  }
}

/** The index in the k-th operand of an elementwise node of what an element of its result needs. */
function operandIndex(node: Node, k: number, index: Index): Index {
  const { type } = node.operands[k];
  if (isFormula(node.op)) {
    const role = formulaOps[node.op].operands[k];
    if (role === 'element') return index;
    return role === 'scalar' ? [] : [index[axisOfOperand[role]]];
  }
  // Beside a packed result an operand is packed alike, or a scalar.
  const own = storedCount(type) === 1 ? spaceOf(type).map(() => 1) : spaceOf(type);
  return broadcastIndex(index, own, spaceOf(node.results[0].type));
}

const isFormula = (op: string): op is keyof typeof formulaOps => Object.hasOwn(formulaOps, op);

/** What the operand gives in whose part `i` lies, the k-th from starts[k] on; `part` is told in which cases it is used. */
function chooseOperand(
  i: Expr,
  starts: readonly number[],
  guard: Expr | undefined,
  part: (k: number, guard: Expr | undefined) => Expr,
): Expr {
  const last = starts.length - 1;
  if (last === 0) return part(0, guard);
  const within = (cond: Expr): Expr => (guard ? and(guard, cond) : cond);
  let chain = part(last, within(lt(i32(starts[last] - 1), i)));
  for (let k = last - 1; k >= 0; k--) {
    const below = lt(i, i32(starts[k + 1]));
    const cond = k === 0 ? below : and(below, lt(i32(starts[k] - 1), i));
    chain = select(below, part(k, within(cond)), chain);
  }
  return chain;
}

type ViewRule = (node: Node, index: Index, guard: Expr | undefined, elements: Elements) => Expr;

/** Element expressions of views, sources, random numbers and 2x2 blocks: mostly index maps. */
const viewRules: Readonly<Record<string, ViewRule>> = {
  reshape: (node, index, guard, e) => {
    const [x] = node.operands;
    const from = reshapeIndex(index, spaceOf(node.results[0].type), spaceOf(x.type), guard !== undefined);
    return e.at(x, from, guard);
  },
  transpose: (node, index, guard, e) => {
    const from = new Array<Expr>(index.length);
    intsOf(node.attrs, 'perm').forEach((p, i) => {
      from[p] = index[i];
    });
    return e.at(node.operands[0], from, guard);
  },
  broadcast: (node, index, guard, e) => {
    const [x] = node.operands;
    return e.at(x, broadcastIndex(index, spaceOf(x.type), spaceOf(node.results[0].type)), guard);
  },
  slice: (node, index, guard, e) => {
    const starts = intsOf(node.attrs, 'starts');
    const steps = intsOf(node.attrs, 'steps');
    const from = index.map((i, d) => add(mul(i, i32(steps[d])), i32(starts[d])));
    return e.at(node.operands[0], from, guard);
  },
  pad: (node, index, guard, e) => {
    const [x] = node.operands;
    const low = intsOf(node.attrs, 'low');
    const high = intsOf(node.attrs, 'high');
    const shape = concrete(x.type.shape);
    const from = index.map((i, d) => sub(i, i32(low[d])));
    let inside: Expr | undefined;
    const need = (c: Expr): void => {
      inside = inside ? and(inside, c) : c;
    };
    from.forEach((i, d) => {
      if (low[d] > 0) need(lt(i32(-1), i));
      if (high[d] > 0) need(lt(i, i32(shape[d])));
    });
    return inside ? e.guarded(x, from, inside, guard, numberOf(node.attrs, 'value')) : e.at(x, from, guard);
  },
  concat: (node, index, guard, e) => {
    const axis = numberOf(node.attrs, 'axis');
    const starts: number[] = [];
    let size = 0;
    for (const o of node.operands) {
      starts.push(size);
      size += concrete(o.type.shape)[axis];
    }
    return chooseOperand(index[axis], starts, guard, (k, guard) => {
      const at = index.map((v, d) => (d === axis ? sub(v, i32(starts[k])) : v));
      return e.at(node.operands[k], at, guard);
    });
  },
  stack: (node, [i], guard, e) =>
    chooseOperand(
      i,
      node.operands.map((_, k) => k),
      guard,
      (k, guard) => e.at(node.operands[k], [], guard),
    ),
  unpack: (node, index, guard, e) => {
    const shape = concrete(node.results[0].type.shape);
    const n = shape[shape.length - 1];
    const batch = flatten(index.slice(0, -2), shape.slice(0, -2));
    const [i, j] = index.slice(-2);
    return e.at(node.operands[0], [add(mul(batch, i32((n * (n + 1)) / 2)), packedOffset(i, j))], guard);
  },
  unit_products: (node, index, guard, e) => {
    const [n, row, c] = index;
    const [gamma, beta] = node.operands.map((rows) => e.at(rows, [n, c], guard));
    return mul(select(lt(row, i32(2)), gamma, beta), select(lt(row, i32(1)), gamma, beta));
  },
  unit_natural: (node, index, guard, e) => {
    const [fisher, gamma, beta, damping] = node.operands;
    const row = (r: number): Expr => e.at(fisher, [i32(r), ...index], guard);
    const [g, b, lambda] = [e.at(gamma, index, guard), e.at(beta, index, guard), e.at(damping, [], guard)];
    const [gg, gb, bb] = [add(row(0), lambda), row(1), add(row(2), lambda)];
    const determinant = sub(mul(gg, bb), mul(gb, gb));
    const solved = flagOf(node.attrs, 'shift') ? sub(mul(gg, b), mul(gb, g)) : sub(mul(bb, g), mul(gb, b));
    return div(solved, determinant);
  },
  fill: (node) => constant(node.results[0].type.dtype, numberOf(node.attrs, 'value')),
  iota: (node, index) => {
    const i = index[numberOf(node.attrs, 'axis')];
    return node.results[0].type.dtype === 'i32' ? i : unary('toF32', i);
  },
  random_uniform: (node, index, guard, e) => {
    const [rng] = node.operands;
    const shape = concrete(node.results[0].type.shape);
    const [seed, step, first] = [0, 1, 2].map((k) => e.at(rng, [i32(k)], guard));
    let h = mix32(xor(seed, i32(0x9e3779b9)));
    h = mix32(xor(h, step));
    h = mix32(xor(h, i32(numberOf(node.attrs, 'key'))));
    h = mix32(xor(h, add(first, index[0] ?? zero)));
    const element = flatten(index.slice(1), shape.slice(1));
    return mul(unary('uToF32', shrU(mix32(xor(h, element)), 8)), { kind: 'const', type: 'f32', value: 2 ** -24 });
  },
};

/**
 * Statements that finish one element of a value: stores of all region outputs, the nodes that follow it inlined.
 * `index`: the element's index in the value (packed values: the offset among the stored elements, alone).
 */
export type Epilogue = (index: Index, element: Expr) => Stmt[];

/** The stores of a region's outputs, each aligned with `space`, given one element of it. */
export function storesFrom(space: Value, region: Region, elements: Elements): Epilogue {
  const orders = alignments(region.nodes, space);
  const shape = spaceOf(space.type);
  return (index, element) => {
    const after = elements.given(space, element);
    return region.outputs.map((out) => {
      const order = orders.get(out);
      if (!order) throw new Error(`${out.name} is not aligned with ${space.name}`);
      const at = alignedIndex(index, shape, order, spaceOf(out.type));
      return store(elements.memory(out), after.offset(out, at), after.at(out, at));
    });
  };
}

/** What follows the region's anchor, given its result's index and element. */
export function epilogueOf(region: Region, elements: Elements): Epilogue {
  if (!region.anchor) throw new Error('an epilogue needs an anchor');
  return storesFrom(region.anchor.results[0], region, elements);
}

/** Memory names of a region's values: `p0..pn`, inputs first, then outputs. */
export function parameterNames(region: Region): Map<Value, string> {
  return new Map([...region.inputs, ...region.outputs].map((v, i) => [v, `p${i}`]));
}
