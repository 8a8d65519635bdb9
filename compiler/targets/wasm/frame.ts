/**
 * What the printer of one function knows while it walks the kernel: nested scopes with their code and names, locals,
 * memories. A scope's code is kept apart until the scope closes, so that what an inner loop does not change can still be
 * appended to an outer scope: it then stands in front of the inner loop.
 */
import type { Expr, KernelType } from '../../../ir/kernel.js';
import { Code, F32, I32, op, V128, type ValueType } from './encode.js';
import { Scoped } from './scoped.js';

export type Scalar = 'f32' | 'i32' | 'bool';

/** An integer as constant + sum of coefficient * atom, where an atom is a name or an expression that is not a sum. */
export interface Sum {
  readonly constant: number;
  readonly terms: readonly { readonly atom: Expr; readonly factor: number; readonly key: string }[];
}

export interface Name {
  readonly type: Scalar;
  readonly local: number;
  /** The local as part of a text that tells values apart. */
  readonly key: string;
  /** Index of the scope that defines it. */
  readonly level: number;
  readonly mutable: boolean;
  /** Held as four lanes: it differs between the iterations of the vector loop that is being printed. */
  readonly lanes: boolean;
  /** The value of an immutable integer, as a sum. */
  readonly sum?: Sum;
}

export interface MemoryPlace {
  readonly type: KernelType;
  /** Local with the byte address to which `offset` is added. */
  readonly local: number;
  readonly offset: number;
  readonly length: number;
}

export interface Tile {
  readonly rows: number;
  readonly cols: number;
  /** v128 locals, row by row, cols / 4 each. */
  readonly locals: readonly number[];
}

interface Scope {
  readonly code: Code;
  /** Values that later code of this scope may use again: key to local. */
  cache: Map<string, number> | undefined;
  readonly scratch: number;
}

/** The vector loop that is being printed as lanes. */
export interface Lanes {
  readonly variable: string;
  readonly step: number;
  /** What this copy of an unrolled body adds to loop variables; their locals hold the first copy's values. */
  readonly shifts: ReadonlyMap<string, number>;
  /** Where this copy gathers what the body accumulates. */
  readonly accumulators: ReadonlyMap<string, number>;
  /** Inside a condition or a loop of the body: what this copy accesses says nothing about the first copy's addresses. */
  readonly conditional: boolean;
  /** Lanes that run, inside conditions that differ between lanes: a local of i32 masks. */
  readonly mask?: number;
}

export const valueType: Record<Scalar, ValueType> = { f32: F32, i32: I32, bool: I32 };

export const bytesOf: Record<KernelType, number> = { f32: 4, f16: 4, i32: 4, u8: 1, bool: 1 };

/** The type that a memory's element has in a register. */
export const held = (t: KernelType): Scalar => (t === 'f16' ? 'f32' : t === 'u8' ? 'i32' : t);

export class Frame {
  readonly locals: ValueType[] = [];
  private readonly scopes: Scope[] = [];
  private readonly names = new Scoped<Name>();
  private readonly memories = new Scoped<MemoryPlace>();
  private readonly tiles = new Scoped<Tile>();
  /** The scope to which code is appended. */
  private current = -1;
  private scratchTop = 0;
  private largestScratch = 0;
  lanes: Lanes | undefined;

  /**
   * @param params how many locals are parameters
   * @param scratchLocal the parameter with the scratch address
   * @param relaxed whether instructions of relaxed SIMD may be printed
   */
  constructor(
    private readonly params: number,
    private readonly scratchLocal: number,
    readonly relaxed: boolean,
  ) {
    this.enter();
  }

  get code(): Code {
    return this.scopes[this.current].code;
  }

  get level(): number {
    return this.current;
  }

  /** Bytes that allocations need at most at one time. */
  get scratch(): number {
    return this.largestScratch;
  }

  enter(): void {
    this.scopes.push({
      code: new Code(),
      cache: undefined,
      scratch: this.scopes.length === 0 ? 0 : this.scratchTop,
    });
    this.current = this.scopes.length - 1;
    this.scratchTop = this.scopes[this.current].scratch;
  }

  /** Closes the innermost scope; the caller appends its code. */
  leave(): Code {
    const scope = this.scopes.pop()!;
    const level = this.scopes.length;
    this.names.leave(level);
    this.memories.leave(level);
    this.tiles.leave(level);
    this.current = level - 1;
    this.scratchTop = scope.scratch;
    return scope.code;
  }

  /** Appends what `emit` prints to an outer scope. */
  at(level: number, emit: () => void): void {
    const before = this.current;
    this.current = level;
    emit();
    this.current = before;
  }

  newLocal(type: ValueType): number {
    this.locals.push(type);
    return this.params + this.locals.length - 1;
  }

