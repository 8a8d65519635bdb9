/**
 * Gives every register and loop variable of a kernel one depth: a name that is defined at several depths (in loops that
 * follow each other) is renamed where it comes back. Then how deep an expression belongs follows from its names alone.
 */
import type { Expr, Stmt } from '../../ir/kernel.js';
import { mapBlock, mapOwn, withChildren, withParts } from './rebuild.js';

type RegisterType = 'f32' | 'i32' | 'bool';

export interface Definition {
  /** Number of blocks around the one that it is visible in; 0: the kernel's own body. */
  readonly depth: number;
  readonly mutable: boolean;
  readonly type: RegisterType;
}

type Renames = ReadonlyMap<string, string>;

/** The body with settled names, and the definition of each. */
export function settleNames(body: readonly Stmt[]): {
  body: readonly Stmt[];
  definitions: Map<string, Definition>;
} {
  const settler = new Settler();
  return { body: settler.block(body, 0, new Map()), definitions: settler.definitions };
}

const asItIs = (e: Expr): Expr => e;

class Settler {
  readonly definitions = new Map<string, Definition>();
  private counter = 0;
  /** What expressions became under the renames that were applied last. */
  private renamed = new Map<Expr, Expr>();
  private applied: Renames | undefined;

  block(body: readonly Stmt[], depth: number, outer: Renames): readonly Stmt[] {
    let renames = outer;
    return mapBlock(body, (original) => {
      const s = this.rename(original, renames);
      switch (s.kind) {
        case 'let':
        case 'var': {
          const name = this.define(s.name, depth, s.type, s.kind === 'var');
          renames = knowing(renames, s.name, name);
          return name === s.name ? s : { ...s, name };
        }
        case 'for': {
          const name = this.define(s.var, depth + 1, 'i32');
          const inner = this.block(s.body, depth + 1, knowing(renames, s.var, name));
          return name === s.var && inner === s.body ? s : { ...s, var: name, body: inner };
        }
        case 'tileEach': {
          const row = this.define(s.row, depth + 1, 'i32');
          const col = this.define(s.col, depth + 1, 'i32');
          const element = this.define(s.element, depth + 1, 'f32');
          const within = knowing(knowing(knowing(renames, s.row, row), s.col, col), s.element, element);
          const inner = this.block(s.body, depth + 1, within);
          if (row === s.row && col === s.col && element === s.element && inner === s.body) return s;
          return { ...s, row, col, element, body: inner };
        }
        case 'if':
          return withParts(s, asItIs, (b) => this.block(b, depth + 1, renames));
        default:
          return s;
      }
    });
  }

  /** Records a definition; returns the name that it gets. */
  private define(name: string, depth: number, type: RegisterType, mutable = false): string {
    const known = this.definitions.get(name);
    let chosen = name;
    if (known && (known.depth !== depth || known.mutable || mutable)) {
      do chosen = `${name}_${++this.counter}`;
      while (this.definitions.has(chosen));
    }
    this.definitions.set(chosen, { depth, mutable, type });
    return chosen;
  }

  /** The statement with the names that it reads and sets; those that it defines stay. */
  private rename(s: Stmt, renames: Renames): Stmt {
    if (renames.size === 0) return s;
    if (this.applied !== renames) {
      this.applied = renames;
      this.renamed = new Map();
    }
    const own = mapOwn(s, this.inExpression);
    if (own.kind !== 'set' && own.kind !== 'accumulate') return own;
    const name = renames.get(own.name) ?? own.name;
    return name === own.name ? own : { ...own, name };
  }

  private readonly inExpression = (e: Expr): Expr => {
    if (e.kind === 'const') return e;
    if (e.kind === 'ref') {
      const name = this.applied!.get(e.name) ?? e.name;
      return name === e.name ? e : { kind: 'ref', name };
    }
    let out = this.renamed.get(e);
    if (!out) {
      out = withChildren(e, this.inExpression);
      this.renamed.set(e, out);
    }
    return out;
  };
}

/** Renames with one more, where it says anything. */
function knowing(renames: Renames, name: string, chosen: string): Renames {
  return chosen === name && !renames.has(name) ? renames : new Map(renames).set(name, chosen);
}
