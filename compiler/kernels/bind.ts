/**
 * Last step of lowering: statements whose expressions share structure in, the same statements with `let`s out. An
 * expression used twice in a scope is computed once; one that a loop does not change is computed before the loop.
 * Loads of read-only parameters count as pure, but never leave a block that might not run.
 */
import type { Expr, KernelParam, KernelType, Stmt } from '../../ir/kernel.js';
import { Interner } from './intern.js';
import { type Definition, settleNames } from './names.js';
import { withChildren, withParts } from './rebuild.js';
import { eachOperand, eachOwn } from './walk.js';

/** A block of statements on its way out. Depth 0 is the kernel's own body. */
interface Scope {
  readonly out: Stmt[];
  readonly bound: Map<number, Expr>;
  readonly counts: ReadonlyMap<number, number>;
  /** Smallest depth that a load made in this block may move to. */
  readonly barrier: number;
  /** Inside a vector loop. */
  readonly vector: boolean;
  /** An expression as it is read here. */
  readonly rewrite: (e: Expr) => Expr;
}

interface Info {
  readonly id: number;
  /** Depth of the innermost scope that defines a name in it. */
  readonly level: number;
  readonly pure: boolean;
  readonly loads: boolean;
  readonly type: Definition['type'] | 'u8';
  /** i32 sums and products only: free in an address. */
  readonly affine: boolean;
  readonly ops: number;
}

/** What one operation of two operands is. */
function together(a: Info, b: Info, id: number, type: Info['type'], affine: boolean): Info {
  return {
    id,
    level: Math.max(a.level, b.level),
    pure: a.pure && b.pure,
    loads: a.loads || b.loads,
    type,
    affine,
    ops: a.ops + b.ops + 1,
  };
}

/** f16 is f32 in registers; u8 cannot be held in one before it is converted. */
const registerType = (t: KernelType): Info['type'] => (t === 'f16' ? 'f32' : t);

/** A loop with constant bounds, or one that ends at a `min` (a last, shorter block), runs at least once. */
function surelyRuns(s: Stmt & { kind: 'for' }): boolean {
  if (s.lo.kind === 'const' && s.hi.kind === 'const') return s.lo.value < s.hi.value;
  return s.hi.kind === 'binary' && s.hi.op === 'min';
}

function barrierInside(s: Stmt, depth: number, barrier: number): number {
  return s.kind === 'if' || s.kind === 'tileEach' || (s.kind === 'for' && !surelyRuns(s)) ? depth + 1 : barrier;
}

/**
 * @param params of the kernel; a load from one that is only read may be moved and shared
 * @throws Error where an expression reads a name that is not defined
 */
export function bindShared(body: readonly Stmt[], params: readonly KernelParam[]): Stmt[] {
  const settled = settleNames(body);
  const binder = new Binder(params, settled.definitions);
  binder.count(settled.body, 0, 0);
  return binder.block(settled.body, 0, false);
}

class Binder {
  private readonly interner = new Interner();
  /** By the number of the expression's structure. */
  private readonly infos: Info[] = [];
  private readonly memories = new Map<string, { type: Info['type']; pure: boolean }>();
  /**
   * How often each pure expression of exactly a block's depth is wanted there, blocks inside included: for each block, in the
   * order in which they are entered.
   */
  private readonly wishes: Map<number, number>[] = [];
  /** How many blocks have been entered to rewrite them. */
  private entered = 0;
  /** Those of the blocks around the one that is counted, the outermost first. */
  private readonly wanted: Map<number, number>[] = [];
  /** The blocks around the statement that is rewritten. */
  private readonly scopes: Scope[] = [];
  private counter = 0;

  constructor(
    params: readonly KernelParam[],
    private readonly definitions: Map<string, Definition>,
  ) {
    for (const p of params) this.memories.set(p.name, { type: registerType(p.type), pure: p.access === 'read' });
  }

  private info(e: Expr): Info {
    const id = this.interner.id(e);
    const known = this.infos[id];
    if (known) return known;
    const info = this.describe(e, id);
    this.infos[id] = info;
    return info;
  }