  /** The value on the stack, in a new local. */
  keep(type: ValueType): number {
    const local = this.newLocal(type);
    this.code.at(op.set, local);
    return local;
  }

  /** The local of the scope `level` that holds the value `key`, if it was computed there. */
  cached(level: number, key: string): number | undefined {
    return this.scopes[level].cache?.get(key);
  }

  /** Has `emit` compute the value `key` in the scope `level`, for later code there as well. */
  cache(level: number, key: string, emit: () => void): number {
    let local = -1;
    this.at(level, () => {
      emit();
      local = this.keep(I32);
    });
    const scope = this.scopes[level];
    scope.cache ??= new Map();
    scope.cache.set(key, local);
    return local;
  }

  define(name: string, type: Scalar, how: Partial<Name> = {}): Name {
    const lanes = how.lanes ?? false;
    const local = how.local ?? this.newLocal(lanes ? V128 : valueType[type]);
    const mutable = how.mutable ?? false;
    const named: Name = { type, local, key: `$${local}`, level: this.current, mutable, lanes, sum: how.sum };
    this.names.define(name, named, this.current);
    return named;
  }

  name(name: string): Name {
    return this.names.get(name);
  }

  memory(name: string): MemoryPlace {
    return this.memories.get(name);
  }

  /** Whether only the statements of this function can reach it: it shares no bytes with another memory. */
  isOwn(name: string): boolean {
    return this.memory(name).local === this.scratchLocal;
  }

  tile(name: string): Tile {
    return this.tiles.get(name);
  }

  defineMemory(name: string, place: MemoryPlace): void {
    this.memories.define(name, place, this.current);
  }

  defineTile(name: string, tile: Tile): void {
    this.tiles.define(name, tile, this.current);
  }

  /** Scratch memory up to the end of the current scope, 16-byte aligned. */
  allocate(name: string, type: KernelType, length: number): void {
    this.defineMemory(name, { type, local: this.scratchLocal, offset: this.scratchTop, length });
    this.scratchTop += Math.ceil((length * bytesOf[type]) / 16) * 16;
    this.largestScratch = Math.max(this.largestScratch, this.scratchTop);
  }

  /** What the copy of an unrolled body that is being printed adds to the variable `name`. */
  shift(name: string): number {
    return this.lanes?.shifts.get(name) ?? 0;
  }

  /** @param own types of names that are not defined here yet */
  typeOf(e: Expr, own?: ReadonlyMap<string, Scalar>): Scalar {
    switch (e.kind) {
      case 'const':
        return e.type;
      case 'ref':
        return own?.get(e.name) ?? this.name(e.name).type;
      case 'load':
      case 'loadIf':
        return held(this.memory(e.memory).type);
      case 'unary':
        if (e.op === 'toF32' || e.op === 'uToF32' || e.op === 'bitsToF32') return 'f32';
        return e.op === 'toI32' || e.op === 'bitsToI32' ? 'i32' : this.typeOf(e.a, own);
      case 'binary':
        return e.op === 'eq' || e.op === 'lt' || e.op === 'le' ? 'bool' : this.typeOf(e.a, own);
      case 'select':
        return this.typeOf(e.a, own);
    }
  }

  /**
   * The innermost scope that defines something in `e`, or the current one where `e` must stay: it reads memory or a
   * mutable register, or it may divide by zero.
   */
  levelOf(e: Expr): number {
    switch (e.kind) {
      case 'const':
        return 0;
      case 'ref': {
        const n = this.name(e.name);
        return n.mutable || n.lanes ? this.current : Math.min(n.level, this.current);
      }
      case 'load':
      case 'loadIf':
        return this.current;
      case 'unary':
        return this.levelOf(e.a);
      case 'binary':
        if ((e.op === 'div' || e.op === 'rem') && !(e.b.kind === 'const' && e.b.value !== 0)) return this.current;
        return Math.max(this.levelOf(e.a), this.levelOf(e.b));
      case 'select':
        return Math.max(this.levelOf(e.cond), this.levelOf(e.a), this.levelOf(e.b));
    }
  }

  /** Whether `e` differs between the lanes of the vector loop that is being printed. */
  varies(e: Expr): boolean {
    if (!this.lanes) return false;
    switch (e.kind) {
      case 'const':
        return false;
      case 'ref':
        return e.name === this.lanes.variable || this.name(e.name).lanes;
      case 'load':
        return this.varies(e.index);
      case 'unary':
        return this.varies(e.a);
      case 'binary':
        return this.varies(e.a) || this.varies(e.b);
      case 'select':
        return this.varies(e.cond) || this.varies(e.a) || this.varies(e.b);
      case 'loadIf':
        return this.varies(e.cond) || this.varies(e.index);
    }
  }
}
