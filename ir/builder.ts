/**
 * Appends nodes to a function under construction: infers types, gives unique names, keeps locations.
 */
import type { Attrs, Func, GraphLevel, Node, Output, StateUpdate, Value } from './graph.js';
import { type Loc, passLoc } from './loc.js';
import { checkAttrs } from './ops/declare.js';
import { type OpName, ops } from './ops/table.js';
import { shapeAttr } from './ops/views.js';
import { concrete, type DType, type Shape, shapeEquals, type TensorType } from './types.js';
import { NumberedValue } from './value-map.js';
import { type Name, type NameParts, Names, nameOf } from './value-names.js';

export interface NodeOptions {
  readonly attrs?: Attrs;
  readonly name?: string;
  readonly loc?: Loc;
  readonly guard?: string;
}

/** A node with the attributes that its op takes and the result types that its op's rule gives: nobody need ask again. */
export class InferredNode implements Node {
  #soundAt: GraphLevel | undefined;

  constructor(
    readonly op: OpName,
    readonly operands: readonly Value[],
    readonly attrs: Attrs,
    readonly results: readonly Value[],
    readonly loc: Loc,
    readonly guard: string | undefined,
  ) {}

  /** The last level at which the verifier has found that the node keeps the rules by itself, wherever it stands. */
  get soundAt(): GraphLevel | undefined {
    return this.#soundAt;
  }
  markSound(level: GraphLevel): void {
    this.#soundAt = level;
  }
}

/** A function whose values all have names of their own: nobody need ask again. */
export class BuiltFunc implements Func {
  #names: Names | undefined;

  /** @param names those of all its values, and perhaps of others that were there before */
  constructor(
    readonly name: string,
    readonly inputs: readonly Value[],
    readonly reads: readonly Value[],
    readonly nodes: readonly Node[],
    readonly outputs: readonly Output[],
    readonly updates: readonly StateUpdate[],
    names?: Names,
  ) {
    this.#names = names;
  }

  /** Gives away its table of names, for who goes on from here to add to; absent: it has been given away. */
  takeNames(): Names | undefined {
    const names = this.#names;
    this.#names = undefined;
    return names;
  }
}

const partsOf = (v: Value): NameParts => (v instanceof NumberedValue ? v : nameOf(v.name));

function namesOf({ inputs, reads, nodes }: Func): Names {
  const names = new Names();
  const claim = (v: Value): unknown => names.claim(partsOf(v));
  inputs.forEach(claim);
  reads.forEach(claim);
  for (let i = 0; i < nodes.length; i++) nodes[i].results.forEach(claim);
  return names;
}

const noAttrs: Attrs = Object.freeze({});
const none: readonly Value[] = [];

export class Builder {
  readonly inputs: Value[] = [];
  readonly reads: Value[] = [];
  readonly nodes: Node[] = [];
  readonly outputs: Output[] = [];
  readonly updates: StateUpdate[] = [];
  /** Location for nodes that give none: what the current pass is working for. */
  loc: Loc;
  /** Guard of nodes that give none: set while statistics are built that are not due in every step. */
  guard?: string;
  /**
   * Names that are taken: those of all values here and of all of `base`, and of some that passes before have dropped. With a base, absent
   * until a new one is wanted.
   */
  private names: Names | undefined;
  /** Results of a node of `base` that what is built now takes the place of: their names are free for it. */
  private replaced: readonly Value[] = none;
  private readonly shared = new Map<string, Value>();
  /** Absent until a state is asked for. */
  private readsByName: Map<string, Value> | undefined;

  /** @param base where all adopted inputs and reads and all appended nodes are from, each once, under their own names */
  constructor(
    readonly name: string,
    loc: Loc,
    private readonly base?: BuiltFunc,
  ) {
    this.loc = loc;
  }

  /** A builder that goes on where `func` ends; its values stay valid. */
  static from(func: Func, pass: string): Builder {
    const b = Builder.over(func, pass, func.name);
    b.adoptInputs(func.inputs);
    b.adoptReads(func.reads);
    const { nodes, outputs, updates } = func;
    for (let i = 0; i < nodes.length; i++) b.append(nodes[i]);
    for (let i = 0; i < outputs.length; i++) b.outputs.push(outputs[i]);
    for (let i = 0; i < updates.length; i++) b.updates.push(updates[i]);
    return b;
  }

  /** A builder for a function out of parts of `base`. */
  static over(base: Func, pass: string, name: string): Builder {
    return new Builder(name, passLoc(pass), base instanceof BuiltFunc ? base : undefined);
  }