  private describe(e: Expr, id: number): Info {
    switch (e.kind) {
      case 'const':
        return { id, level: 0, pure: true, loads: false, type: e.type, affine: true, ops: 0 };
      case 'ref': {
        const def = this.definitions.get(e.name);
        if (!def) throw new Error(`an expression reads ${e.name}, which nothing defines`);
        const { depth, mutable, type } = def;
        return { id, level: depth, pure: !mutable, loads: false, type, affine: type === 'i32', ops: 0 };
      }
      case 'load':
        return this.loaded(e.memory, this.info(e.index), id);
      case 'loadIf': {
        const [cond, index] = [this.info(e.cond), this.info(e.index)];
        const { level, pure, ops } = together(cond, index, id, 'i32', false);
        const loaded = this.loaded(e.memory, index, id);
        return { ...loaded, level, pure: pure && loaded.pure, ops };
      }
      case 'unary': {
        const a = this.info(e.a);
        let type = a.type;
        if (e.op === 'not') type = 'bool';
        else if (e.op === 'toI32' || e.op === 'bitsToI32') type = 'i32';
        else if (e.op === 'toF32' || e.op === 'uToF32' || e.op === 'bitsToF32') type = 'f32';
        return { id, level: a.level, pure: a.pure, loads: a.loads, type, affine: false, ops: a.ops + 1 };
      }
      case 'binary': {
        const a = this.info(e.a);
        const b = this.info(e.b);
        const type = e.op === 'eq' || e.op === 'lt' || e.op === 'le' ? 'bool' : a.type;
        const linear = e.op === 'add' || e.op === 'sub' || e.op === 'mul';
        return together(a, b, id, type, linear && type === 'i32' && a.affine && b.affine);
      }
      case 'select': {
        const [cond, a, b] = [this.info(e.cond), this.info(e.a), this.info(e.b)];
        const arms = together(a, b, id, a.type, false);
        // One operation of three operands.
        return { ...together(cond, arms, id, a.type, false), ops: cond.ops + arms.ops };
      }
    }
  }

  private loaded(name: string, index: Info, id: number): Info {
    const memory = this.memories.get(name);
    if (!memory) throw new Error(`an expression reads memory ${name}, which nothing defines`);
    const pure = index.pure && memory.pure;
    return { id, level: index.level, pure, loads: true, type: memory.type, affine: false, ops: index.ops + 1 };
  }

  /** Depth of the scope in which the expression is best computed, seen from a block with this barrier. */
  private home(i: Info, barrier: number): number {
    return i.loads ? Math.max(i.level, barrier) : i.level;
  }

  /** Counts the wishes of `body`, a block at `depth`, and the blocks inside it; each goes to the expression's home. */
  count(body: readonly Stmt[], depth: number, barrier: number): void {
    const own = new Map<number, number>();
    this.wishes.push(own);
    this.wanted.push(own);
    let mutable: Set<number> | undefined;
    const visit = (e: Expr): void => {
      if (e.kind === 'const' || e.kind === 'ref') return;
      const i = this.info(e);
      if (i.pure) {
        const counts = this.wanted[this.home(i, barrier)];
        const n = (counts.get(i.id) ?? 0) + 1;
        counts.set(i.id, n);
        if (n > 1) return;
      } else {
        mutable ??= new Set();
        if (mutable.has(i.id)) return;
        mutable.add(i.id);
      }
      eachOperand(e, visit);
    };
    for (const s of body) {
      if (s.kind === 'alloc') this.memories.set(s.name, { type: registerType(s.type), pure: false });
      eachOwn(s, visit);
      if (s.kind === 'for' || s.kind === 'tileEach') this.count(s.body, depth + 1, barrierInside(s, depth, barrier));
      else if (s.kind === 'if') {
        this.count(s.then, depth + 1, depth + 1);
        this.count(s.else, depth + 1, depth + 1);
      }
    }
    this.wanted.pop();
  }

  block(body: readonly Stmt[], barrier: number, vector: boolean): Stmt[] {
    const depth = this.scopes.length;
    const rewrite = (e: Expr): Expr => this.rewrite(e, depth);
    const scope: Scope = { out: [], bound: new Map(), counts: this.wishes[this.entered++], barrier, vector, rewrite };
    this.scopes.push(scope);
    for (const s of body) {
      const lanes = vector || s.kind === 'tileEach' || (s.kind === 'for' && s.bind === 'vector');
      scope.out.push(withParts(s, rewrite, (b) => this.block(b, barrierInside(s, depth, barrier), lanes)));
    }
    this.scopes.pop();
    return scope.out;
  }

  /** The expression as it is read at depth `here`. */
  private rewrite(e: Expr, here: number): Expr {
    if (e.kind === 'const' || e.kind === 'ref') return e;
    const i = this.info(e);
    if (i.pure && i.type !== 'u8') {
      const home = this.home(i, this.scopes[here].barrier);
      const scope = this.scopes[home];
      const bound = scope.bound.get(i.id);
      if (bound) return bound;
      if (home < here || ((scope.counts.get(i.id) ?? 0) > 1 && this.worth(i, scope))) return this.bind(e, i, home);
    }
    return withChildren(e, this.scopes[here].rewrite);
  }

  /** Addresses in a vector loop stay whole, so that a target sees which are contiguous; a single sum costs no more than a register. */
  private worth(i: Info, scope: Scope): boolean {
    return !i.affine || (!scope.vector && i.ops > 1);
  }

  private bind(e: Expr, { id, type }: Info, depth: number): Expr {
    if (type === 'u8') throw new Error('a byte cannot be held in a register');
    const { out, bound, rewrite } = this.scopes[depth];
    const value = withChildren(e, rewrite);
    while (this.definitions.has(`t${this.counter}`)) this.counter++;
    const name = `t${this.counter}`;
    this.definitions.set(name, { depth, mutable: false, type });
    out.push({ kind: 'let', name, type, value });
    const register: Expr = { kind: 'ref', name };
    bound.set(id, register);
    return register;
  }
}
