/**
 * Runs kernel IR as plain JavaScript: the meaning of the IR, against which every target is held. The kernel is translated
 * to source once and then executed; every index is checked, f32 operations round as the hardware's do, and transcendental
 * functions are the host's own (targets replace them by polynomials).
 */
import type { Expr, Kernel, KernelType, Stmt } from './kernel.js';
import { erf as erf64 } from './ops/elementwise.js';

export type KernelData = Float32Array | Int32Array | Uint8Array;

const arrayOf: Record<KernelType, string> = {
  f32: 'Float32Array',
  f16: 'Float32Array',
  i32: 'Int32Array',
  u8: 'Uint8Array',
  bool: 'Uint8Array',
};

type ScalarType = 'f32' | 'i32' | 'bool';

/** Names that a kernel gives are made legal and kept apart from the interpreter's own. */
const js = (name: string): string => `$${name.replace(/[^A-Za-z0-9_]/g, (c) => `$${c.charCodeAt(0)}_`)}`;

class Translator {
  readonly memories = new Map<string, KernelType>();
  readonly names = new Map<string, ScalarType>();
  readonly tiles = new Map<string, { rows: number; cols: number }>();

  type(e: Expr): ScalarType {
    switch (e.kind) {
      case 'const':
        return e.type;
      case 'ref': {
        const t = this.names.get(e.name);
        if (!t) throw new Error(`kernel reads ${e.name}, which is not defined`);
        return t;
      }
      case 'load':
      case 'loadIf': {
        const t = this.memory(e.memory);
        return t === 'f16' ? 'f32' : t === 'u8' ? 'i32' : t;
      }
      case 'unary':
        if (['toF32', 'uToF32', 'bitsToF32'].includes(e.op)) return 'f32';
        if (['toI32', 'bitsToI32'].includes(e.op)) return 'i32';
        return this.type(e.a);
      case 'binary':
        return ['eq', 'lt', 'le'].includes(e.op) ? 'bool' : this.type(e.a);
      case 'select':
        return this.type(e.a);
    }
  }

  memory(name: string): KernelType {
    const t = this.memories.get(name);
    if (!t) throw new Error(`kernel uses memory ${name}, which is not defined`);
    return t;
  }

  at(memory: string, index: string): string {
    this.memory(memory);
    return `${js(memory)}[check(${js(memory)}, ${index}, ${JSON.stringify(memory)})]`;
  }

  expr(e: Expr): string {
    switch (e.kind) {
      case 'const':
        if (e.type === 'bool') return e.value ? 'true' : 'false';
        return Object.is(e.value, -0) ? '-0' : `(${e.value})`;
      case 'ref':
        return js(e.name);
      case 'load':
        return this.loaded(e.memory, this.at(e.memory, this.expr(e.index)));
      case 'loadIf': {
        const otherwise = this.memory(e.memory) === 'bool' ? `${e.otherwise !== 0}` : `(${e.otherwise})`;
        return `(${this.expr(e.cond)} ? ${this.loaded(e.memory, this.at(e.memory, this.expr(e.index)))} : ${otherwise})`;
      }
      case 'unary':
        return this.unary(e.op, this.expr(e.a), this.type(e.a));
      case 'binary':
        return this.binary(e.op, this.expr(e.a), this.expr(e.b), this.type(e.a));
      case 'select':
        return `(${this.expr(e.cond)} ? ${this.expr(e.a)} : ${this.expr(e.b)})`;
    }
  }

  private loaded(memory: string, text: string): string {
    return this.memory(memory) === 'bool' ? `(${text} !== 0)` : text;
  }

  private unary(op: string, a: string, type: ScalarType): string {
    switch (op) {
      case 'neg':
        return type === 'i32' ? `(-(${a}) | 0)` : `(-(${a}))`;
      case 'abs':
        return type === 'i32' ? `(Math.abs(${a}) | 0)` : `Math.abs(${a})`;
      case 'floor':
        return `Math.floor(${a})`;
      case 'not':
        return `(!${a})`;
      case 'toF32':
        return type === 'bool' ? `(${a} ? 1 : 0)` : `f(${a})`;
      case 'toI32':
        return type === 'bool' ? `(${a} ? 1 : 0)` : `saturate(${a})`;
      case 'uToF32':
        return `f(${a} >>> 0)`;
      default:
        // sqrt, exp, log, tanh round once; nearest, erf and the bit casts are given below.
        return ['sqrt', 'exp', 'log', 'tanh'].includes(op) ? `f(Math.${op}(${a}))` : `${op}(${a})`;
    }
  }

