/**
 * What an op's handler sees of its node: inputs as values or as known tensors, attributes with their defaults, and a builder.
 * It keeps count of what the handler looked at, so that an attribute or input that a handler does not understand is an error,
 * not a wrong result.
 */
import type { Builder } from '../../../ir/builder.js';
import { batchArithmetic, misfit, mustBeKnown, unsupportedForm } from '../../../ir/diagnostics/onnx.js';
import type { Attrs, Value } from '../../../ir/graph.js';
import type { OpName } from '../../../ir/ops/table.js';
import type { DType, Shape } from '../../../ir/types.js';
import type { Attribute, OnnxNode } from './decode.js';
import { type Item, isKnown, type Known, knownFrom, numbers, uniform } from './known.js';
import type { OnnxTensor } from './tensor-data.js';

export type Mode = 'train' | 'predict';

/** What all nodes of one pass over the graph share. */
export interface Pass {
  readonly mode: Mode;
  readonly b: Builder;
  readonly opset: number;
  readonly dropout: boolean;
  readonly bnVariance: 'population' | 'unbiased';
  /** Size of the batch that the model was exported with, where it was fixed. */
  readonly fixedBatch?: number;
  readonly item: (name: string) => Item;
  /** Reads a constant that is not all one number: state of the module. `from` is the ONNX value that it is. */
  readonly constant: (known: Known, from: string) => Value;
  /** Inputs of `train`: f32[N], 1 for real examples; i32[3]. */
  readonly valid: () => Value;
  readonly rng: () => Value;
  /** The state's value so far in this pass, and how a node replaces it. */
  readonly current: (state: Value) => Value;
  readonly replace: (state: Value, by: Value) => void;
}

/** A value's name: what is not a word character, a dot or a colon becomes an underscore. */
export function valueName(onnx: string): string {
  const name = onnx.replace(/[^\w.:]+/g, '_').replace(/^_+(?=\w)/, '');
  return /^[A-Za-z_]/.test(name) ? name : `v${name}`;
}

export class NodeImport {
  private readonly seenAttributes = new Set<string>();
  private readonly seenInputs = new Set<number>();
  readonly b: Builder;
  readonly mode: Mode;
  readonly opset: number;

  constructor(
    readonly node: OnnxNode,
    readonly pass: Pass,
  ) {
    this.b = pass.b;
    this.mode = pass.mode;
    this.opset = pass.opset;
  }

  // ---- Errors ----

  unsupported(form: string): never {
    throw unsupportedForm(this.node.op, this.opset, form, this.node.loc);
  }
  misfit(why: string): never {
    throw misfit(this.node.op, this.opset, why, this.node.loc);
  }
  /** Throws for an attribute or an input that nobody looked at. */
  finish(): void {
    for (const name of this.node.attributes.keys())
      if (!this.seenAttributes.has(name)) this.unsupported(`attribute "${name}"`);
    this.node.inputs.forEach((name, i) => {
      if (name !== '' && !this.seenInputs.has(i)) this.unsupported(`input #${i} ("${name}")`);
    });
  }

  // ---- Inputs ----

  get count(): number {
    return this.node.inputs.length;
  }
  has(i: number): boolean {
    return i < this.node.inputs.length && this.node.inputs[i] !== '';
  }
  item(i: number): Item {
    if (!this.has(i)) this.misfit(`input #${i} is missing`);
    this.seenInputs.add(i);
    return this.pass.item(this.node.inputs[i]);
  }
  /** Input i as a value of the graph. Integers are i32 there. */
  value(i: number): Value {
    const item = this.item(i);
    return isKnown(item) ? this.materialize(item, this.node.inputs[i]) : item;
  }
  /** Input i as a float value. */
  float(i: number): Value {
    const v = this.value(i);
    return v.type.dtype === 'f32' ? v : this.unsupported(`element type ${v.type.dtype} of input #${i}`);
  }
  values(): Value[] {
    return this.node.inputs.map((_, i) => this.value(i));
  }
  shape(i: number): Shape {
    const item = this.item(i);
    return isKnown(item) ? item.shape : item.type.shape;
  }
  dtype(i: number): DType {
    const item = this.item(i);
    return isKnown(item) ? item.dtype : item.type.dtype;
  }
  /** Input i, which must be known. */
  known(i: number, what: string): Known {
    const item = this.item(i);
    if (isKnown(item)) return item;
    throw mustBeKnown(this.node.op, this.opset, `${what} (input #${i}, "${this.node.inputs[i]}")`, this.node.loc);
  }
  /** Input i as known numbers that do not depend on the batch. */
  knownNumbers(i: number, what: string): readonly number[] {
    return numbers(this.known(i, what)) ?? this.unsupported(`${what} that depends on the batch size`);
  }
  knownScalar(i: number, what: string): number {
    const all = this.knownNumbers(i, what);
    return all.length === 1 ? all[0] : this.misfit(`${what} has ${all.length} elements`);
  }
  /** Marks an input as understood without reading it. */
  ignore(i: number): void {
    this.seenInputs.add(i);
  }

