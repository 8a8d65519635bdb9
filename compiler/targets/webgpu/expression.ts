/**
 * Expressions as WGSL text. Where WGSL leaves the meaning of NaN, infinity or overflow open, the text says it in bits.
 */
import type { BinaryOp, Expr, KernelType, UnaryOp } from '../../../ir/kernel.js';
import { identifier } from './names.js';

export type Scalar = 'f32' | 'i32' | 'bool';

export interface Memory {
  readonly type: KernelType;
  /** Bytes and bools of the host lie four in a word; a written word is shared by threads, so it is atomic. */
  readonly packed: boolean;
  readonly atomic: boolean;
}

export const held = (t: KernelType): Scalar => (t === 'f16' ? 'f32' : t === 'u8' ? 'i32' : t);

/** Definitions that the text needs, printed before the entry point. */
const support = {
  is_nan: 'fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }',
  nan_min: 'fn nan_min(a: f32, b: f32) -> f32 { return select(min(a, b), a + b, is_nan(a) || is_nan(b)); }',
  nan_max: 'fn nan_max(a: f32, b: f32) -> f32 { return select(max(a, b), a + b, is_nan(a) || is_nan(b)); }',
  mul_high: `fn mul_high(a: i32, b: i32) -> i32 {
  let x = vec2<u32>(bitcast<u32>(a) & 0xffffu, bitcast<u32>(a) >> 16u);
  let y = vec2<u32>(bitcast<u32>(b) & 0xffffu, bitcast<u32>(b) >> 16u);
  let low = x.y * y.x + ((x.x * y.x) >> 16u);
  let middle = x.x * y.y + (low & 0xffffu);
  return bitcast<i32>(x.y * y.y + (low >> 16u) + (middle >> 16u));
}`,
  // Constants may be neither infinite nor NaN; a variable may.
  infinity_bits: 'var<private> infinity_bits: u32 = 0x7f800000u;',
  nan_bits: 'var<private> nan_bits: u32 = 0x7fc00000u;',
};

export type Support = keyof typeof support;

export const supportText = (used: ReadonlySet<Support>): string[] =>
  (Object.keys(support) as Support[]).filter((name) => used.has(name)).map((name) => support[name]);

const infix: Partial<Record<BinaryOp, string>> = {
  add: '+',
  sub: '-',
  mul: '*',
  div: '/',
  rem: '%',
  eq: '==',
  lt: '<',
  le: '<=',
  and: '&',
  or: '|',
  xor: '^',
};

/** The text without parentheses around the whole of it. */
export function bare(text: string): string {
  if (!text.startsWith('(')) return text;
  let depth = 0;
  for (let i = 0; i < text.length - 1; i++) {
    if (text[i] === '(') depth++;
    if (text[i] === ')' && --depth === 0) return text;
  }
  return text.slice(1, -1);
}

export class ExpressionPrinter {
  readonly memories = new Map<string, Memory>();
  readonly types = new Map<string, Scalar>();
  readonly used = new Set<Support>();
  private counter = 0;

  /** @param line prints a statement before the one whose expression is being written */
  constructor(private readonly line: (text: string) => void) {}

  memory(name: string): Memory {
    const m = this.memories.get(name);
    if (!m) throw new Error(`memory ${name} is not defined`);
    return m;
  }

  typeOf(e: Expr): Scalar {
    switch (e.kind) {
      case 'const':
        return e.type;
      case 'ref': {
        const t = this.types.get(e.name);
        if (!t) throw new Error(`${e.name} is not defined`);
        return t;
      }
      case 'load':
      case 'loadIf':
        return held(this.memory(e.memory).type);
      case 'unary':
        if (e.op === 'toF32' || e.op === 'uToF32' || e.op === 'bitsToF32') return 'f32';
        return e.op === 'toI32' || e.op === 'bitsToI32' ? 'i32' : this.typeOf(e.a);
      case 'binary':
        return e.op === 'eq' || e.op === 'lt' || e.op === 'le' ? 'bool' : this.typeOf(e.a);
      case 'select':
        return this.typeOf(e.a);
    }
  }

  constant(type: Scalar, value: number): string {
    if (type === 'bool') return value ? 'true' : 'false';
    if (type === 'i32') return value < 0 ? `(${value})` : `${value}`;
    if (Number.isNaN(value)) return `bitcast<f32>(${this.use('nan_bits')})`;
    if (!Number.isFinite(value)) {
      const bits = `bitcast<f32>(${this.use('infinity_bits')})`;
      return value > 0 ? bits : `(-${bits})`;
    }
    const text = Object.is(value, -0)
      ? '-0.0'
      : Number.isInteger(value) && Math.abs(value) < 1e9
        ? `${value}.0`
        : `${value}`;
    return value < 0 || Object.is(value, -0) ? `(${text}f)` : `${text}f`;
  }