  /** Adds an input as it is; its name must be new here. */
  adoptInput(value: Value): Value {
    this.adopt(value);
    this.inputs.push(value);
    return value;
  }

  /** Adds a state read as it is; its name must be new here. */
  adoptRead(value: Value): Value {
    this.adopt(value);
    this.readsByName?.set(value.name, value);
    this.reads.push(value);
    return value;
  }

  adoptInputs(values: readonly Value[]): void {
    for (let i = 0; i < values.length; i++) this.adoptInput(values[i]);
  }

  adoptReads(values: readonly Value[]): void {
    for (let i = 0; i < values.length; i++) this.adoptRead(values[i]);
  }

  /** Whether a value here has the name. */
  has(name: string): boolean {
    if (!this.taken().has(nameOf(name))) return false;
    const named = (v: Value): boolean => v.name === name;
    return this.inputs.some(named) || this.reads.some(named) || this.nodes.some((n) => n.results.some(named));
  }

  /** Adds a finished node as it is; its names must be new here. */
  append(node: Node): void {
    if (!this.tryAppend(node)) throw new Error(`${this.name}: ${node.results[0]?.name} is defined twice`);
  }

  /** Adds a finished node as it is, unless one of its names is taken. */
  tryAppend(node: Node): boolean {
    if (!this.base) {
      const { results } = node;
      const names = this.taken();
      for (let i = 0; i < results.length; i++) if (names.has(partsOf(results[i]))) return false;
      for (let i = 0; i < results.length; i++) names.claim(partsOf(results[i]));
    }
    this.nodes.push(node);
    return true;
  }

  /** What is built from now on takes the place of this node of `base`, and may have its names. */
  inPlaceOf(node: Node): void {
    if (this.base) this.replaced = node.results;
  }

  private adopt(value: Value): void {
    if (!this.base && !this.taken().claim(partsOf(value)))
      throw new Error(`${this.name}: ${value.name} is defined twice`);
  }

  private taken(): Names {
    this.names ??= this.base ? (this.base.takeNames() ?? namesOf(this.base)) : new Names();
    return this.names;
  }

  /** A name not used yet: `base`, or base with a number. */
  private fresh(base: string): Name {
    for (const v of this.replaced) {
      if (v.name !== base) continue;
      this.replaced = this.replaced.filter((other) => other !== v);
      return nameOf(base);
    }
    return this.taken().fresh(base);
  }

  input(name: string, type: TensorType, loc: Loc = this.loc): Value {
    const value = new NumberedValue(this.fresh(name), type, loc);
    this.inputs.push(value);
    return value;
  }

  /** The state entry's value at entry; the same value however often it is asked for. */
  read(name: string, type: TensorType, loc: Loc = this.loc): Value {
    this.readsByName ??= new Map(this.reads.map((v) => [v.name, v]));
    const known = this.readsByName.get(name);
    if (known) return known;
    const value = new NumberedValue(name, type, loc);
    if (!this.taken().claim(value) && this.has(name))
      throw new Error(`state ${name} has the name of another value in ${this.name}`);
    this.readsByName.set(name, value);
    this.reads.push(value);
    return value;
  }

  /** A node with all its results. Throws TypeRuleError where operands do not fit. */
  multi(op: OpName, operands: readonly Value[], options: NodeOptions = {}): Value[] {
    const def = ops[op];
    if (operands.length < def.arity[0] || operands.length > def.arity[1])
      throw new Error(`${op} takes ${def.arity} operands, not ${operands.length}`);
    const attrs = options.attrs ?? noAttrs;
    const loc = options.loc ?? this.loc;
    checkAttrs(def, attrs);
    const types = def.infer(
      operands.map((o) => o.type),
      attrs,
    );
    return this.defined(op, operands, attrs, types, options.name ?? op, loc, options.guard ?? this.guard);
  }

  /**
   * `node` over operands of the types that its own have, with its location and guard. Its results are the same values, unless
   * their names are taken: who reads them need not change.
   */
  again(node: Node, operands: readonly Value[]): readonly Value[] {
    const { op, attrs, results, loc, guard } = node;
    if (this.tryAppend(new InferredNode(op, operands, attrs, results, loc, guard ?? this.guard))) return results;
    const types = results.map((r) => r.type);
    return this.defined(op, operands, attrs, types, results[0].name, loc, guard ?? this.guard);
  }

