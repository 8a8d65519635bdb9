/**
 * Prints an expression as one scalar value on the stack: f32, i32, or a bool as 0 or 1.
 */
import type { BinaryOp, Expr, UnaryOp } from '../../../ir/kernel.js';
import { type Code, F32, I32, op } from './encode.js';
import { type Frame, held, type Scalar, valueType } from './frame.js';
import { printAddress, printSum, sumOf } from './sums.js';

/** The instruction that loads an element of `memory` as a register value from the address on the stack. */
export function loadAt(frame: Frame, memory: string, offset = 0): void {
  const { type } = frame.memory(memory);
  if (type === 'u8' || type === 'bool') frame.code.memory(op.i32Load8U, 0, offset);
  else frame.code.memory(type === 'i32' ? op.i32Load : op.f32Load, 2, offset);
}

/** The instruction that stores the register value on the stack at the address below it. */
export function storeAt(frame: Frame, memory: string, offset = 0): void {
  const { type } = frame.memory(memory);
  if (type === 'u8' || type === 'bool') frame.code.memory(op.i32Store8, 0, offset);
  else frame.code.memory(type === 'i32' ? op.i32Store : op.f32Store, 2, offset);
}

export function printConstant(code: Code, type: Scalar, value: number): void {
  if (type === 'f32') code.f32(value);
  else code.i32(value);
}

/** Pushes the value of `e`, which must not vary between lanes. */
export function printScalar(frame: Frame, e: Expr): void {
  const { code } = frame;
  switch (e.kind) {
    case 'const':
      printConstant(code, e.type, e.value);
      return;
    case 'ref':
      code.at(op.get, frame.name(e.name).local);
      if (frame.shift(e.name) !== 0) code.i32(frame.shift(e.name)).op(op.i32Add);
      return;
    case 'load':
      loadAt(frame, e.memory, printAddress(frame, e.memory, sumOf(frame, e.index)));
      return;
    case 'loadIf': {
      const type = held(frame.memory(e.memory).type);
      // The address comes before the branch: a partial sum that is kept for later must be computed on every path.
      const offset = printAddress(frame, e.memory, sumOf(frame, e.index), true);
      const address = frame.keep(I32);
      printScalar(frame, e.cond);
      code.op(op.if, valueType[type]).at(op.get, address);
      loadAt(frame, e.memory, offset);
      code.op(op.else);
      printConstant(code, type, e.otherwise);
      code.op(op.end);
      return;
    }
    case 'unary':
      printUnary(frame, e.op, e.a);
      return;
    case 'binary':
      if (e.op === 'add' || e.op === 'sub' || e.op === 'mul') {
        const sum = frame.typeOf(e) === 'i32' ? sumOf(frame, e) : undefined;
        // A product of two unknowns is its own only term.
        if (sum && !(sum.terms.length === 1 && sum.terms[0].atom === e)) {
          printSum(frame, sum);
          return;
        }
      }
      printBinary(frame, e.op, e.a, e.b);
      return;
    case 'select':
      printScalar(frame, e.a);
      printScalar(frame, e.b);
      printScalar(frame, e.cond);
      code.op(op.select);
      return;
  }
}

function printUnary(frame: Frame, name: UnaryOp, a: Expr): void {
  const type = frame.typeOf(a);
  const { code } = frame;
  if (name === 'neg' && type === 'i32') {
    code.i32(0);
    printScalar(frame, a);
    code.op(op.i32Sub);
    return;
  }
  printScalar(frame, a);
  switch (name) {
    case 'neg':
      code.op(op.f32Neg);
      return;
    case 'abs': {
      if (type === 'f32') {
        code.op(op.f32Abs);
        return;
      }
      // |x| = (x ^ s) - s with s = x >> 31.
      const x = frame.keep(I32);
      code.at(op.get, x).i32(31).op(op.i32ShrS);
      const s = frame.keep(I32);
      code.at(op.get, x).at(op.get, s).op(op.i32Xor).at(op.get, s).op(op.i32Sub);
      return;
    }
    case 'sqrt':
      code.op(op.f32Sqrt);
      return;
    case 'floor':
      code.op(op.f32Floor);
      return;
    case 'nearest':
      code.op(op.f32Nearest);
      return;
    case 'not':
      code.op(op.i32Eqz);
      return;
    case 'toF32':
      code.op(op.f32ConvertI32S);
      return;
    case 'toI32':
      // i32.trunc_sat_f32_s has the prefix 0xfc.
      if (type === 'f32') code.op(0xfc, 0);
      return;
    case 'uToF32':
      code.op(op.f32ConvertI32U);
      return;
    case 'bitsToF32':
      code.op(op.f32ReinterpretI32);
      return;
    case 'bitsToI32':
      code.op(op.i32ReinterpretF32);
      return;
    case 'exp':
    case 'log':
    case 'tanh':
    case 'erf':
      throw new Error(`${name} must be expanded before a target prints`);
  }
}

type Arithmetic = Exclude<BinaryOp, 'mulHiU'>;

const floatOp: Partial<Record<Arithmetic, number>> = {
  add: op.f32Add,
  sub: op.f32Sub,
  mul: op.f32Mul,
  div: op.f32Div,
  min: op.f32Min,
  max: op.f32Max,
  eq: op.f32Eq,
  lt: op.f32Lt,
  le: op.f32Le,
};

const intOp: Partial<Record<Arithmetic, number>> = {
  add: op.i32Add,
  sub: op.i32Sub,
  mul: op.i32Mul,
  div: op.i32DivS,
  rem: op.i32RemS,
  eq: op.i32Eq,
  lt: op.i32LtS,
  le: op.i32LeS,
  and: op.i32And,
  or: op.i32Or,
  xor: op.i32Xor,
  shl: op.i32Shl,
  shrU: op.i32ShrU,
};

function printBinary(frame: Frame, name: BinaryOp, a: Expr, b: Expr): void {
  const type = frame.typeOf(a);
  printScalar(frame, a);
  if (name === 'mulHiU') {
    frame.code.op(op.i64ExtendI32U);
    printScalar(frame, b);
    // i64.const 32
    frame.code.raw(op.i64ExtendI32U, op.i64Mul, 0x42, 32, op.i64ShrU, op.i32WrapI64);
    return;
  }
  printScalar(frame, b);
  combine(frame, name, type);
}

/** The instruction for `a name b`, both on the stack. */
export function combine(frame: Frame, name: Arithmetic, type: Scalar): void {
  const { code } = frame;
  if (type !== 'f32' && (name === 'min' || name === 'max')) {
    const b = frame.keep(I32);
    const a = frame.keep(I32);
    code.at(op.get, a).at(op.get, b).at(op.get, a).at(op.get, b);
    code.op(name === 'min' ? op.i32LtS : op.i32GtS, op.select);
    return;
  }
  const opcode = (type === 'f32' ? floatOp : intOp)[name];
  if (opcode === undefined) throw new Error(`${name} of ${type} cannot be printed`);
  code.op(opcode);
}

/** A local with the value of `e`, in the current scope. */
export function scalarLocal(frame: Frame, e: Expr): number {
  if (e.kind === 'ref') return frame.name(e.name).local;
  const type = frame.typeOf(e);
  printScalar(frame, e);
  return frame.keep(type === 'f32' ? F32 : I32);
}
