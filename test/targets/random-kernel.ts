/**
 * Random small kernels from a seed, valid by construction: a grid loop around a vector loop whose body has definitions,
 * conditions, inner loops, padded and gathered loads, and stores that never meet.
 */
import {
  add,
  and,
  type BinaryOp,
  binary,
  bool,
  type Expr,
  f32,
  i32,
  type Kernel,
  type KernelType,
  le,
  load,
  loop,
  lt,
  max,
  min,
  mul,
  ref,
  rem,
  type Stmt,
  select,
  store,
  sub,
  type UnaryOp,
  unary,
} from '../../ir/kernel.js';
import { type Buffers, bufferOf, kernelOf, param, randomFrom, when } from './run-wasm.js';

type Scalar = 'f32' | 'i32' | 'bool';

const inputs: readonly { name: string; type: KernelType; length: number }[] = [
  { name: 'inF', type: 'f32', length: 211 },
  { name: 'inI', type: 'i32', length: 157 },
  { name: 'inU', type: 'u8', length: 173 },
  { name: 'inB', type: 'bool', length: 131 },
];

/** Iterations of the vector loop lie in [0, WIDTH), those of an inner loop in [0, INNER). */
const WIDTH = 27;
const INNER = 3;

export interface RandomKernel {
  readonly kernel: Kernel;
  readonly buffers: Buffers;
  /** Outputs that hold reassociated sums. */
  readonly inexact: ReadonlySet<string>;
}

class Generator {
  private readonly next: () => number;
  private count = 0;
  readonly outputs: { name: string; type: KernelType; length: number }[] = [];
  readonly inexact = new Set<string>();
  private values: { name: string; type: Scalar }[] = [];
  private variables: { name: string; type: Scalar }[] = [];
  /** Loop variables with their number of values. */
  private loops: { name: string; extent: number }[] = [];
  private sums: { name: string; type: 'f32' | 'i32'; op: 'add' | 'max' | 'min' }[] = [];

  constructor(seed: number) {
    this.next = randomFrom(seed);
  }

  private int(n: number): number {
    return Math.floor(this.next() * n);
  }

  private pick<T>(from: readonly T[]): T {
    return from[this.int(from.length)];
  }

  private fresh(prefix: string): string {
    return `${prefix}${this.count++}`;
  }

  private chance(p: number): boolean {
    return this.next() < p;
  }

  /** A sum of loop variables with the range of its values. */
  private affine(): { e: Expr; low: number; high: number } {
    let e: Expr = i32(0);
    let low = 0;
    let high = 0;
    for (const l of this.loops) {
      const factor = this.pick([0, 1, 1, 1, 2, 3, -1, -2, 4]);
      if (factor === 0) continue;
      e = add(e, mul(ref(l.name), i32(factor)));
      if (factor > 0) high += factor * (l.extent - 1);
      else low += factor * (l.extent - 1);
    }
    return { e, low, high };
  }

  private access(type: Scalar, depth: number): Expr {
    const memory = this.pick(inputs.filter((m) => m.type === type || (type === 'i32' && m.type === 'u8')));
    const loaded = this.accessOf(memory, type, depth);
    return memory.type === 'u8' ? unary('toI32', loaded) : loaded;
  }

  private accessOf(memory: (typeof inputs)[number], type: Scalar, depth: number): Expr {
    const { e, low, high } = this.affine();
    const kind = this.int(4);
    if (kind === 0 && depth > 0) {
      const wild = binary('and', this.expr('i32', depth - 1), i32(0x7fffffff));
      return load(memory.name, rem(wild, i32(memory.length)));
    }
    if (kind === 1) {
      const index = add(e, i32(this.int(60) - 40));
      const cond = and(le(i32(0), index), lt(index, i32(memory.length)));
      const otherwise = type === 'bool' ? this.int(2) : memory.type === 'u8' ? this.int(9) : this.int(9) - 4;
      return {
        kind: 'loadIf',
        cond: this.chance(0.3) ? and(cond, this.expr('bool', 0)) : cond,
        memory: memory.name,
        index,
        otherwise,
      };
    }
    if (high - low >= memory.length) return load(memory.name, i32(this.int(memory.length)));
    return load(memory.name, add(e, i32(-low + this.int(memory.length - (high - low)))));
  }

