/**
 * Kernel IR: one dispatch as a loop nest over named memories. Targets print it; nothing here knows a device.
 *
 * - A loop carries a binding. `grid`: iterations are independent and may run anywhere; `group`: one workgroup's
 *   cooperative loop; `lane`: one thread of a workgroup; `vector`: SIMD lanes, iterations independent but for
 *   `accumulate`; `serial`: in order. A CPU target runs grid, group and lane as ordinary loops; the outermost grid
 *   loop is what it splits over threads.
 * - Memory is `global` (a parameter), `group` (shared by a workgroup: packed panels, Cholesky blocks) or `register`.
 *   No barrier is written: a printer derives barriers from hazards on group memory.
 * - Tiles are register blocks for contractions. `tileMma` names operand and accumulator types separately, so that the
 *   same text is f32 SIMD on a CPU and f16-in/f32-out subgroup matrices on a GPU.
 *
 * Integers are i32 (wrapping); indices count elements, not bytes.
 */
import type { Loc } from './loc.js';

export type KernelType = 'f32' | 'f16' | 'i32' | 'u8' | 'bool';
export type Binding = 'grid' | 'group' | 'lane' | 'vector' | 'serial';

export type UnaryOp =
  | 'neg' // f32, i32
  | 'abs' // f32, i32
  | 'sqrt' // f32, correctly rounded
  | 'floor' // f32
  | 'nearest' // f32, ties to even
  | 'not' // bool
  | 'toF32' // i32 | u8 | bool -> f32
  | 'toI32' // f32 (truncates, saturates) | u8 | bool -> i32
  | 'uToF32' // i32 read as unsigned -> f32
  | 'bitsToF32' // i32 -> f32, same bits
  | 'bitsToI32' // f32 -> i32, same bits
  // Transcendental functions: `compiler/kernels/math.ts` rewrites them to polynomials of the ops above before a target prints.
  | 'exp'
  | 'log'
  | 'tanh'
  | 'erf';

export type BinaryOp =
  | 'add' // f32, i32
  | 'sub'
  | 'mul'
  | 'div' // f32; i32: operands are known to be >= 0 and > 0
  | 'rem' // i32, operands as for div
  | 'min' // f32: NaN if either is NaN; i32: signed
  | 'max'
  | 'eq' // f32, i32 -> bool
  | 'lt'
  | 'le'
  | 'and' // bool, i32 (bitwise)
  | 'or'
  | 'xor' // i32
  | 'shl' // i32
  | 'shrU' // i32, logical
  | 'mulHiU'; // i32: upper half of the unsigned 64-bit product (counter-based random numbers)

export type Expr =
  | { readonly kind: 'const'; readonly type: 'f32' | 'i32' | 'bool'; readonly value: number }
  /** A loop variable (i32), a `let`, or a `var` register. */
  | { readonly kind: 'ref'; readonly name: string }
  | { readonly kind: 'load'; readonly memory: string; readonly index: Expr }
  | { readonly kind: 'unary'; readonly op: UnaryOp; readonly a: Expr }
  | { readonly kind: 'binary'; readonly op: BinaryOp; readonly a: Expr; readonly b: Expr }
  /** Both arms may be evaluated; a load in an arm must be in bounds whatever the condition, or be guarded by `loadIf`. */
  | { readonly kind: 'select'; readonly cond: Expr; readonly a: Expr; readonly b: Expr }
  /** `cond ? memory[index] : otherwise`, where the index may be out of bounds when `cond` is false (padding). */
  | {
      readonly kind: 'loadIf';
      readonly cond: Expr;
      readonly memory: string;
      readonly index: Expr;
      readonly otherwise: number;
    };

export type Stmt =
  | {
      readonly kind: 'for';
      readonly var: string;
      readonly lo: Expr;
      readonly hi: Expr;
      readonly step: number;
      readonly bind: Binding;
      readonly body: readonly Stmt[];
    }
  /** An immutable register. */
  | { readonly kind: 'let'; readonly name: string; readonly type: 'f32' | 'i32' | 'bool'; readonly value: Expr }
  /** A mutable register. */
  | { readonly kind: 'var'; readonly name: string; readonly type: 'f32' | 'i32' | 'bool'; readonly value: Expr }
  | { readonly kind: 'set'; readonly name: string; readonly value: Expr }
  /** `name = name op value` on a `var` declared outside the nearest vector loop; order is free inside it. */
  | { readonly kind: 'accumulate'; readonly name: string; readonly op: 'add' | 'max' | 'min'; readonly value: Expr }
  | { readonly kind: 'store'; readonly memory: string; readonly index: Expr; readonly value: Expr }
  | { readonly kind: 'if'; readonly cond: Expr; readonly then: readonly Stmt[]; readonly else: readonly Stmt[] }
  /** Group or register memory, visible to the statements that follow in the same block; contents are undefined at first. */
  | {
      readonly kind: 'alloc';
      readonly name: string;
      readonly space: 'group' | 'register';
      readonly type: KernelType;
      readonly size: number;
    }
  /** Declares a register tile of rows x cols accumulators and sets it to zero. */
  | {
      readonly kind: 'tileZero';
      readonly tile: string;
      readonly rows: number;
      readonly cols: number;
      readonly accumulator: 'f32' | 'f16';
    }
  /**
   * `tile[i,j] += sum over k < depth of a[aIndex + i*aRow + k*aDepth] * b[bIndex + k*bDepth + j*bCol]`.
   * `operand` is the type in which the products' factors are held.
   */
  | {
      readonly kind: 'tileMma';
      readonly tile: string;
      readonly operand: 'f32' | 'f16';
      readonly depth: Expr;
      readonly a: { readonly memory: string; readonly index: Expr; readonly row: number; readonly depth: number };
      readonly b: { readonly memory: string; readonly index: Expr; readonly depth: number; readonly col: number };
    }
  /** Sets the tile from memory: `tile[i,j] = memory[index + i*row + j*col]`; all elements are in bounds. */
  | {
      readonly kind: 'tileLoad';
      readonly tile: string;
      readonly memory: string;
      readonly index: Expr;
      readonly row: Expr;
      readonly col: number;
    }
  /** Writes the tile as it is: `memory[index + i*row + j*col] = tile[i,j]`; all elements are in bounds. */
  | {
      readonly kind: 'tileStore';
      readonly tile: string;
      readonly memory: string;
      readonly index: Expr;
      readonly row: Expr;
      readonly col: number;
    }
  /**
   * The epilogue: runs `body` once for each element with i < rowLimit and j < colLimit, with `element` bound to tile[i,j],
   * `row` to i and `col` to j. Iterations are independent; a target may run columns as vector lanes.
   */
  | {
      readonly kind: 'tileEach';
      readonly tile: string;
      readonly row: string;
      readonly col: string;
      readonly element: string;
      readonly rowLimit: Expr;
      readonly colLimit: Expr;
      readonly body: readonly Stmt[];
    };

