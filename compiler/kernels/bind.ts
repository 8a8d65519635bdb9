/**
 * Last step of lowering: statements whose expressions share structure in, the same statements with `let`s out. An
 * expression used twice in a scope is computed once; one that a loop does not change is computed before the loop.
 * Loads of read-only parameters count as pure, but never leave a block that might not run.
 */
import type { Expr, KernelParam, KernelType, Stmt } from '../../ir/kernel.js';
import { Interner } from './intern.js';

type RegisterType = 'f32' | 'i32' | 'bool';

/** A block of statements with the names that are defined in it. Depth 0 is the kernel's own body. */
interface Scope {
  readonly depth: number;
  readonly out: Stmt[];
  readonly bound: Map<number, Expr>;
  /** How often each pure expression of exactly this depth is wanted in this block, loops inside included. */
  readonly counts: Map<number, number>;
  /** Smallest depth that a load made in this block may move to. */
  readonly barrier: number;
  readonly vector?: string;
}

interface Info {
  readonly id: number;
  /** Depth of the innermost scope that defines a name in it. */
  readonly level: number;
  readonly pure: boolean;
  readonly loads: boolean;
  readonly type: RegisterType | 'u8';
  /** i32 sums and products only: free in an address. */
  readonly affine: boolean;
  readonly ops: number;
}

const UNKNOWN = Number.POSITIVE_INFINITY;

const registerType = (t: KernelType): RegisterType | 'u8' => (t === 'f16' ? 'f32' : t);

function children(e: Expr): readonly Expr[] {
  switch (e.kind) {
    case 'const':
    case 'ref':
      return [];
    case 'load':
      return [e.index];
    case 'unary':
      return [e.a];
    case 'binary':
      return [e.a, e.b];
    case 'select':
      return [e.cond, e.a, e.b];
    case 'loadIf':
      return [e.cond, e.index];
  }
}

function withChildren(e: Expr, c: readonly Expr[]): Expr {
  switch (e.kind) {
    case 'const':
    case 'ref':
      return e;
    case 'load':
      return c[0] === e.index ? e : { ...e, index: c[0] };
    case 'unary':
      return c[0] === e.a ? e : { ...e, a: c[0] };
    case 'binary':
      return c[0] === e.a && c[1] === e.b ? e : { ...e, a: c[0], b: c[1] };
    case 'select':
      return { ...e, cond: c[0], a: c[1], b: c[2] };
    case 'loadIf':
      return { ...e, cond: c[0], index: c[1] };
  }
}

/** The statement with each of its own expressions mapped; nested blocks are left alone. */
function mapOwn(s: Stmt, f: (e: Expr) => Expr): Stmt {
  switch (s.kind) {
    case 'for':
      return { ...s, lo: f(s.lo), hi: f(s.hi) };
    case 'let':
    case 'var':
    case 'set':
    case 'accumulate':
      return { ...s, value: f(s.value) };
    case 'store':
      return { ...s, index: f(s.index), value: f(s.value) };
    case 'if':
      return { ...s, cond: f(s.cond) };
    case 'alloc':
    case 'tileZero':
      return s;
    case 'tileMma':
      return {
        ...s,
        depth: f(s.depth),
        a: { ...s.a, index: f(s.a.index) },
        b: { ...s.b, index: f(s.b.index) },
      };
    case 'tileLoad':
    case 'tileStore':
      return { ...s, index: f(s.index), row: f(s.row) };
    case 'tileEach':
      return { ...s, rowLimit: f(s.rowLimit), colLimit: f(s.colLimit) };
  }
}

const blocksOf = (s: Stmt): readonly (readonly Stmt[])[] =>
  s.kind === 'for' || s.kind === 'tileEach' ? [s.body] : s.kind === 'if' ? [s.then, s.else] : [];

/** A loop with constant bounds, or one that ends at a `min` (a last, shorter block), runs at least once. */
function surelyRuns(s: Stmt & { kind: 'for' }): boolean {
  if (s.lo.kind === 'const' && s.hi.kind === 'const') return s.lo.value < s.hi.value;
  return s.hi.kind === 'binary' && s.hi.op === 'min';
}

export function bindShared(body: readonly Stmt[], params: readonly KernelParam[]): Stmt[] {
  return new Binder(params).block(body, [], 0, undefined);
}

class Binder {
  private readonly interner = new Interner();
  private infos = new Map<number, Info>();
  private readonly names = new Map<string, { level: number; mutable: boolean; type: RegisterType }>();
  private readonly memories = new Map<string, { type: RegisterType | 'u8'; pure: boolean }>();
  private readonly used = new Set<string>();
  private counter = 0;

  constructor(params: readonly KernelParam[]) {
    for (const p of params) this.memories.set(p.name, { type: registerType(p.type), pure: p.access === 'read' });
  }

  private define(name: string, level: number, mutable: boolean, type: RegisterType): void {
    this.used.add(name);
    this.names.set(name, { level, mutable, type });
  }

  /** Forgets what was derived from names: now some are defined that were not, or mean another thing than in another block. */
  private forget(): void {
    this.infos = new Map();
  }

