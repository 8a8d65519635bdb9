/**
 * What statements do with registers: which names they read, and whether they set what lies outside of them.
 */
import type { Expr, Stmt } from '../../../ir/kernel.js';
import { mapOwn } from '../../kernels/rebuild.js';
import type { For } from './grid.js';

/** Registers and loop variables that the statements read, their blocks included, and do not define themselves. */
export function freeNames(body: readonly Stmt[], outside: ReadonlySet<string> = new Set()): Set<string> {
  const found = new Set<string>();
  const own = new Set(outside);
  const read = (names: Iterable<string>): void => {
    for (const n of names) if (!own.has(n)) found.add(n);
  };
  for (const s of body) {
    mapOwn(s, (e) => {
      read(namesIn(e));
      return e;
    });
    if (s.kind === 'for') read(freeNames(s.body, new Set([...own, s.var])));
    if (s.kind === 'tileEach') read(freeNames(s.body, new Set([...own, s.row, s.col, s.element])));
    if (s.kind === 'if') for (const block of [s.then, s.else]) read(freeNames(block, own));
    if (s.kind === 'let' || s.kind === 'var') own.add(s.name);
  }
  return found;
}

function namesIn(e: Expr): string[] {
  switch (e.kind) {
    case 'const':
      return [];
    case 'ref':
      return [e.name];
    case 'load':
      return namesIn(e.index);
    case 'unary':
      return namesIn(e.a);
    case 'binary':
      return [...namesIn(e.a), ...namesIn(e.b)];
    case 'select':
      return [e.cond, e.a, e.b].flatMap(namesIn);
    case 'loadIf':
      return [e.cond, e.index].flatMap(namesIn);
  }
}

/** Whether a statement sets a register that it does not define. */
export function assigns(s: Stmt, own: ReadonlySet<string> = new Set()): boolean {
  if (s.kind === 'set' || s.kind === 'accumulate') return !own.has(s.name);
  const inside = (body: readonly Stmt[]): boolean => {
    const names = new Set(own);
    for (const t of body) {
      if (t.kind === 'var') names.add(t.name);
      if (assigns(t, names)) return true;
    }
    return false;
  };
  if (s.kind === 'for' || s.kind === 'tileEach') return inside(s.body);
  return s.kind === 'if' && (inside(s.then) || inside(s.else));
}

/** Whether an iteration of the loop leaves something in a register for the next. */
export const carries = (s: For): boolean => assigns(s) || usesOuterTile(s.body);

function usesOuterTile(body: readonly Stmt[], own: ReadonlySet<string> = new Set()): boolean {
  const names = new Set(own);
  return body.some((s) => {
    if (s.kind === 'tileZero') names.add(s.tile);
    else if ('tile' in s && (s.kind === 'tileMma' || s.kind === 'tileLoad') && !names.has(s.tile)) return true;
    if (s.kind === 'for') return usesOuterTile(s.body, names);
    return s.kind === 'if' && (usesOuterTile(s.then, names) || usesOuterTile(s.else, names));
  });
}