  expr(type: Scalar, depth: number): Expr {
    const names = this.values.filter((v) => v.type === type);
    if (depth <= 0 || this.chance(0.1)) {
      if (names.length > 0 && this.chance(0.6)) return ref(this.pick(names).name);
      if (type === 'i32' && this.loops.length > 0 && this.chance(0.6)) return ref(this.pick(this.loops).name);
      if (type === 'bool') return bool(this.chance(0.5));
      return type === 'f32'
        ? f32(this.pick([0, -0, 1, 0.5, -3.25, 100, 1e-3]))
        : i32(this.pick([0, 1, 2, 7, -5, 1 << 20]));
    }
    if (this.chance(0.25)) return this.access(type, depth);
    if (this.chance(0.15))
      return select(this.expr('bool', depth - 1), this.expr(type, depth - 1), this.expr(type, depth - 1));
    const sub = (t: Scalar): Expr => this.expr(t, depth - 1);
    const un = (op: UnaryOp, t: Scalar): Expr => unary(op, sub(t));
    const bin = (op: BinaryOp, t: Scalar): Expr => binary(op, sub(t), sub(t));
    if (type === 'f32') {
      const k = this.int(12);
      if (k < 5) return bin(this.pick(['add', 'sub', 'mul', 'div', 'min', 'max'] as const), 'f32');
      if (k < 8) return un(this.pick(['neg', 'abs', 'sqrt', 'floor', 'nearest'] as const), 'f32');
      if (k < 10) return un('toF32', this.pick(['i32', 'bool'] as const));
      return k === 10 ? un('uToF32', 'i32') : unary('bitsToF32', binary('and', sub('i32'), i32(0x3fffffff)));
    }
    if (type === 'bool') {
      const k = this.int(6);
      if (k < 4) return bin(this.pick(['eq', 'lt', 'le'] as const), this.pick(['f32', 'i32'] as const));
      return k === 4 ? un('not', 'bool') : bin(this.pick(['and', 'or'] as const), 'bool');
    }
    const k = this.int(12);
    if (k < 5) return bin(this.pick(['add', 'sub', 'mul', 'min', 'max', 'and', 'or', 'xor', 'mulHiU'] as const), 'i32');
    if (k < 7) return un(this.pick(['neg', 'abs'] as const), 'i32');
    if (k === 7) return un('toI32', this.pick(['f32', 'bool'] as const));
    // Bits of a NaN are the machine's own, so only stored numbers are read as bits.
    if (k === 8) return unary('bitsToI32', load('inF', i32(this.int(211))));
    if (k === 9)
      return binary(this.pick(['shl', 'shrU'] as const), sub('i32'), this.chance(0.7) ? i32(this.int(31)) : sub('i32'));
    const positive = binary('and', sub('i32'), i32(0x7fffffff));
    const by = this.chance(0.8)
      ? i32(this.pick([1, 2, 3, 5, 7, 16, 641, 100003]))
      : add(binary('and', sub('i32'), i32(15)), i32(1));
    return binary(this.pick(['div', 'rem'] as const), positive, by);
  }

  /** An output of its own for a store inside of the current loops, and the place of this iteration in it. */
  private place(type: KernelType): { memory: string; index: Expr } {
    const memory = this.fresh('out');
    let length = 1;
    let index: Expr = i32(0);
    const order = this.chance(0.7) ? this.loops : [...this.loops].reverse();
    for (const l of order) {
      const at = this.chance(0.2) ? sub(i32(l.extent - 1), ref(l.name)) : ref(l.name);
      index = add(mul(index, i32(l.extent)), at);
      length *= l.extent;
    }
    this.outputs.push({ name: memory, type, length });
    return { memory, index };
  }

  private storeSomething(): Stmt {
    const type = this.pick(['f32', 'f32', 'i32', 'u8', 'bool'] as const);
    const { memory, index } = this.place(type);
    return store(memory, index, this.expr(type === 'u8' ? 'i32' : type, 3));
  }

  private scoped(make: () => Stmt[]): Stmt[] {
    const before = { values: this.values, variables: this.variables, loops: this.loops };
    this.values = [...this.values];
    this.variables = [...this.variables];
    this.loops = [...this.loops];
    const body = make();
    Object.assign(this, before);
    return body;
  }