  private defined(
    op: OpName,
    operands: readonly Value[],
    attrs: Attrs,
    types: readonly TensorType[],
    base: string,
    loc: Loc,
    guard: string | undefined,
  ): Value[] {
    const first = this.fresh(base);
    const results = [new NumberedValue(first, types[0], loc)];
    for (let i = 1; i < types.length; i++)
      results.push(new NumberedValue(this.fresh(`${first.text}:${i}`), types[i], loc));
    this.nodes.push(new InferredNode(op, operands, attrs, results, loc, guard));
    return results;
  }

  /** What many nodes want: made by `build` where nothing was, under the same guard, for this key. */
  once(key: string, build: () => Value): Value {
    const guarded = this.guard === undefined ? key : `${key} when ${this.guard}`;
    let value = this.shared.get(guarded);
    if (!value) {
      value = build();
      this.shared.set(guarded, value);
    }
    return value;
  }

  /** A node with one result (or the first of several). */
  node(op: OpName, operands: readonly Value[], options: NodeOptions = {}): Value {
    return this.multi(op, operands, options)[0];
  }

  // ---- The ops that passes use most, by their own names ----

  fill(value: number, shape: Shape = [], dtype: DType = 'f32', name = 'c'): Value {
    return this.node('fill', [], { attrs: { value, shape: shapeAttr(shape), dtype }, name });
  }
  add = (a: Value, b: Value, name?: string): Value => this.node('add', [a, b], { name });
  sub = (a: Value, b: Value, name?: string): Value => this.node('sub', [a, b], { name });
  mul = (a: Value, b: Value, name?: string): Value => this.node('mul', [a, b], { name });
  div = (a: Value, b: Value, name?: string): Value => this.node('div', [a, b], { name });
  neg = (a: Value, name?: string): Value => this.node('neg', [a], { name });
  sqrt = (a: Value, name?: string): Value => this.node('sqrt', [a], { name });
  select = (c: Value, a: Value, b: Value, name?: string): Value => this.node('select', [c, a, b], { name });

  cast(x: Value, dtype: DType, name?: string): Value {
    return x.type.dtype === dtype ? x : this.node('cast', [x], { attrs: { dtype }, name });
  }
  reshape(x: Value, shape: Shape, name?: string): Value {
    return shapeEquals(x.type.shape, shape)
      ? x
      : this.node('reshape', [x], { attrs: { shape: shapeAttr(shape) }, name });
  }
  transpose(x: Value, perm: readonly number[], name?: string): Value {
    return perm.every((p, i) => p === i) ? x : this.node('transpose', [x], { attrs: { perm }, name });
  }
  broadcast(x: Value, shape: Shape, name?: string): Value {
    return shapeEquals(x.type.shape, shape)
      ? x
      : this.node('broadcast', [x], { attrs: { shape: shapeAttr(shape) }, name });
  }
  sum(x: Value, axes: readonly number[], keep = false, name?: string): Value {
    return axes.length === 0 ? x : this.node('reduce_sum', [x], { attrs: { axes, keep }, name });
  }
  sumAll(x: Value, name?: string): Value {
    return this.sum(
      x,
      x.type.shape.map((_, i) => i),
      false,
      name,
    );
  }
  matmul(a: Value, b: Value, ta = false, tb = false, name?: string): Value {
    return this.node('matmul', [a, b], { attrs: { ta, tb }, name });
  }
  /** `x` sliced on one axis: [start, end). */
  sliceAxis(x: Value, axis: number, start: number, end: number, name?: string): Value {
    const shape = x.type.shape;
    const starts = shape.map((_, i) => (i === axis ? start : 0));
    const ends = shape.map((d, i) => (i === axis ? end : typeof d === 'number' ? d : -1));
    return this.node('slice', [x], { attrs: { starts, ends, steps: shape.map(() => 1) }, name });
  }

  output(name: string, value: Value): void {
    this.outputs.push({ name, value });
  }
  update(state: string, value: Value): void {
    this.updates.push({ state, value });
  }

  finish(): Func {
    const { name, inputs, reads, nodes, outputs, updates } = this;
    const names = this.names ?? this.base?.takeNames();
    return new BuiltFunc(name, inputs.slice(), reads.slice(), nodes.slice(), outputs.slice(), updates.slice(), names);
  }
}

/** Number of dimensions known to be concrete; convenience for passes that run after the batch is bound. */
export function dims(value: Value): readonly number[] {
  return concrete(value.type.shape);
}