export interface KernelParam {
  readonly name: string;
  readonly type: KernelType;
  readonly access: 'read' | 'write' | 'readwrite';
  /** Elements. Every index that the body computes for this parameter is in [0, length). */
  readonly length: number;
}

export interface Kernel {
  /** A legal identifier in every target. */
  readonly name: string;
  readonly params: readonly KernelParam[];
  readonly body: readonly Stmt[];
  /** Threads per workgroup for targets that have them. */
  readonly workgroup: number;
  readonly flops: number;
  readonly bytes: number;
  readonly loc: Loc;
}

// ---- Construction. Small constant folding keeps index arithmetic readable in the text. ----

export const f32 = (value: number): Expr => ({ kind: 'const', type: 'f32', value: Math.fround(value) });
/** Most integers are small. Each is one object, so that tables that know expressions by identity find it at once. */
const small = Array.from({ length: 256 }, (_, value): Expr => ({ kind: 'const', type: 'i32', value }));
export const i32 = (value: number): Expr =>
  (value >= 0 && value < small.length ? small[value] : undefined) ?? { kind: 'const', type: 'i32', value: value | 0 };
export const bool = (value: boolean): Expr => ({ kind: 'const', type: 'bool', value: value ? 1 : 0 });
export const ref = (name: string): Expr => ({ kind: 'ref', name });
export const load = (memory: string, index: Expr): Expr => ({ kind: 'load', memory, index });
export const unary = (op: UnaryOp, a: Expr): Expr => ({ kind: 'unary', op, a });
export const select = (cond: Expr, a: Expr, b: Expr): Expr => ({ kind: 'select', cond, a, b });

const isInt = (e: Expr): e is Extract<Expr, { kind: 'const' }> => e.kind === 'const' && e.type === 'i32';

export function binary(op: BinaryOp, a: Expr, b: Expr): Expr {
  const constantA = isInt(a);
  const constantB = isInt(b);
  if (constantA && constantB) {
    const x = a.value;
    const y = b.value;
    if (op === 'add') return i32(x + y);
    if (op === 'sub') return i32(x - y);
    if (op === 'mul') return i32(Math.imul(x, y));
    if (op === 'div' && y > 0 && x >= 0) return i32(Math.floor(x / y));
    if (op === 'rem' && y > 0 && x >= 0) return i32(x % y);
    if (op === 'min') return i32(Math.min(x, y));
    if (op === 'max') return i32(Math.max(x, y));
  }
  if (constantA) {
    if (op === 'add' && a.value === 0) return b;
    if (op === 'mul' && a.value === 0) return a;
    if (op === 'mul' && a.value === 1) return b;
  }
  if (constantB) {
    if ((op === 'add' || op === 'sub') && b.value === 0) return a;
    if (op === 'mul' && b.value === 0) return b;
    if ((op === 'mul' || op === 'div') && b.value === 1) return a;
    if (op === 'rem' && b.value === 1) return i32(0);
  }
  return { kind: 'binary', op, a, b };
}

export const add = (a: Expr, b: Expr): Expr => binary('add', a, b);
export const sub = (a: Expr, b: Expr): Expr => binary('sub', a, b);
export const mul = (a: Expr, b: Expr): Expr => binary('mul', a, b);
export const div = (a: Expr, b: Expr): Expr => binary('div', a, b);
export const rem = (a: Expr, b: Expr): Expr => binary('rem', a, b);
export const min = (a: Expr, b: Expr): Expr => binary('min', a, b);
export const max = (a: Expr, b: Expr): Expr => binary('max', a, b);
export const lt = (a: Expr, b: Expr): Expr => binary('lt', a, b);
export const le = (a: Expr, b: Expr): Expr => binary('le', a, b);
export const eq = (a: Expr, b: Expr): Expr => binary('eq', a, b);
export const and = (a: Expr, b: Expr): Expr => binary('and', a, b);

export function loop(
  bind: Binding,
  name: string,
  hi: Expr | number,
  body: readonly Stmt[],
  lo: Expr | number = 0,
  step = 1,
): Stmt {
  const expr = (e: Expr | number): Expr => (typeof e === 'number' ? i32(e) : e);
  return { kind: 'for', var: name, lo: expr(lo), hi: expr(hi), step, bind, body };
}
export const store = (memory: string, index: Expr, value: Expr): Stmt => ({ kind: 'store', memory, index, value });
export const letI = (name: string, value: Expr): Stmt => ({ kind: 'let', name, type: 'i32', value });
export const letF = (name: string, value: Expr): Stmt => ({ kind: 'let', name, type: 'f32', value });
