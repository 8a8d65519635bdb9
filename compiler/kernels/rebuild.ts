/**
 * Expressions and statements with their parts replaced: what every rewrite of kernel IR walks by.
 */
import type { Expr, Stmt } from '../../ir/kernel.js';

/** The expression with each direct operand replaced. */
export function withChildren(e: Expr, f: (e: Expr) => Expr): Expr {
  switch (e.kind) {
    case 'const':
    case 'ref':
      return e;
    case 'load':
      return { ...e, index: f(e.index) };
    case 'unary':
      return { ...e, a: f(e.a) };
    case 'binary':
      return { ...e, a: f(e.a), b: f(e.b) };
    case 'select':
      return { ...e, cond: f(e.cond), a: f(e.a), b: f(e.b) };
    case 'loadIf':
      return { ...e, cond: f(e.cond), index: f(e.index) };
  }
}

/** The statement with each of its own expressions replaced; nested blocks stay. */
export function mapOwn(s: Stmt, f: (e: Expr) => Expr): Stmt {
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
      return { ...s, depth: f(s.depth), a: { ...s.a, index: f(s.a.index) }, b: { ...s.b, index: f(s.b.index) } };
    case 'tileLoad':
    case 'tileStore':
      return { ...s, index: f(s.index), row: f(s.row) };
    case 'tileEach':
      return { ...s, rowLimit: f(s.rowLimit), colLimit: f(s.colLimit) };
  }
}
