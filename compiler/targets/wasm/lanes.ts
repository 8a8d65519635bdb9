/**
 * Prints expressions as four lanes: the values in four consecutive iterations of the vector loop. What does not vary is
 * computed once and spread. A bool is a mask of ones or zeros in each lane.
 */
import type { BinaryOp, Expr, UnaryOp } from '../../../ir/kernel.js';
import { floatBits, op, simd, V128 } from './encode.js';
import type { Frame, Scalar } from './frame.js';
import { printLaneLoad } from './lane-memory.js';
import { printScalar } from './scalar.js';

/** `select` with a stated type: 0x1c, one type. */
const selectLanes = [0x1c, 1, V128] as const;

/** Four copies of a constant. */
export function spread(frame: Frame, type: Scalar, value: number): void {
  const bits = type === 'f32' ? floatBits(value) : type === 'bool' ? -Number(value !== 0) : value;
  frame.code.lanes([bits, bits, bits, bits]);
}

/** Pushes four lanes with the values of `e`. */
export function printLanes(frame: Frame, e: Expr): void {
  const { code } = frame;
  if (!frame.varies(e)) {
    printSpread(frame, e);
    return;
  }
  switch (e.kind) {
    case 'const':
      throw new Error('a constant does not vary');
    case 'ref': {
      const { step, variable } = frame.lanes!;
      code.at(op.get, frame.name(e.name).local);
      if (e.name !== variable) return;
      const first = frame.shift(e.name);
      code.simd(simd.i32Splat).lanes([0, 1, 2, 3].map((l) => first + l * step));
      code.simd(simd.i32Add);
      return;
    }
    case 'load':
      printLaneLoad(frame, e.memory, e.index, frame.lanes!.mask, 0);
      return;
    case 'loadIf':
      printGuardedLoad(frame, e);
      return;
    case 'unary':
      printLanes(frame, e.a);
      printUnary(frame, e.op, frame.typeOf(e.a));
      return;
    case 'binary':
      printBinary(frame, e.op, e.a, e.b);
      return;
    case 'select':
      printLanes(frame, e.a);
      printLanes(frame, e.b);
      if (frame.varies(e.cond)) {
        printLanes(frame, e.cond);
        code.simd(simd.bitselect);
      } else {
        printScalar(frame, e.cond);
        code.raw(...selectLanes);
      }
      return;
  }
}

function printSpread(frame: Frame, e: Expr): void {
  const type = frame.typeOf(e);
  if (e.kind === 'const') {
    spread(frame, type, e.value);
    return;
  }
  if (type === 'bool') frame.code.i32(0);
  printScalar(frame, e);
  if (type === 'bool') frame.code.op(op.i32Sub);
  frame.code.simd(type === 'f32' ? simd.f32Splat : simd.i32Splat);
}

function printGuardedLoad(frame: Frame, e: Extract<Expr, { kind: 'loadIf' }>): void {
  const { code } = frame;
  const { mask } = frame.lanes!;
  if (frame.varies(e.cond)) {
    printLanes(frame, e.cond);
    if (mask !== undefined) code.at(op.get, mask).simd(simd.and);
    printLaneLoad(frame, e.memory, e.index, frame.keep(V128), e.otherwise);
    return;
  }
  printScalar(frame, e.cond);
  code.op(op.if, V128);
  const lanes = frame.lanes!;
  frame.lanes = { ...lanes, conditional: true };
  printLaneLoad(frame, e.memory, e.index, mask, e.otherwise);
  frame.lanes = lanes;
  code.op(op.else);
  spread(frame, frame.typeOf(e), e.otherwise);
  code.op(op.end);
}

function printUnary(frame: Frame, name: UnaryOp, type: Scalar): void {
  const { code } = frame;
  const float = type === 'f32';
  switch (name) {
    case 'neg':
      code.simd(float ? simd.f32Neg : simd.i32Neg);
      return;
    case 'abs':
      code.simd(float ? simd.f32Abs : simd.i32Abs);
      return;
    case 'sqrt':
      code.simd(simd.f32Sqrt);
      return;
    case 'floor':
      code.simd(simd.f32Floor);
      return;
    case 'nearest':
      code.simd(simd.f32Nearest);
      return;
    case 'not':
      code.simd(simd.not);
      return;
    case 'toF32':
      if (type === 'bool') {
        spread(frame, 'f32', 1);
        code.simd(simd.and);
      } else code.simd(simd.f32ConvertI32S);
      return;
    case 'toI32':
      // A true lane is -1.
      if (type === 'bool') code.simd(simd.i32Neg);
      else if (float) code.simd(simd.i32TruncSatF32S);
      return;
    case 'uToF32':
      code.simd(simd.f32ConvertI32U);
      return;
    case 'bitsToF32':
    case 'bitsToI32':
      return;
    case 'exp':
    case 'log':
    case 'tanh':
    case 'erf':
      throw new Error(`${name} must be expanded before a target prints`);
  }
}

