/**
 * Barriers from hazards. A workgroup's threads touch shared memory in several ways; two accesses of which one writes need
 * a barrier between them unless the same thread made both. What was touched since the last barrier is pending.
 */
import type { Expr, Stmt } from '../../../ir/kernel.js';
import { mapOwn } from '../../kernels/rebuild.js';

/**
 * Which threads access: `all` of them alike, one of them (`single`), or each its share: of a cooperative loop, where a
 * share is a matter of the loop (`shared`), or of the lane loop with this number, where a thread keeps to its own.
 */
export type By = 'all' | 'single' | 'shared' | number;

export interface Effects {
  readonly reads: ReadonlySet<string>;
  readonly writes: ReadonlySet<string>;
}

/** What a statement, its blocks included, reads and writes, of the memories that `tracked` names. */
export function effectsOf(body: readonly Stmt[], tracked: (memory: string) => boolean): Effects {
  const reads = new Set<string>();
  const writes = new Set<string>();
  const read = (memory: string): void => {
    if (tracked(memory)) reads.add(memory);
  };
  const visitExpr = (e: Expr): void => {
    switch (e.kind) {
      case 'load':
        read(e.memory);
        visitExpr(e.index);
        return;
      case 'loadIf':
        read(e.memory);
        visitExpr(e.cond);
        visitExpr(e.index);
        return;
      case 'unary':
        visitExpr(e.a);
        return;
      case 'binary':
        visitExpr(e.a);
        visitExpr(e.b);
        return;
      case 'select':
        visitExpr(e.cond);
        visitExpr(e.a);
        visitExpr(e.b);
        return;
    }
  };
  const visit = (s: Stmt): void => {
    mapOwn(s, (e) => {
      visitExpr(e);
      return e;
    });
    if ((s.kind === 'store' || s.kind === 'tileStore') && tracked(s.memory)) writes.add(s.memory);
    if (s.kind === 'tileLoad') read(s.memory);
    if (s.kind === 'tileMma') {
      read(s.a.memory);
      read(s.b.memory);
    }
    if (s.kind === 'for' || s.kind === 'tileEach') s.body.forEach(visit);
    if (s.kind === 'if') [...s.then, ...s.else].forEach(visit);
  };
  body.forEach(visit);
  return { reads, writes };
}

const sameThread = (a: By, b: By): boolean => a === b && (a === 'single' || typeof a === 'number');

export class Pending {
  /** Memory to who read it and who wrote it since the last barrier. */
  private readonly accesses = new Map<string, { readonly reads: Set<By>; readonly writes: Set<By> }>();

  copy(): Pending {
    const out = new Pending();
    out.merge(this);
    return out;
  }

  merge(other: Pending): void {
    for (const [memory, { reads, writes }] of other.accesses) {
      for (const by of reads) this.of(memory).reads.add(by);
      for (const by of writes) this.of(memory).writes.add(by);
    }
  }

  /** Forgets accesses to the memories that a barrier has ordered. */
  clear(ordered: (memory: string) => boolean): void {
    for (const m of [...this.accesses.keys()]) if (ordered(m)) this.accesses.delete(m);
  }

  add(effects: Effects, by: By): void {
    for (const m of effects.reads) this.of(m).reads.add(by);
    for (const m of effects.writes) this.of(m).writes.add(by);
  }

  /** The memories over which these accesses would race with pending ones. */
  conflicts(effects: Effects, by: By): string[] {
    const races = (others: ReadonlySet<By>): boolean => [...others].some((o) => !sameThread(o, by));
    return [...new Set([...effects.reads, ...effects.writes])].filter((m) => {
      const known = this.accesses.get(m);
      if (!known) return false;
      return races(known.writes) || (effects.writes.has(m) && races(known.reads));
    });
  }

  private of(memory: string): { readonly reads: Set<By>; readonly writes: Set<By> } {
    let found = this.accesses.get(memory);
    if (!found) {
      found = { reads: new Set(), writes: new Set() };
      this.accesses.set(memory, found);
    }
    return found;
  }
}