  private binary(op: string, a: string, b: string, type: ScalarType): string {
    const int = type === 'i32';
    const infix: Record<string, string> = { add: '+', sub: '-', eq: '===', lt: '<', le: '<=', xor: '^', shl: '<<' };
    switch (op) {
      case 'add':
      case 'sub':
        return int ? `(${a} ${infix[op]} ${b} | 0)` : `f(${a} ${infix[op]} ${b})`;
      case 'mul':
        return int ? `Math.imul(${a}, ${b})` : `f(${a} * ${b})`;
      case 'div':
        return int ? `divide(${a}, ${b})` : `f(${a} / ${b})`;
      case 'rem':
        return `remainder(${a}, ${b})`;
      case 'min':
      case 'max':
        return `Math.${op}(${a}, ${b})`;
      case 'and':
        return type === 'bool' ? `(${a} && ${b})` : `(${a} & ${b})`;
      case 'or':
        return type === 'bool' ? `(${a} || ${b})` : `(${a} | ${b})`;
      case 'shrU':
        return `(${a} >>> ${b} | 0)`;
      case 'mulHiU':
        return `mulHiU(${a}, ${b})`;
      default:
        return `(${a} ${infix[op]} ${b})`;
    }
  }

  block(body: readonly Stmt[]): string {
    return body.map((s) => this.stmt(s)).join('\n');
  }

  private stored(memory: string, value: string): string {
    return this.memory(memory) === 'bool' ? `(${value} ? 1 : 0)` : value;
  }

  stmt(s: Stmt): string {
    switch (s.kind) {
      case 'for': {
        this.names.set(s.var, 'i32');
        const v = js(s.var);
        return `for (let ${v} = ${this.expr(s.lo)}, end = ${this.expr(s.hi)}; ${v} < end; ${v} += ${s.step}) {\n${this.block(s.body)}\n}`;
      }
      case 'let':
      case 'var':
        this.names.set(s.name, s.type);
        return `${s.kind === 'let' ? 'const' : 'let'} ${js(s.name)} = ${this.expr(s.value)};`;
      case 'set':
        return `${js(s.name)} = ${this.expr(s.value)};`;
      case 'accumulate': {
        const sum = this.binary(s.op, js(s.name), this.expr(s.value), this.type({ kind: 'ref', name: s.name }));
        return `${js(s.name)} = ${sum};`;
      }
      case 'store':
        return `${this.at(s.memory, this.expr(s.index))} = ${this.stored(s.memory, this.expr(s.value))};`;
      case 'if':
        return `if (${this.expr(s.cond)}) {\n${this.block(s.then)}\n} else {\n${this.block(s.else)}\n}`;
      case 'alloc':
        this.memories.set(s.name, s.type);
        // NaN shows a read of what was never written.
        return `const ${js(s.name)} = new ${arrayOf[s.type]}(${s.size}).fill(${s.type === 'f32' ? 'NaN' : 0});`;
      case 'tileZero':
        this.tiles.set(s.tile, s);
        return `const ${js(s.tile)} = new Float32Array(${s.rows * s.cols});`;
      case 'tileMma': {
        const { rows, cols } = this.tile(s.tile);
        const a = this.at(s.a.memory, `A + i * ${s.a.row} + k * ${s.a.depth}`);
        const b = this.at(s.b.memory, `B + k * ${s.b.depth} + j * ${s.b.col}`);
        return `{ const A = ${this.expr(s.a.index)}, B = ${this.expr(s.b.index)}, K = ${this.expr(s.depth)};
for (let k = 0; k < K; k++) for (let i = 0; i < ${rows}; i++) for (let j = 0; j < ${cols}; j++)
${js(s.tile)}[i * ${cols} + j] = f(${js(s.tile)}[i * ${cols} + j] + f(${a} * ${b})); }`;
      }
      case 'tileLoad':
      case 'tileStore': {
        const { rows, cols } = this.tile(s.tile);
        const memory = this.at(s.memory, `I + i * R + j * ${s.col}`);
        const tile = `${js(s.tile)}[i * ${cols} + j]`;
        const move = s.kind === 'tileLoad' ? `${tile} = ${memory}` : `${memory} = ${tile}`;
        return `{ const I = ${this.expr(s.index)}, R = ${this.expr(s.row)};
for (let i = 0; i < ${rows}; i++) for (let j = 0; j < ${cols}; j++) ${move}; }`;
      }
      case 'tileEach': {
        const { rows, cols } = this.tile(s.tile);
        this.names.set(s.row, 'i32').set(s.col, 'i32').set(s.element, 'f32');
        const [r, c, e] = [s.row, s.col, s.element].map(js);
        return `{ const R = Math.min(${rows}, ${this.expr(s.rowLimit)}), C = Math.min(${cols}, ${this.expr(s.colLimit)});
for (let ${r} = 0; ${r} < R; ${r}++) for (let ${c} = 0; ${c} < C; ${c}++) { const ${e} = ${js(s.tile)}[${r} * ${cols} + ${c}];
${this.block(s.body)} } }`;
      }
    }
  }

