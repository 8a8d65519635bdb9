/**
 * How the tests of the op table are written: for each op, operand types that it takes with the types it gives, operand types
 * that it must refuse, and values that were computed by hand or by other means than the op's own code.
 */
import type { Attrs } from '../../../ir/graph.js';
import { checkAttrs } from '../../../ir/ops/declare.js';
import { type OpName, ops } from '../../../ir/ops/table.js';
import { type Dim, type DType, symmetric, type TensorType, tensor } from '../../../ir/types.js';

export interface ValueCase {
  readonly operands: readonly (readonly [type: string, data: ArrayLike<number>])[];
  readonly attrs?: Attrs;
  readonly results: readonly ArrayLike<number>[];
  /** Largest |got - wanted| / max(1, |wanted|). Zero unless the numbers are not exact in float64. */
  readonly tolerance?: number;
}

export interface OpCases {
  readonly types: readonly (readonly [operands: readonly string[], attrs: Attrs, results: readonly string[]])[];
  readonly rejects: readonly (readonly [operands: readonly string[], attrs: Attrs, message: RegExp])[];
  readonly values: readonly ValueCase[];
}

/** `f32[2,N,2*N]`, `sym[3]`, `sym[4,3]` (a batch of four): as types.ts prints them. */
export function typeOf(text: string): TensorType {
  const m = /^(\w+)\[(.*)\]$/.exec(text);
  if (!m) throw new Error(`${text} is no type`);
  const dims = m[2] === '' ? [] : m[2].split(',');
  if (m[1] === 'sym') {
    const sizes = dims.map(Number);
    return symmetric(sizes[sizes.length - 1], sizes.slice(0, -1));
  }
  return tensor(
    m[1] as DType,
    dims.map((d): Dim => {
      const s = /^(?:(\d+)\*)?([A-Z])$/.exec(d);
      return s ? { symbol: s[2], factor: Number(s[1] ?? 1) } : Number(d);
    }),
  );
}

/** What the verifier asks of a node: number of operands, attributes, type rule. */
export function inferTypes(op: OpName, operands: readonly string[], attrs: Attrs): TensorType[] {
  const def = ops[op];
  if (operands.length < def.arity[0] || operands.length > def.arity[1])
    throw new Error(`${op} takes ${def.arity} operands`);
  checkAttrs(def, attrs);
  return def.infer(operands.map(typeOf), attrs);
}

export function evaluateOp(op: OpName, operands: ValueCase['operands'], attrs: Attrs): Float64Array[] {
  const results = inferTypes(
    op,
    operands.map(([type]) => type),
    attrs,
  );
  return ops[op].evaluate(
    operands.map(([type, data]) => ({ type: typeOf(type), data: Float64Array.from(data) })),
    attrs,
    results,
  );
}

/** Numbers of both signs without a pattern, reproducible. */
export function wave(n: number, phase = 0): number[] {
  return Array.from({ length: n }, (_, i) => Math.sin(i * 1.7 + phase) * 1.3 + Math.cos(i * i + phase));
}