  /** A known tensor as a value: a fill where all elements are one, else a constant of the module. */
  materialize(k: Known, from: string): Value {
    const dtype: DType = k.dtype === 'i64' ? 'i32' : k.dtype;
    const one = uniform(k);
    if (!numbers(k)) throw batchArithmetic(from, this.node.loc);
    if (typeof one === 'number' && Number.isFinite(one))
      return this.b.fill(one, k.shape, dtype, `${this.name}.constant`);
    if (k.data.length === 0) this.unsupported('an empty tensor');
    return this.pass.constant({ ...k, dtype }, from);
  }

  // ---- Attributes ----

  private attribute<T extends Attribute>(name: string, is: (a: Attribute) => boolean, kind: string): T | undefined {
    this.seenAttributes.add(name);
    const a = this.node.attributes.get(name);
    if (a === undefined) return undefined;
    return is(a) ? (a as T) : this.unsupported(`attribute "${name}" that is not ${kind}`);
  }
  hasAttribute(name: string): boolean {
    return this.node.attributes.has(name);
  }
  number(name: string): number | undefined;
  number(name: string, otherwise: number): number;
  number(name: string, otherwise?: number): number | undefined {
    return this.attribute<number>(name, (a) => typeof a === 'number', 'a number') ?? otherwise;
  }
  flag(name: string, otherwise: boolean): boolean {
    return this.number(name, otherwise ? 1 : 0) !== 0;
  }
  text(name: string, otherwise: string): string {
    return this.attribute<string>(name, (a) => typeof a === 'string', 'text') ?? otherwise;
  }
  ints(name: string): readonly number[] | undefined {
    return this.attribute<readonly number[]>(
      name,
      (a) => Array.isArray(a) && a.every((v) => typeof v === 'number'),
      'a list of numbers',
    );
  }
  tensor(name: string): Known | undefined {
    const t = this.attribute<OnnxTensor>(name, (a) => typeof a === 'object' && 'stored' in a, 'a tensor');
    return t && knownFrom(t.data());
  }
  /** Marks attributes that say nothing that matters here. */
  ignoreAttributes(...names: readonly string[]): void {
    for (const n of names) this.seenAttributes.add(n);
  }
  /** An axis in [0, rank), counted from the end where it is negative. */
  axis(axis: number, rank: number): number {
    const a = axis < 0 ? axis + rank : axis;
    return Number.isInteger(a) && a >= 0 && a < rank ? a : this.misfit(`axis ${axis} of a tensor of rank ${rank}`);
  }

  // ---- Results ----

  /** Name of the node's first result. */
  get name(): string {
    return valueName(this.node.outputs[0] || this.node.name);
  }
  /** Is output i of the node asked for? */
  wants(i: number): boolean {
    return i < this.node.outputs.length && this.node.outputs[i] !== '';
  }
  /** A node on the way to the result. */
  op(op: OpName, operands: readonly Value[], attrs: Attrs = {}): Value {
    return this.b.node(op, operands, { attrs, name: `${this.name}.${op}` });
  }
  /** The node that is the result: it has the ONNX output's name. */
  result(op: OpName, operands: readonly Value[], attrs: Attrs = {}): Value {
    return this.b.node(op, operands, { attrs, name: this.name });
  }
  scalar(value: number, dtype: DType = 'f32'): Value {
    return this.b.fill(value, [], dtype, `${this.name}.c`);
  }
  reshape(x: Value, shape: Shape): Value {
    return this.b.reshape(x, shape, `${this.name}.reshape`);
  }
}

/**
 * How one ONNX op is read. `opsets`: first and last version of ai.onnx whose definition the code follows. `read` builds the
 * node's results with the core ops; a result that is not given must be unused.
 */
export interface Handler {
  readonly opsets: readonly [number, number];
  readonly read: (n: NodeImport) => readonly (Item | undefined)[];
}

/** Opset 7 brought broadcasting as in NumPy, and ops that mean what they mean today. */
export const EARLIEST = 7;
/** The newest version of ai.onnx whose definitions have been read (ONNX 1.22). */
export const LATEST = 27;

export function handler(
  first: number,
  read: (n: NodeImport) => Item | readonly (Item | undefined)[],
  last = LATEST,
): Handler {
  return {
    opsets: [first, last],
    read: (n) => {
      const out = read(n);
      return Array.isArray(out) ? (out as readonly Item[]) : [out as Item];
    },
  };
}