  private tile(name: string): { rows: number; cols: number } {
    const t = this.tiles.get(name);
    if (!t) throw new Error(`kernel uses tile ${name}, which is not defined`);
    return t;
  }
}

const bits = new DataView(new ArrayBuffer(4));

/** What the generated source calls. */
const support = {
  f: Math.fround,
  check(memory: KernelData, index: number, name: string): number {
    if (!(index >= 0 && index < memory.length))
      throw new RangeError(`index ${index} of ${name}, which has ${memory.length} elements`);
    return index;
  },
  nearest(x: number): number {
    const r = Math.round(x);
    return Math.abs(x % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r;
  },
  saturate: (x: number): number =>
    Number.isNaN(x) ? 0 : Math.trunc(Math.min(Math.max(x, -(2 ** 31)), 2 ** 31 - 1)) | 0,
  divide(a: number, b: number): number {
    if (b <= 0 || a < 0) throw new RangeError(`integer division ${a} / ${b}`);
    return Math.floor(a / b);
  },
  remainder(a: number, b: number): number {
    if (b <= 0 || a < 0) throw new RangeError(`integer remainder ${a} % ${b}`);
    return a % b;
  },
  mulHiU: (a: number, b: number): number => Number((BigInt(a >>> 0) * BigInt(b >>> 0)) >> 32n) | 0,
  bitsToF32(x: number): number {
    bits.setInt32(0, x);
    return bits.getFloat32(0);
  },
  bitsToI32(x: number): number {
    bits.setFloat32(0, x);
    return bits.getInt32(0);
  },
};

/**
 * Executes the kernel over `buffers`, by parameter name; bool memory is 0 and 1 in a Uint8Array.
 * @param erf in float64
 * @throws RangeError on an index out of bounds, Error on a name that is not defined
 */
export function interpret(
  kernel: Kernel,
  buffers: Readonly<Record<string, KernelData>>,
  erf: (x: number) => number = erf64,
): void {
  const t = new Translator();
  for (const p of kernel.params) {
    t.memories.set(p.name, p.type);
    const data = buffers[p.name];
    if (!data) throw new Error(`parameter ${p.name} of ${kernel.name} is not given`);
    if (data.length < p.length)
      throw new Error(`parameter ${p.name} of ${kernel.name} has ${data.length} of ${p.length} elements`);
  }
  const names = Object.keys(support);
  const params = kernel.params.map((p) => js(p.name));
  const source = `'use strict';\n${t.block(kernel.body)}`;
  const run = new Function(...names, 'erf', ...params, source);
  run(
    ...names.map((n) => support[n as keyof typeof support]),
    (x: number) => Math.fround(erf(x)),
    ...kernel.params.map((p) => buffers[p.name]),
  );
}