  /** A name that the printer adds. */
  fresh(prefix: string): string {
    return `${prefix}_${this.counter++}`;
  }

  private use(name: Support): string {
    this.used.add(name);
    if (name === 'nan_min' || name === 'nan_max') this.used.add('is_nan');
    return name;
  }

  /** `memory[index]` as a register value. */
  element(memory: string, index: string): string {
    const { type, packed, atomic } = this.memory(memory);
    const name = identifier(memory);
    if (!packed) return type === 'f16' ? `f32(${name}[${index}])` : `${name}[${index}]`;
    const word = atomic ? `atomicLoad(&${name}[(${index}) >> 2u])` : `${name}[(${index}) >> 2u]`;
    const byte = `((${word} >> ((u32(${index}) & 3u) * 8u)) & 255u)`;
    return type === 'bool' ? `(${byte} != 0u)` : `i32${byte}`;
  }

  /** The statements that set `memory[index]`. */
  assignment(memory: string, index: string, value: string): string[] {
    const { type, packed } = this.memory(memory);
    const name = identifier(memory);
    if (!packed) {
      const stored = type === 'f16' ? `f16(${value})` : type === 'u8' ? `(${value}) & 255` : value;
      return [`${name}[${index}] = ${stored};`];
    }
    const at = this.fresh('at');
    const byte = type === 'bool' ? `select(0u, 1u, ${value})` : `(bitcast<u32>(${value}) & 255u)`;
    return [
      `let ${at} = u32(${index});`,
      `atomicAnd(&${name}[${at} >> 2u], ~(255u << ((${at} & 3u) * 8u)));`,
      `atomicOr(&${name}[${at} >> 2u], ${byte} << ((${at} & 3u) * 8u));`,
    ];
  }

  text(e: Expr): string {
    switch (e.kind) {
      case 'const':
        return this.constant(e.type, e.value);
      case 'ref':
        return identifier(e.name);
      case 'load':
        return this.element(e.memory, bare(this.text(e.index)));
      case 'loadIf': {
        const cond = this.fresh('in_bounds');
        const index = this.fresh('index');
        this.line(`let ${cond}: bool = ${bare(this.text(e.cond))};`);
        this.line(`let ${index}: i32 = select(0, ${bare(this.text(e.index))}, ${cond});`);
        const otherwise = this.constant(held(this.memory(e.memory).type), e.otherwise);
        return `select(${otherwise}, ${this.element(e.memory, index)}, ${cond})`;
      }
      case 'unary':
        return this.unary(e.op, this.operand(e.a, e.a.kind === 'const'), this.typeOf(e.a));
      case 'binary': {
        const a = this.operand(e.a, e.a.kind === 'const' && e.b.kind === 'const');
        return this.binary(e.op, a, this.text(e.b), this.typeOf(e.a));
      }
      case 'select':
        return `select(${this.text(e.b)}, ${this.text(e.a)}, ${this.text(e.cond)})`;
    }
  }

  /** WGSL computes with constants itself, and refuses what overflows or is no number; a `let` is not a constant. */
  private operand(e: Expr, named: boolean): string {
    if (!named) return this.text(e);
    const name = this.fresh('constant');
    this.line(`let ${name}: ${this.typeOf(e)} = ${this.text(e)};`);
    return name;
  }

  private unary(op: UnaryOp, a: string, type: Scalar): string {
    switch (op) {
      case 'neg':
        return `(-(${a}))`;
      case 'abs':
      case 'sqrt':
      case 'floor':
        return `${op}(${a})`;
      case 'nearest':
        return `round(${a})`;
      case 'not':
        return `(!${a})`;
      case 'toF32':
        return `f32(${a})`;
      case 'toI32':
        return type === 'i32' ? a : `i32(${a})`;
      case 'uToF32':
        return `f32(bitcast<u32>(${a}))`;
      case 'bitsToF32':
        return `bitcast<f32>(${a})`;
      case 'bitsToI32':
        return `bitcast<i32>(${a})`;
      case 'exp':
      case 'log':
      case 'tanh':
      case 'erf':
        throw new Error(`${op} must be expanded before a target prints`);
    }
  }

  private binary(op: BinaryOp, a: string, b: string, type: Scalar): string {
    switch (op) {
      case 'min':
      case 'max':
        if (type === 'i32') return `${op}(${a}, ${b})`;
        return `${this.use(op === 'min' ? 'nan_min' : 'nan_max')}(${a}, ${b})`;
      case 'shl':
        return `(${a} << (bitcast<u32>(${b}) & 31u))`;
      case 'shrU':
        return `bitcast<i32>(bitcast<u32>(${a}) >> (bitcast<u32>(${b}) & 31u))`;
      case 'mulHiU':
        return `${this.use('mul_high')}(${a}, ${b})`;
      default:
        return `(${a} ${infix[op]} ${b})`;
    }
  }
}