  private info(e: Expr): Info {
    const id = this.interner.id(e);
    const known = this.infos.get(id);
    if (known) return known;
    const parts = children(e).map((c) => this.info(c));
    let level = 0;
    let pure = true;
    let loads = false;
    let ops = e.kind === 'const' || e.kind === 'ref' ? 0 : 1;
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
        const def = this.names.get(e.name);
        level = def?.level ?? UNKNOWN;
        pure = !def?.mutable;
        type = def?.type ?? 'i32';
        affine = type === 'i32';
        break;
      }
      case 'load':
      case 'loadIf': {
        const memory = this.memories.get(e.memory);
        pure &&= memory?.pure ?? false;
        type = memory?.type ?? 'f32';
        loads = true;
        break;
      }
      case 'unary':
        type =
          e.op === 'not'
            ? 'bool'
            : e.op === 'toI32' || e.op === 'bitsToI32'
              ? 'i32'
              : /F32$/.test(e.op)
                ? 'f32'
                : parts[0].type;
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

  /** Where the expression would best be computed, seen from a block of this barrier. */
  private home(i: Info, barrier: number): number {
    return i.loads ? Math.max(i.level, barrier) : i.level;
  }

  block(body: readonly Stmt[], outer: readonly Scope[], barrier: number, vector: string | undefined): Stmt[] {
    const scope: Scope = {
      depth: outer.length,
      out: [],
      bound: new Map(),
      counts: new Map(),
      barrier,
      vector,
    };
    for (const s of body) {
      if (s.kind === 'alloc') this.memories.set(s.name, { type: registerType(s.type), pure: false });
      if (s.kind === 'let' || s.kind === 'var') this.define(s.name, scope.depth, s.kind === 'var', s.type);
    }
    this.forget();
    this.count(body, scope, scope.depth, barrier, new Set());
    const scopes = [...outer, scope];
    for (const s of body) this.statement(s, scopes);
    return scope.out;
  }

  /** Counts the wishes for expressions whose home is `scope`, in `body` and the blocks inside it. */
  private count(body: readonly Stmt[], scope: Scope, depth: number, barrier: number, deeper: Set<number>): void {
    const visit = (e: Expr): void => {
      const i = this.info(e);
      const home = i.pure ? this.home(i, barrier) : UNKNOWN;
      if (home < scope.depth) return;
      if (home === scope.depth) {
        const n = (scope.counts.get(i.id) ?? 0) + 1;
        scope.counts.set(i.id, n);
        if (n > 1) return;
      } else {
        if (deeper.has(i.id)) return;
        deeper.add(i.id);
      }
      for (const c of children(e)) visit(c);
    };
    for (const s of body) {
      mapOwn(s, (e) => {
        visit(e);
        return e;
      });
      const inner = this.barrierInside(s, depth, barrier);
      for (const b of blocksOf(s)) this.count(b, scope, depth + 1, inner, deeper);
    }
  }

  private barrierInside(s: Stmt, depth: number, barrier: number): number {
    return s.kind === 'if' || s.kind === 'tileEach' || (s.kind === 'for' && !surelyRuns(s)) ? depth + 1 : barrier;
  }

  private statement(s: Stmt, scopes: readonly Scope[]): void {
    const scope = scopes[scopes.length - 1];
    const own = mapOwn(s, (e) => this.rewrite(e, scopes));
    const barrier = this.barrierInside(s, scope.depth, scope.barrier);
    const depth = scopes.length;
    switch (own.kind) {
      case 'for': {
        this.define(own.var, depth, false, 'i32');
        const vector = own.bind === 'vector' ? own.var : scope.vector;
        scope.out.push({ ...own, body: this.block(own.body, scopes, barrier, vector) });
        this.forget();
        return;
      }
      case 'tileEach': {
        this.define(own.row, depth, false, 'i32');
        this.define(own.col, depth, false, 'i32');
        this.define(own.element, depth, false, 'f32');
        scope.out.push({ ...own, body: this.block(own.body, scopes, barrier, own.col) });
        return;
      }
      case 'if':
        scope.out.push({
          ...own,
          // biome-ignore lint/suspicious/noThenProperty: the statement's own field
          then: this.block(own.then, scopes, barrier, scope.vector),
          else: this.block(own.else, scopes, barrier, scope.vector),
        });
        return;
      default:
        scope.out.push(own);
    }
  }

  private rewrite(e: Expr, scopes: readonly Scope[]): Expr {
    if (e.kind === 'const' || e.kind === 'ref') return e;
    const here = scopes.length - 1;
    const i = this.info(e);
    if (i.pure && i.level <= here && i.type !== 'u8') {
      const home = this.home(i, scopes[here].barrier);
      const scope = scopes[home];
      const bound = scope.bound.get(i.id);
      if (bound) return bound;
      if (home < here || ((scope.counts.get(i.id) ?? 0) > 1 && this.worth(i, scope)))
        return this.bind(e, i, scopes.slice(0, home + 1));
    }
    return withChildren(
      e,
      children(e).map((c) => this.rewrite(c, scopes)),
    );
  }

  /** Addresses in a vector loop stay whole, so that a target sees which are contiguous; a single sum costs no more than a register. */
  private worth(i: Info, scope: Scope): boolean {
    return !i.affine || (scope.vector === undefined && i.ops > 1);
  }

  private bind(e: Expr, i: Info, scopes: readonly Scope[]): Expr {
    if (i.type === 'u8') throw new Error('registers hold bytes as i32');
    const scope = scopes[scopes.length - 1];
    const value = withChildren(
      e,
      children(e).map((c) => this.rewrite(c, scopes)),
    );
    const name = this.fresh();
    const out: Expr = { kind: 'ref', name };
    this.define(name, scope.depth, false, i.type);
    scope.out.push({ kind: 'let', name, type: i.type, value });
    scope.bound.set(i.id, out);
    return out;
  }

  private fresh(): string {
    while (this.used.has(`t${this.counter}`)) this.counter++;
    return `t${this.counter++}`;
  }
}
