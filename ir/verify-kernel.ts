/**
 * Holds a kernel to the rules of the kernel IR: names are defined once and visible where they are used, expressions are typed,
 * memory is read and written only as declared, and iterations that a device may run in any order are independent.
 */
import type { BinaryOp, Binding, Expr, Kernel, KernelType, Stmt, UnaryOp } from './kernel.js';

/** Types of values in registers. `u8` is only loaded, stored and converted; f16 memory is read and written as f32. */
type Scalar = 'f32' | 'i32' | 'u8' | 'bool';

const held = (t: KernelType): Scalar => (t === 'f16' ? 'f32' : t);

interface Rule {
  readonly from: readonly Scalar[];
  readonly to: Scalar | 'same';
}

const anyNumber: Rule = { from: ['f32', 'i32'], to: 'same' };
const real: Rule = { from: ['f32'], to: 'same' };
const integer: Rule = { from: ['i32'], to: 'same' };
const comparison: Rule = { from: ['f32', 'i32'], to: 'bool' };
const logic: Rule = { from: ['bool', 'i32'], to: 'same' };

const unaryRules: Record<UnaryOp, Rule> = {
  neg: anyNumber,
  abs: anyNumber,
  sqrt: real,
  floor: real,
  nearest: real,
  not: { from: ['bool'], to: 'bool' },
  toF32: { from: ['i32', 'u8', 'bool'], to: 'f32' },
  toI32: { from: ['f32', 'u8', 'bool'], to: 'i32' },
  uToF32: { from: ['i32'], to: 'f32' },
  bitsToF32: { from: ['i32'], to: 'f32' },
  bitsToI32: { from: ['f32'], to: 'i32' },
  exp: real,
  log: real,
  tanh: real,
  erf: real,
};

const binaryRules: Record<BinaryOp, Rule> = {
  add: anyNumber,
  sub: anyNumber,
  mul: anyNumber,
  div: anyNumber,
  rem: integer,
  min: anyNumber,
  max: anyNumber,
  eq: comparison,
  lt: comparison,
  le: comparison,
  and: logic,
  or: logic,
  xor: integer,
  shl: integer,
  shrU: integer,
  mulHiU: integer,
};

interface Named {
  readonly kind: 'loop' | 'let' | 'var' | 'memory' | 'tile';
  readonly type: Scalar;
  /** Memory only. */
  readonly storage?: KernelType;
  readonly reads?: boolean;
  readonly writes?: boolean;
  /** How many loops enclose the declaration. */
  readonly depth: number;
}

/** `each`: the iterations of `tileEach`. */
type Iteration = Binding | 'each';

const identifier = /^[A-Za-z_]\w*$/;

class KernelVerifier {
  private readonly names = new Map<string, Named>();
  /** The same names in the order of their declaration. */
  private readonly declared: string[] = [];
  private readonly loops: Iteration[] = [];

  constructor(private readonly kernel: Kernel) {}

  private fail(message: string): never {
    throw new Error(`kernel ${this.kernel.name}: ${message}`);
  }

  run(): void {
    const { kernel } = this;
    if (!identifier.test(kernel.name)) this.fail('its name is no identifier');
    if (!kernel.loc) this.fail('has no location');
    for (const p of kernel.params) {
      if (!Number.isInteger(p.length) || p.length < 1) this.fail(`parameter ${p.name} has ${p.length} elements`);
      this.declare(p.name, this.memory(p.type, p.access !== 'write', p.access !== 'read'));
    }
    this.block(kernel.body);
  }

  private memory(storage: KernelType, reads: boolean, writes: boolean): Named {
    return { kind: 'memory', type: held(storage), storage, reads, writes, depth: this.loops.length };
  }

  private declare(name: string, named: Named): void {
    if (!identifier.test(name)) this.fail(`${JSON.stringify(name)} is no identifier`);
    if (this.names.has(name)) this.fail(`${name} is defined where another ${name} is visible`);
    this.names.set(name, named);
    this.declared.push(name);
  }

  private lookup(name: string, kind: Named['kind'], use: string): Named {
    const named = this.names.get(name);
    if (!named) return this.fail(`${use} ${name}, which is not defined here`);
    if (named.kind !== kind) return this.fail(`${use} ${name}, which is a ${named.kind}`);
    return named;
  }

