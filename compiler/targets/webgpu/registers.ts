/**
 * What statements do with registers: which names they read, and whether they set what lies outside of them.
 */
import type { Expr, Kernel, Stmt } from '../../../ir/kernel.js';
import { blocksOf, operandsOf, ownExpressions } from '../../kernels/walk.js';
import type { For } from './grid.js';

/** Registers and loop variables that the statements read, their blocks included, and do not define themselves. */
export function freeNames(body: readonly Stmt[]): Set<string> {
  const found = new Set<string>();
  collectFree(body, new Set(), found);
  return found;
}

function collectFree(body: readonly Stmt[], outside: ReadonlySet<string>, found: Set<string>): void {
  const own = new Set(outside);
  const read = (e: Expr): void => {
    if (e.kind === 'ref' && !own.has(e.name)) found.add(e.name);
    operandsOf(e).forEach(read);
  };
  for (const s of body) {
    ownExpressions(s).forEach(read);
    if (s.kind === 'for') collectFree(s.body, new Set([...own, s.var]), found);
    if (s.kind === 'tileEach') collectFree(s.body, new Set([...own, s.row, s.col, s.element]), found);
    if (s.kind === 'if') for (const block of [s.then, s.else]) collectFree(block, own, found);
    if (s.kind === 'let' || s.kind === 'var') own.add(s.name);
  }
}

/** Whether anything is stored, staged or summed in half precision. */
export function usesHalves({ params, body }: Kernel): boolean {
  const halves = (s: Stmt): boolean => {
    if (s.kind === 'alloc') return s.type === 'f16';
    if (s.kind === 'tileZero') return s.accumulator === 'f16';
    return (s.kind === 'tileMma' && s.operand === 'f16') || blocksOf(s).some((b) => b.some(halves));
  };
  return params.some((p) => p.type === 'f16') || body.some(halves);
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
