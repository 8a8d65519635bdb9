/**
 * Decides whether the body of a vector loop can run as four lanes, and how often its body is worth repeating.
 */
import type { Expr, Stmt } from '../../../ir/kernel.js';
import type { Frame, Scalar } from './frame.js';

export type Accumulation = Extract<Stmt, { kind: 'accumulate' }>['op'];

export interface LanePlan {
  /** Registers from outside of the loop that it accumulates into. */
  readonly accumulated: ReadonlyMap<string, Accumulation>;
  /** Expression and statement nodes. */
  readonly size: number;
  readonly nested: boolean;
}

/**
 * What does not run as lanes: another vector loop or a tile inside, memory of the loop's own, inner bounds that vary,
 * varying shift counts, integer quotients by what is not a positive constant, and mixed accumulation.
 */
class Inspector {
  readonly varying: Set<string>;
  readonly own = new Map<string, Scalar>();
  readonly accumulated = new Map<string, Accumulation>();
  size = 0;
  nested = false;

  constructor(
    private readonly frame: Frame,
    variables: ReadonlyMap<string, Scalar>,
  ) {
    this.varying = new Set(variables.keys());
    for (const [name, type] of variables) this.own.set(name, type);
  }

  /** Whether `e` varies; undefined where it has no lanes. */
  expr(e: Expr): boolean | undefined {
    this.size++;
    switch (e.kind) {
      case 'const':
        return false;
      case 'ref':
        return this.varying.has(e.name);
      case 'load':
        return this.expr(e.index);
      case 'unary':
        return this.expr(e.a);
      case 'select':
        return this.any(e.cond, e.a, e.b);
      case 'loadIf':
        return this.any(e.cond, e.index);
      case 'binary': {
        const a = this.expr(e.a);
        const b = this.expr(e.b);
        if (a === undefined || b === undefined) return undefined;
        if ((e.op === 'shl' || e.op === 'shrU') && b) return undefined;
        const quotient = e.op === 'rem' || (e.op === 'div' && this.frame.typeOf(e.a, this.own) === 'i32');
        if (quotient && (a || b) && !positive(e.b)) return undefined;
        return a || b;
      }
    }
  }

  private any(...parts: readonly Expr[]): boolean | undefined {
    let varies = false;
    for (const p of parts) {
      const v = this.expr(p);
      if (v === undefined) return undefined;
      varies ||= v;
    }
    return varies;
  }

  block(body: readonly Stmt[]): boolean {
    return body.every((s) => this.stmt(s));
  }

  private stmt(s: Stmt): boolean {
    this.size++;
    switch (s.kind) {
      case 'let': {
        const v = this.expr(s.value);
        if (v) this.varying.add(s.name);
        else this.varying.delete(s.name);
        this.own.set(s.name, s.type);
        return v !== undefined;
      }
      case 'var':
        this.varying.add(s.name);
        this.own.set(s.name, s.type);
        return this.expr(s.value) !== undefined;
      case 'set':
        return this.own.has(s.name) && this.expr(s.value) !== undefined;
      case 'accumulate': {
        if (this.expr(s.value) === undefined) return false;
        if (this.own.has(s.name)) return true;
        const known = this.accumulated.get(s.name);
        this.accumulated.set(s.name, s.op);
        return known === undefined || known === s.op;
      }
      case 'store':
        return this.expr(s.index) !== undefined && this.expr(s.value) !== undefined;
      case 'if':
        return this.expr(s.cond) !== undefined && this.block(s.then) && this.block(s.else);
      case 'for':
        this.nested = true;
        this.varying.delete(s.var);
        this.own.set(s.var, 'i32');
        if (s.bind === 'vector') return false;
        return this.expr(s.lo) === false && this.expr(s.hi) === false && this.block(s.body);
      default:
        return false;
    }
  }
}

const positive = (e: Expr): boolean => e.kind === 'const' && e.value > 0;

/**
 * The plan for a body whose `variables` take other values in each lane; undefined: it runs one iteration at a time.
 */
export function planLanes(
  frame: Frame,
  body: readonly Stmt[],
  variables: ReadonlyMap<string, Scalar>,
): LanePlan | undefined {
  const inspector = new Inspector(frame, variables);
  if (!inspector.block(body)) return undefined;
  const { accumulated, size, nested } = inspector;
  return { accumulated, size, nested };
}