  /** A loop variable or a register. */
  private value(name: string): Named {
    const named = this.names.get(name);
    if (!named) return this.fail(`reads ${name}, which is not defined here`);
    if (named.kind === 'memory' || named.kind === 'tile') return this.fail(`reads ${name}, which is a ${named.kind}`);
    return named;
  }

  private readable(name: string): Named {
    const m = this.lookup(name, 'memory', 'loads from');
    return m.reads ? m : this.fail(`loads from ${name}, which is only written`);
  }

  private writable(name: string): Named {
    const m = this.lookup(name, 'memory', 'stores to');
    return m.writes ? m : this.fail(`stores to ${name}, which is only read`);
  }

  /** `what` and `name` say in a message which expression it is. */
  private expect(e: Expr, type: Scalar, what: string, name = ''): void {
    const t = this.type(e);
    if (t !== type) this.fail(`${what}${name} is ${t}, not ${type}`);
  }

  private applied(op: string, rule: Rule, t: Scalar): Scalar {
    if (!rule.from.includes(t)) this.fail(`${op} of ${t}, needs ${rule.from.join(' or ')}`);
    return rule.to === 'same' ? t : rule.to;
  }

  private type(e: Expr): Scalar {
    switch (e.kind) {
      case 'const':
        if (e.type === 'i32' && (e.value | 0) !== e.value) this.fail(`constant ${e.value} is not an i32`);
        if (e.type === 'f32' && !Object.is(Math.fround(e.value), e.value))
          this.fail(`constant ${e.value} is not an f32`);
        if (e.type === 'bool' && e.value !== 0 && e.value !== 1) this.fail(`constant ${e.value} is not a bool`);
        return e.type;
      case 'ref':
        return this.value(e.name).type;
      case 'load':
        this.expect(e.index, 'i32', 'index into ', e.memory);
        return this.readable(e.memory).type;
      case 'loadIf':
        this.expect(e.cond, 'bool', 'condition of loadIf');
        this.expect(e.index, 'i32', 'index into ', e.memory);
        return this.readable(e.memory).type;
      case 'unary':
        return this.applied(e.op, unaryRules[e.op], this.type(e.a));
      case 'binary': {
        const a = this.type(e.a);
        const b = this.type(e.b);
        if (a !== b) this.fail(`${e.op} of ${a} and ${b}`);
        return this.applied(e.op, binaryRules[e.op], a);
      }
      case 'select': {
        this.expect(e.cond, 'bool', 'condition of select');
        const a = this.type(e.a);
        const b = this.type(e.b);
        return a === b ? a : this.fail(`select between ${a} and ${b}`);
      }
    }
  }

  /** What a block declares is visible to its end. */
  private block(body: readonly Stmt[]): void {
    const outer = this.declared.length;
    for (let i = 0; i < body.length; i++) this.statement(body[i]);
    this.forget(outer);
  }

  /** The body of a loop, with the loop's own names. */
  private inner(loop: Iteration, body: readonly Stmt[], bound: readonly (readonly [string, Named])[]): void {
    const outer = this.declared.length;
    this.loops.push(loop);
    for (const [name, named] of bound) this.declare(name, named);
    this.block(body);
    this.loops.pop();
    this.forget(outer);
  }

  /** Names that were declared after the first `outer` are visible no more. */
  private forget(outer: number): void {
    while (this.declared.length > outer) this.names.delete(this.declared.pop()!);
  }

  /** Iterations of these loops run in any order: what lies outside them must not carry a value from one to another. */
  private independent(name: string, named: Named, accumulates: boolean): void {
    for (const [i, loop] of this.loops.entries()) {
      if (i < named.depth || loop === 'serial' || loop === 'group') continue;
      if (loop === 'vector' && accumulates) continue;
      this.fail(`${accumulates ? 'accumulates into' : 'sets'} ${name}, which lies outside the ${loop} loop`);
    }
  }

  private assigned(value: Expr, memory: string): void {
    const { type, storage } = this.writable(memory);
    const t = this.type(value);
    // The low eight bits of an i32 are a u8.
    if (t !== type && !(storage === 'u8' && t === 'i32')) this.fail(`stores ${t} to ${memory}, which holds ${storage}`);
  }

