/**
 * Gives every register and loop variable of a kernel one depth: a name that is defined at several depths (in loops that
 * follow each other) is renamed where it comes back. Then how deep an expression belongs follows from its names alone.
 */
import type { Expr, Stmt } from '../../ir/kernel.js';
import { mapOwn, withChildren } from './rebuild.js';
import { blocksOf, withBlocks } from './walk.js';

type RegisterType = 'f32' | 'i32' | 'bool';

export interface Definition {
  /** Number of blocks around the one that it is visible in; 0: the kernel's own body. */
  readonly depth: number;
  readonly mutable: boolean;
  readonly type: RegisterType;
}

interface Defined {
  readonly name: string;
  readonly definition: Definition;
}

/** What the statement defines: for the statements after it, and inside its block. */
function definedBy(s: Stmt, depth: number): { after: readonly Defined[]; inside: readonly Defined[] } {
  const at = (name: string, type: RegisterType, d: number, mutable = false): Defined => ({
    name,
    definition: { depth: d, mutable, type },
  });
  switch (s.kind) {
    case 'let':
    case 'var':
      return { after: [at(s.name, s.type, depth, s.kind === 'var')], inside: [] };
    case 'for':
      return { after: [], inside: [at(s.var, 'i32', depth + 1)] };
    case 'tileEach':
      return {
        after: [],
        inside: [at(s.row, 'i32', depth + 1), at(s.col, 'i32', depth + 1), at(s.element, 'f32', depth + 1)],
      };
    default:
      return { after: [], inside: [] };
  }
}

type Renames = ReadonlyMap<string, string>;

function renamed(s: Stmt, renames: Renames): Stmt {
  const memo = new Map<Expr, Expr>();
  const rename = (e: Expr): Expr => {
    let out = memo.get(e);
    if (!out) {
      out = e.kind === 'ref' ? { ...e, name: renames.get(e.name) ?? e.name } : withChildren(e, rename);
      memo.set(e, out);
    }
    return out;
  };
  const own = mapOwn(s, rename);
  return own.kind === 'set' || own.kind === 'accumulate' ? { ...own, name: renames.get(own.name) ?? own.name } : own;
}

function withNames(s: Stmt, renames: Renames): Stmt {
  const to = (name: string): string => renames.get(name) ?? name;
  switch (s.kind) {
    case 'let':
    case 'var':
      return { ...s, name: to(s.name) };
    case 'for':
      return { ...s, var: to(s.var) };
    case 'tileEach':
      return { ...s, row: to(s.row), col: to(s.col), element: to(s.element) };
    default:
      return s;
  }
}

/** The body with settled names, and the definition of each. */
export function settleNames(body: readonly Stmt[]): {
  body: readonly Stmt[];
  definitions: Map<string, Definition>;
} {
  const definitions = new Map<string, Definition>();
  let counter = 0;

  /** Records what is defined; adds to `renames` what must be called otherwise. */
  const define = (all: readonly Defined[], renames: Renames): Renames => {
    let out = renames;
    for (const { name, definition } of all) {
      const known = definitions.get(name);
      let chosen = name;
      if (known && (known.depth !== definition.depth || known.mutable || definition.mutable)) {
        do chosen = `${name}_${++counter}`;
        while (definitions.has(chosen));
      }
      definitions.set(chosen, definition);
      if (chosen !== name || out.has(name)) out = new Map(out).set(name, chosen);
    }
    return out;
  };

  const block = (stmts: readonly Stmt[], depth: number, outer: Renames): readonly Stmt[] => {
    let renames = outer;
    return stmts.map((original) => {
      let s = renames.size > 0 ? renamed(original, renames) : original;
      const { after, inside } = definedBy(original, depth);
      const within = define(inside, renames);
      renames = define(after, renames);
      if (within.size > 0 || renames.size > 0) s = withNames(s, inside.length > 0 ? within : renames);
      const blocks = blocksOf(s);
      if (blocks.length === 0) return s;
      return withBlocks(
        s,
        blocks.map((b) => block(b, depth + 1, within)),
      );
    });
  };
  return { body: block(body, 0, new Map()), definitions };
}
