/**
 * The parts of expressions and statements, for passes that look without rewriting.
 */
import type { Expr, Stmt } from '../../ir/kernel.js';

/** The direct operands. */
export function operandsOf(e: Expr): readonly Expr[] {
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

/** Visits the direct operands. */
export function eachOperand(e: Expr, visit: (e: Expr) => void): void {
  switch (e.kind) {
    case 'const':
    case 'ref':
      return;
    case 'load':
      visit(e.index);
      return;
    case 'unary':
      visit(e.a);
      return;
    case 'binary':
      visit(e.a);
      visit(e.b);
      return;
    case 'select':
      visit(e.cond);
      visit(e.a);
      visit(e.b);
      return;
    case 'loadIf':
      visit(e.cond);
      visit(e.index);
      return;
  }
}

/** The statement's own expressions; those of nested blocks are not among them. */
export function ownExpressions(s: Stmt): readonly Expr[] {
  switch (s.kind) {
    case 'for':
      return [s.lo, s.hi];
    case 'let':
    case 'var':
    case 'set':
    case 'accumulate':
      return [s.value];
    case 'store':
      return [s.index, s.value];
    case 'if':
      return [s.cond];
    case 'alloc':
    case 'tileZero':
      return [];
    case 'tileMma':
      return [s.depth, s.a.index, s.b.index];
    case 'tileLoad':
    case 'tileStore':
      return [s.index, s.row];
    case 'tileEach':
      return [s.rowLimit, s.colLimit];
  }
}

/** Visits the statement's own expressions. */
export function eachOwn(s: Stmt, visit: (e: Expr) => void): void {
  switch (s.kind) {
    case 'let':
    case 'var':
    case 'set':
    case 'accumulate':
      visit(s.value);
      return;
    case 'store':
      visit(s.index);
      visit(s.value);
      return;
    case 'for':
      visit(s.lo);
      visit(s.hi);
      return;
    default:
      for (const e of ownExpressions(s)) visit(e);
      return;
  }
}

export function blocksOf(s: Stmt): readonly (readonly Stmt[])[] {
  if (s.kind === 'for' || s.kind === 'tileEach') return [s.body];
  return s.kind === 'if' ? [s.then, s.else] : [];
}

/** The statement with other blocks, in the order of `blocksOf`. */
export function withBlocks(s: Stmt, blocks: readonly (readonly Stmt[])[]): Stmt {
  if (s.kind === 'for' || s.kind === 'tileEach') return { ...s, body: blocks[0] };
  // biome-ignore lint/suspicious/noThenProperty: the statement's own field
  return s.kind === 'if' ? { ...s, then: blocks[0], else: blocks[1] } : s;
}