  private statement(level: number): Stmt {
    const k = this.int(level > 0 ? 11 : 8);
    const type = this.pick(['f32', 'i32', 'bool'] as const);
    if (k < 3) {
      const [name, value] = [this.fresh('v'), this.expr(type, 2)];
      this.values.push({ name, type });
      if (this.chance(0.6)) return { kind: 'let', name, type, value };
      this.variables.push({ name, type });
      return { kind: 'var', name, type, value };
    }
    if (k === 3 && this.variables.length > 0) {
      const v = this.pick(this.variables);
      return { kind: 'set', name: v.name, value: this.expr(v.type, 2) };
    }
    if (k === 4 && this.sums.length > 0) {
      const s = this.pick(this.sums);
      const value = this.expr(s.type, 2);
      // Sums stay near 100, so that the tolerance can be a number.
      return {
        kind: 'accumulate',
        name: s.name,
        op: s.op,
        value: s.type === 'f32' && s.op === 'add' ? min(max(value, f32(-4)), f32(4)) : value,
      };
    }
    if (k < 8) return this.storeSomething();
    if (k < 10) {
      return when(
        this.expr('bool', 2),
        this.scoped(() => this.block(2, level - 1)),
        this.chance(0.5) ? [] : this.scoped(() => this.block(2, level - 1)),
      );
    }
    const name = this.fresh('k');
    return loop(
      'serial',
      name,
      INNER,
      this.scoped(() => {
        this.loops.push({ name, extent: INNER });
        return this.block(2, level - 1);
      }),
    );
  }

  private block(n: number, level: number): Stmt[] {
    return Array.from({ length: n }, () => this.statement(level));
  }

  kernel(seed: number): Kernel {
    const grid = 1 + this.int(3);
    this.loops.push({ name: 'g', extent: grid });
    const before = this.block(1, 0).filter((s) => s.kind === 'let');
    this.values = this.values.filter((v) => before.some((s) => s.kind === 'let' && s.name === v.name));
    this.variables = [];
    const accumulated: Stmt[] = [];
    for (const op of ['add', 'max', 'min'] as const) {
      const type = this.pick(['f32', 'i32'] as const);
      const name = this.fresh('sum');
      this.sums.push({ name, type, op });
      accumulated.push({ kind: 'var', name, type, value: type === 'f32' ? f32(this.int(5)) : i32(this.int(5)) });
    }
    const vector = loop(
      'vector',
      'i',
      this.chance(0.5) ? this.int(WIDTH + 1) : min(i32(WIDTH), add(mul(ref('g'), i32(7)), i32(this.int(9)))),
      this.scoped(() => {
        this.loops.push({ name: 'i', extent: WIDTH });
        return this.block(4, 2);
      }),
      this.int(3),
      this.pick([1, 1, 1, 1, 2, 3]),
    );
    const results = this.sums.map((s) => {
      const { memory, index } = this.place(s.type);
      if (s.op === 'add' && s.type === 'f32') this.inexact.add(memory);
      return store(memory, index, ref(s.name));
    });
    const params = [
      ...inputs.map((m) => param(m.name, m.length, m.type)),
      ...this.outputs.map((m) => param(m.name, m.length, m.type, 'write')),
    ];
    return kernelOf(`random${seed}`, params, [
      loop('grid', 'g', grid, [...before, ...accumulated, vector, ...results]),
    ]);
  }

  data(): Buffers {
    const buffers: Buffers = {};
    for (const m of inputs) {
      const b = bufferOf(m.type, m.length);
      for (let i = 0; i < m.length; i++) {
        if (m.type === 'f32')
          b[i] = this.pick([0, -0, 1, -1, 2 ** 31, 1e30, 1e-30]) * (this.chance(0.2) ? 1 : 0) + this.next() * 8 - 4;
        else if (m.type === 'i32') b[i] = this.chance(0.2) ? this.int(2 ** 32) | 0 : this.int(41) - 20;
        else b[i] = m.type === 'u8' ? this.int(256) : this.int(2);
      }
      buffers[m.name] = b;
    }
    for (const m of this.outputs) buffers[m.name] = bufferOf(m.type, m.length);
    return buffers;
  }
}

/** The kernel that belongs to `seed`, with data for it. */
export function randomKernel(seed: number): RandomKernel {
  const g = new Generator(seed);
  const kernel = g.kernel(seed);
  return { kernel, buffers: g.data(), inexact: g.inexact };
}