const floatOp: Partial<Record<BinaryOp, number>> = {
  add: simd.f32Add,
  sub: simd.f32Sub,
  mul: simd.f32Mul,
  div: simd.f32Div,
  min: simd.f32Min,
  max: simd.f32Max,
  eq: simd.f32Eq,
  lt: simd.f32Lt,
  le: simd.f32Le,
};

const intOp: Partial<Record<BinaryOp, number>> = {
  add: simd.i32Add,
  sub: simd.i32Sub,
  mul: simd.i32Mul,
  min: simd.i32MinS,
  max: simd.i32MaxS,
  eq: simd.i32Eq,
  lt: simd.i32LtS,
  le: simd.i32LeS,
  and: simd.and,
  or: simd.or,
  xor: simd.xor,
};

/** The opcode for two operands in lanes. */
export function laneOp(name: BinaryOp, type: Scalar): number {
  const opcode = (type === 'f32' ? floatOp : intOp)[name];
  if (opcode === undefined) throw new Error(`${name} of ${type} has no lanes`);
  return opcode;
}

function printBinary(frame: Frame, name: BinaryOp, a: Expr, b: Expr): void {
  const { code } = frame;
  const type = frame.typeOf(a);
  if (type === 'i32' && (name === 'div' || name === 'rem')) {
    if (b.kind !== 'const') throw new Error('a varying integer quotient has no lanes');
    printLanes(frame, a);
    printQuotient(frame, name, b.value);
    return;
  }
  printLanes(frame, a);
  if (name === 'shl' || name === 'shrU') {
    printScalar(frame, b);
    code.simd(name === 'shl' ? simd.i32Shl : simd.i32ShrU);
    return;
  }
  printLanes(frame, b);
  if (name === 'mulHiU') {
    upperProducts(frame);
    return;
  }
  code.simd(laneOp(name, type));
}

/** The upper halves of the 64-bit products of the lanes of two operands. */
function upperProducts(frame: Frame): void {
  const { code } = frame;
  const b = frame.keep(V128);
  const a = frame.keep(V128);
  code.at(op.get, a).at(op.get, b).simd(simd.i64ExtmulLowU);
  code.at(op.get, a).at(op.get, b).simd(simd.i64ExtmulHighU);
  code.shuffle(1, 3, 5, 7);
}

/**
 * Quotient or remainder of lanes in [0, 2^31) by a positive constant d: floor(x/d) = (x * ceil(2^p/d)) >> p with
 * p = 31 + ceil(log2 d), exact because the rounding of the multiplier adds less than 2^-31 d/2^p of x
 * (Granlund and Montgomery, "Division by invariant integers using multiplication", PLDI 1994, theorem 4.2).
 */
function printQuotient(frame: Frame, name: 'div' | 'rem', d: number): void {
  const { code } = frame;
  const log = 32 - Math.clz32(d - 1);
  if (2 ** log === d) {
    if (name === 'div') code.i32(log).simd(simd.i32ShrU);
    else code.lanes([d - 1, d - 1, d - 1, d - 1]).simd(simd.and);
    return;
  }
  const p = 31 + log;
  const multiplier = Number((2n ** BigInt(p) + BigInt(d) - 1n) / BigInt(d)) | 0;
  const x = frame.keep(V128);
  const m = [multiplier, multiplier, multiplier, multiplier];
  code.at(op.get, x).lanes(m).simd(simd.i64ExtmulLowU).i32(p).simd(simd.i64ShrU);
  code.at(op.get, x).lanes(m).simd(simd.i64ExtmulHighU).i32(p).simd(simd.i64ShrU);
  code.shuffle(0, 2, 4, 6);
  if (name === 'div') return;
  const q = frame.keep(V128);
  code.at(op.get, x).at(op.get, q).lanes([d, d, d, d]).simd(simd.i32Mul, simd.i32Sub);
}
