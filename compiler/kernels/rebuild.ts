/**
 * Expressions and statements with their parts replaced: what every rewrite of kernel IR walks by. What has the same parts
 * afterwards is the same object.
 */
import type { Expr, Stmt } from '../../ir/kernel.js';

type Rewrite = (e: Expr) => Expr;

/** The expression with each direct operand replaced. */
export function withChildren(e: Expr, f: Rewrite): Expr {
  switch (e.kind) {
    case 'const':
    case 'ref':
      return e;
    case 'load': {
      const index = f(e.index);
      return index === e.index ? e : { kind: 'load', memory: e.memory, index };
    }
    case 'unary': {
      const a = f(e.a);
      return a === e.a ? e : { kind: 'unary', op: e.op, a };
    }
    case 'binary': {
      const a = f(e.a);
      const b = f(e.b);
      return a === e.a && b === e.b ? e : { kind: 'binary', op: e.op, a, b };
    }
    case 'select': {
      const cond = f(e.cond);
      const a = f(e.a);
      const b = f(e.b);
      return cond === e.cond && a === e.a && b === e.b ? e : { kind: 'select', cond, a, b };
    }
    case 'loadIf': {
      const cond = f(e.cond);
      const index = f(e.index);
      return cond === e.cond && index === e.index ? e : { ...e, cond, index };
    }
  }
}

type Body = readonly Stmt[];
const asItIs = (body: Body): Body => body;

/** The statement with each of its own expressions replaced, then each of its blocks. */
export function withParts(s: Stmt, f: Rewrite, block: (body: Body) => Body): Stmt {
  switch (s.kind) {
    case 'for': {
      const lo = f(s.lo);
      const hi = f(s.hi);
      const body = block(s.body);
      if (lo === s.lo && hi === s.hi && body === s.body) return s;
      return { kind: 'for', var: s.var, lo, hi, step: s.step, bind: s.bind, body };
    }
    case 'let':
    case 'var': {
      const value = f(s.value);
      return value === s.value ? s : { kind: s.kind, name: s.name, type: s.type, value };
    }
    case 'set':
    case 'accumulate': {
      const value = f(s.value);
      return value === s.value ? s : { ...s, value };
    }
    case 'store': {
      const index = f(s.index);
      const value = f(s.value);
      return index === s.index && value === s.value ? s : { kind: 'store', memory: s.memory, index, value };
    }
    case 'if': {
      const cond = f(s.cond);
      const yes = block(s.then);
      const no = block(s.else);
      // biome-ignore lint/suspicious/noThenProperty: the statement's own field
      return cond === s.cond && yes === s.then && no === s.else ? s : { kind: 'if', cond, then: yes, else: no };
    }
    case 'alloc':
    case 'tileZero':
      return s;
    case 'tileMma': {
      const depth = f(s.depth);
      const a = f(s.a.index);
      const b = f(s.b.index);
      if (depth === s.depth && a === s.a.index && b === s.b.index) return s;
      return { ...s, depth, a: { ...s.a, index: a }, b: { ...s.b, index: b } };
    }
    case 'tileLoad':
    case 'tileStore': {
      const index = f(s.index);
      const row = f(s.row);
      return index === s.index && row === s.row ? s : { ...s, index, row };
    }
    case 'tileEach': {
      const rowLimit = f(s.rowLimit);
      const colLimit = f(s.colLimit);
      const body = block(s.body);
      if (rowLimit === s.rowLimit && colLimit === s.colLimit && body === s.body) return s;
      return { ...s, rowLimit, colLimit, body };
    }
  }
}

/** The statement with each of its own expressions replaced; nested blocks stay. */
export function mapOwn(s: Stmt, f: Rewrite): Stmt {
  return withParts(s, f, asItIs);
}

/** The block with each statement replaced. */
export function mapBlock(body: Body, f: (s: Stmt) => Stmt): Body {
  let out: Stmt[] | undefined;
  for (let i = 0; i < body.length; i++) {
    const s = f(body[i]);
    if (!out && s !== body[i]) out = body.slice(0, i);
    out?.push(s);
  }
  return out ?? body;
}