  private register(s: Extract<Stmt, { kind: 'let' | 'var' }>): void {
    this.expect(s.value, s.type, 'value of ', s.name);
    this.declare(s.name, { kind: s.kind, type: s.type, depth: this.loops.length });
  }

  private tile(name: string): Named {
    return this.lookup(name, 'tile', 'uses tile');
  }

  private statement(s: Stmt): void {
    switch (s.kind) {
      case 'for':
        this.expect(s.lo, 'i32', 'lower bound of ', s.var);
        this.expect(s.hi, 'i32', 'upper bound of ', s.var);
        if (!Number.isInteger(s.step) || s.step < 1) this.fail(`loop ${s.var} has step ${s.step}`);
        this.inner(s.bind, s.body, [[s.var, { kind: 'loop', type: 'i32', depth: this.loops.length + 1 }]]);
        return;
      case 'let':
      case 'var':
        this.register(s);
        return;
      case 'set': {
        const v = this.lookup(s.name, 'var', 'sets');
        this.expect(s.value, v.type, 'value of ', s.name);
        this.independent(s.name, v, false);
        return;
      }
      case 'accumulate': {
        const v = this.lookup(s.name, 'var', 'accumulates into');
        if (v.type !== 'f32' && v.type !== 'i32') this.fail(`accumulates into ${s.name}, which is ${v.type}`);
        this.expect(s.value, v.type, 'value of ', s.name);
        this.independent(s.name, v, true);
        return;
      }
      case 'store':
        this.expect(s.index, 'i32', 'index into ', s.memory);
        this.assigned(s.value, s.memory);
        return;
      case 'if':
        this.expect(s.cond, 'bool', 'condition of if');
        this.block(s.then);
        this.block(s.else);
        return;
      case 'alloc':
        if (!Number.isInteger(s.size) || s.size < 1) this.fail(`${s.name} has ${s.size} elements`);
        this.declare(s.name, this.memory(s.type, true, true));
        return;
      default:
        this.tileStatement(s);
        return;
    }
  }

  private tileStatement(s: Extract<Stmt, { readonly tile: string }>): void {
    switch (s.kind) {
      case 'tileZero':
        if (![s.rows, s.cols].every((n) => Number.isInteger(n) && n >= 1))
          this.fail(`tile ${s.tile} is ${s.rows} x ${s.cols}`);
        this.declare(s.tile, { kind: 'tile', type: 'f32', depth: this.loops.length });
        return;
      case 'tileMma':
        this.independent(s.tile, this.tile(s.tile), false);
        this.expect(s.depth, 'i32', 'depth of mma');
        for (const side of [s.a, s.b]) {
          this.expect(side.index, 'i32', 'index into ', side.memory);
          if (this.readable(side.memory).type !== 'f32')
            this.fail(`mma of ${side.memory}, which is not floating point`);
        }
        return;
      case 'tileLoad':
        this.independent(s.tile, this.tile(s.tile), false);
        this.expect(s.index, 'i32', 'index into ', s.memory);
        this.expect(s.row, 'i32', 'row stride');
        if (this.readable(s.memory).type !== 'f32') this.fail(`tile of ${s.memory}, which is not floating point`);
        return;
      case 'tileStore':
        this.tile(s.tile);
        this.expect(s.index, 'i32', 'index into ', s.memory);
        this.expect(s.row, 'i32', 'row stride');
        if (this.writable(s.memory).type !== 'f32') this.fail(`tile to ${s.memory}, which is not floating point`);
        return;
      case 'tileEach': {
        this.tile(s.tile);
        this.expect(s.rowLimit, 'i32', 'row limit');
        this.expect(s.colLimit, 'i32', 'column limit');
        const depth = this.loops.length + 1;
        this.inner('each', s.body, [
          [s.row, { kind: 'let', type: 'i32', depth }],
          [s.col, { kind: 'let', type: 'i32', depth }],
          [s.element, { kind: 'let', type: 'f32', depth }],
        ]);
        return;
      }
    }
  }
}

/** Throws an Error that says which statement breaks a rule. */
export function verifyKernel(kernel: Kernel): void {
  new KernelVerifier(kernel).run();
}
