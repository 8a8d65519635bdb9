/**
 * How an op is declared: once, with its arity, type rule, reference evaluation in float64, fuse kind and cost.
 * Everything that another room must know about an op (its gradient, its kernels) is a table there, keyed by op name.
 */
import type { Attr, Attrs } from '../graph.js';
import {
  dtypes,
  elementCount,
  printShape,
  printType,
  type Shape,
  shapeEquals,
  storedCount,
  type TensorType,
} from '../types.js';

/**
 * `elementwise`: one output element from the operands' elements at the same (broadcast) place. `source`: from nothing.
 * `view`: moves elements, computes nothing. `composite`: expanded into other ops before kernels are made.
 */
export type FuseKind = 'elementwise' | 'source' | 'view' | 'reduction' | 'contraction' | 'opaque' | 'composite';

/** A tensor of the evaluator: `data` holds storedCount(type) float64 numbers, whatever the dtype. */
export interface Tensor64 {
  readonly type: TensorType;
  readonly data: Float64Array;
}

/** What an attribute holds; `?`: it may be absent. A shape is numbers, or strings where a dimension is symbolic. */
export type AttrKind = 'int' | 'number' | 'flag' | 'dtype' | 'layout' | 'ints' | 'shape';

export interface OpDef {
  /** Least and most operands. */
  readonly arity: readonly [number, number];
  readonly fuse: FuseKind;
  /** All attributes of the op; none by default. */
  readonly attrs?: Readonly<Record<string, AttrKind | `${AttrKind}?`>>;
  /** Result types. Throws TypeRuleError when operands or attributes do not fit. */
  readonly infer: (operands: readonly TensorType[], attrs: Attrs) => TensorType[];
  /** Exact (float64) results; one Float64Array per result, storedCount elements each. */
  readonly evaluate: (operands: readonly Tensor64[], attrs: Attrs, results: readonly TensorType[]) => Float64Array[];
  /** Floating-point operations; default: one per stored result element. */
  readonly flops?: (operands: readonly TensorType[], attrs: Attrs, results: readonly TensorType[]) => number;
  /** For elementwise ops that are more than one operation: additions that an element takes as long as. */
  readonly cost?: number;
  /** For elementwise ops: the scalar function that `evaluate` maps. */
  readonly scalar?: (...args: number[]) => number;
}

/** Operands or attributes that an op cannot take. Importers turn it into a user error that names the node. */
export class TypeRuleError extends Error {}

export function fail(message: string): never {
  throw new TypeRuleError(message);
}

export function opFlops(
  def: OpDef,
  operands: readonly TensorType[],
  attrs: Attrs,
  results: readonly TensorType[],
): number {
  if (def.flops) return def.flops(operands, attrs, results);
  if (def.fuse === 'view' || def.fuse === 'source') return 0;
  if (def.fuse === 'reduction') return elementCount(operands[0]);
  return results.reduce((n, r) => n + storedCount(r), 0);
}

// ---- Reading attributes ----

const isNumber = (v: unknown): v is number => typeof v === 'number';

const kinds: Readonly<Record<AttrKind, (v: Attr) => boolean>> = {
  int: Number.isInteger,
  number: isNumber,
  flag: (v) => typeof v === 'boolean',
  dtype: (v) => (dtypes as readonly Attr[]).includes(v),
  layout: (v) => v === 'dense' || v === 'packed-lower',
  ints: (v) => Array.isArray(v) && v.every(Number.isInteger),
  shape: (v) => Array.isArray(v) && v.every((d) => (isNumber(d) ? Number.isInteger(d) && d >= 0 : /^\d*\*?./.test(d))),
};

const none: NonNullable<OpDef['attrs']> = {};

/** Throws TypeRuleError unless the node has all attributes of its op, of the right kind, and no others. */
export function checkAttrs(def: OpDef, attrs: Attrs): void {
  const declared = def.attrs ?? none;
  for (const name in declared) {
    const value = attrs[name];
    const optional = declared[name].endsWith('?');
    const kind = (optional ? declared[name].slice(0, -1) : declared[name]) as AttrKind;
    if (value === undefined) {
      if (!optional) fail(`attribute ${name} is missing`);
    } else if (!kinds[kind](value)) fail(`attribute ${name} = ${JSON.stringify(value)} is not of kind ${kind}`);
  }
  for (const name in attrs) if (!Object.hasOwn(declared, name)) fail(`has no attribute ${name}`);
}

export function intsOf(attrs: Attrs, name: string): readonly number[] {
  const v = attrs[name];
  if (!Array.isArray(v)) return fail(`attribute ${name} must be a list of numbers`);
  return v as readonly number[];
}

export function numberOf(attrs: Attrs, name: string): number {
  const v = attrs[name];
  if (typeof v !== 'number') return fail(`attribute ${name} must be a number`);
  return v;
}

export function flagOf(attrs: Attrs, name: string): boolean {
  const v = attrs[name];
  if (typeof v !== 'boolean') return fail(`attribute ${name} must be true or false`);
  return v;
}

export function stringOf(attrs: Attrs, name: string): string {
  const v = attrs[name];
  if (typeof v !== 'string') return fail(`attribute ${name} must be a string`);
  return v;
}

/** The operand, which must be dense. */
export function dense(t: TensorType, what = 'operand'): TensorType {
  return t.layout === 'dense' ? t : fail(`${what} must be dense, not ${printType(t)}`);
}

/** The operand, which must be dense floating point. */
export function real(t: TensorType, what = 'operand'): TensorType {
  if (t.dtype !== 'f32' && t.dtype !== 'f16') fail(`${what} must be floating point, not ${printType(t)}`);
  return dense(t, what);
}

/** Fails unless `t` has exactly this shape. */
export function shaped(t: TensorType, shape: Shape, what: string): TensorType {
  if (!shapeEquals(t.shape, shape)) fail(`${what} must have shape ${printShape(shape)}, not ${printType(t)}`);
  return t;
}

/** An axis attribute in [0, rank). */
export function axisOf(attrs: Attrs, rank: number, name = 'axis'): number {
  const a = numberOf(attrs, name);
  if (!Number.isInteger(a) || a < 0 || a >= rank)
    return fail(`${name} ${a} is not an axis of a tensor of rank ${rank}`);
  return a;
}
