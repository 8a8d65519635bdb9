/**
 * Last step of lowering: statements whose expressions share structure in, the same statements with `let`s out. An
 * expression used twice in a scope is computed once; one that a loop does not change is computed before the loop.
 * Loads of read-only parameters count as pure, but never leave a block that might not run.
 */
import type { Expr, KernelParam, KernelType, Stmt } from '../../ir/kernel.js';
import { Interner } from './intern.js';
import { type Definition, settleNames } from './names.js';
import { mapOwn, withChildren } from './rebuild.js';
import { blocksOf, operandsOf, ownExpressions, withBlocks } from './walk.js';

/** A block of statements on its way out. Depth 0 is the kernel's own body. */
interface Scope {
  readonly out: Stmt[];
  readonly bound: Map<number, Expr>;
  readonly counts: ReadonlyMap<number, number>;
  /** Smallest depth that a load made in this block may move to. */
  readonly barrier: number;
  /** Inside a vector loop. */
  readonly vector: boolean;
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
  binder.count(settled.body, [], 0);
  return binder.block(settled.body, [], 0, false);
}

class Binder {
  private readonly interner = new Interner();
  private readonly infos = new Map<number, Info>();
  private readonly memories = new Map<string, { type: Info['type']; pure: boolean }>();
  /** For each block, how often each pure expression of exactly its depth is wanted there, blocks inside included. */
  private readonly wishes = new Map<readonly Stmt[], Map<number, number>>();
  private counter = 0;

  constructor(
    params: readonly KernelParam[],
    private readonly definitions: Map<string, Definition>,
  ) {
    for (const p of params) this.memories.set(p.name, { type: registerType(p.type), pure: p.access === 'read' });
  }

  private info(e: Expr): Info {
    const id = this.interner.id(e);
    const known = this.infos.get(id);
    if (known) return known;
    let level = 0;
    let pure = true;
    let loads = false;
    let ops = e.kind === 'const' || e.kind === 'ref' ? 0 : 1;
    const parts = operandsOf(e).map((c) => this.info(c));
    for (const p of parts) {
      level = Math.max(level, p.level);
      pure &&= p.pure;
      loads ||= p.loads;
      ops += p.ops;
    }
    let type: Info['type'] = 'f32';
    let affine = false;
    switch (e.kind) {
      case 'const':
        type = e.type;
        affine = true;
        break;
      case 'ref': {
        const def = this.definitions.get(e.name);
        if (!def) throw new Error(`an expression reads ${e.name}, which nothing defines`);
        level = def.depth;
        pure = !def.mutable;
        type = def.type;
        affine = type === 'i32';
        break;
      }
      case 'load':
      case 'loadIf': {
        const memory = this.memories.get(e.memory);
        if (!memory) throw new Error(`an expression reads memory ${e.memory}, which nothing defines`);
        pure &&= memory.pure;
        type = memory.type;
        loads = true;
        break;
      }
      case 'unary':
        if (e.op === 'not') type = 'bool';
        else if (e.op === 'toI32' || e.op === 'bitsToI32') type = 'i32';
        else type = /F32$/.test(e.op) ? 'f32' : parts[0].type;
        break;
      case 'binary':
        type = e.op === 'eq' || e.op === 'lt' || e.op === 'le' ? 'bool' : parts[0].type;
        affine =
          (e.op === 'add' || e.op === 'sub' || e.op === 'mul') && type === 'i32' && parts[0].affine && parts[1].affine;
        break;
      case 'select':
        type = parts[1].type;
        break;
    }
    const info = { id, level, pure, loads, type, affine, ops };
    this.infos.set(id, info);
    return info;
  }

  /** Depth of the scope in which the expression is best computed, seen from a block with this barrier. */
  private home(i: Info, barrier: number): number {
    return i.loads ? Math.max(i.level, barrier) : i.level;
  }

  /** Counts the wishes of `body` and the blocks inside it; each goes to the expression's home. */
  count(body: readonly Stmt[], outer: readonly Map<number, number>[], barrier: number): void {
    const own = this.wishes.get(body) ?? new Map<number, number>();
    this.wishes.set(body, own);
    const scopes = [...outer, own];
    const mutable = new Set<number>();
    const visit = (e: Expr): void => {
      if (e.kind === 'const' || e.kind === 'ref') return;
      const i = this.info(e);
      if (i.pure) {
        const counts = scopes[this.home(i, barrier)];
        const n = (counts.get(i.id) ?? 0) + 1;
        counts.set(i.id, n);
        if (n > 1) return;
      } else {
        if (mutable.has(i.id)) return;
        mutable.add(i.id);
      }
      for (const c of operandsOf(e)) visit(c);
    };
    for (const s of body) {
      if (s.kind === 'alloc') this.memories.set(s.name, { type: registerType(s.type), pure: false });
      for (const e of ownExpressions(s)) visit(e);
      const inner = barrierInside(s, outer.length, barrier);
      for (const b of blocksOf(s)) this.count(b, scopes, inner);
    }
  }

  block(body: readonly Stmt[], outer: readonly Scope[], barrier: number, vector: boolean): Stmt[] {
    const counts = this.wishes.get(body)!;
    const scope: Scope = { out: [], bound: new Map(), counts, barrier, vector };
    const scopes = [...outer, scope];
    for (const s of body) {
      const own = mapOwn(s, (e) => this.rewrite(e, scopes));
      const inner = barrierInside(s, outer.length, barrier);
      const lanes = vector || s.kind === 'tileEach' || (s.kind === 'for' && s.bind === 'vector');
      const blocks = blocksOf(s).map((b) => this.block(b, scopes, inner, lanes));
      scope.out.push(blocks.length > 0 ? withBlocks(own, blocks) : own);
    }
    return scope.out;
  }

  private rewrite(e: Expr, scopes: readonly Scope[]): Expr {
    if (e.kind === 'const' || e.kind === 'ref') return e;
    const here = scopes.length - 1;
    const i = this.info(e);
    if (i.pure && i.type !== 'u8') {
      const home = this.home(i, scopes[here].barrier);
      const scope = scopes[home];
      const bound = scope.bound.get(i.id);
      if (bound) return bound;
      if (home < here || ((scope.counts.get(i.id) ?? 0) > 1 && this.worth(i, scope)))
        return this.bind(e, i.id, i.type, scopes.slice(0, home + 1));
    }
    return withChildren(e, (c) => this.rewrite(c, scopes));
  }

  /** Addresses in a vector loop stay whole, so that a target sees which are contiguous; a single sum costs no more than a register. */
  private worth(i: Info, scope: Scope): boolean {
    return !i.affine || (!scope.vector && i.ops > 1);
  }

  private bind(e: Expr, id: number, type: Definition['type'], scopes: readonly Scope[]): Expr {
    const depth = scopes.length - 1;
    const value = withChildren(e, (c) => this.rewrite(c, scopes));
    while (this.definitions.has(`t${this.counter}`)) this.counter++;
    const name = `t${this.counter}`;
    this.definitions.set(name, { depth, mutable: false, type });
    scopes[depth].out.push({ kind: 'let', name, type, value });
    const out: Expr = { kind: 'ref', name };
    scopes[depth].bound.set(id, out);
    return out;
  }
}
