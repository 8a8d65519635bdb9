/**
 * Which names differ between the threads of a workgroup, in two senses: what WGSL's uniformity analysis takes to differ, so that
 * no barrier may depend on it; and what is really a thread's own, so that threads cannot share out what reads it.
 */
import type { Expr, Kernel } from '../../../ir/kernel.js';
import { freeNames } from './registers.js';

export class Uniformity {
  private readonly varying = new Set<string>();
  private readonly own = new Set<string>();

  constructor(private readonly kernel: Kernel) {}

  /** Whether WGSL takes the value for different in each thread: also all that memory holds which can be written. */
  differs(e: Expr): boolean {
    switch (e.kind) {
      case 'const':
        return false;
      case 'ref':
        return this.varying.has(e.name);
      case 'load':
        return this.changes(e.memory) || this.differs(e.index);
      case 'loadIf':
        return this.changes(e.memory) || this.differs(e.cond) || this.differs(e.index);
      case 'unary':
        return this.differs(e.a);
      case 'binary':
        return this.differs(e.a) || this.differs(e.b);
      case 'select':
        return this.differs(e.cond) || this.differs(e.a) || this.differs(e.b);
    }
  }

  /** Whether the value is read from names that are each thread's own. */
  isOwn(value: Expr): boolean {
    return this.owns(freeNames([{ kind: 'set', name: '', value }]));
  }

  owns(names: Iterable<string>): boolean {
    for (const n of names) if (this.own.has(n)) return true;
    return false;
  }

  /** The name has another value in each thread. */
  vary(name: string): void {
    this.varying.add(name);
    this.own.add(name);
  }

  /** The name has one value. */
  unite(name: string): void {
    this.varying.delete(name);
    this.own.delete(name);
  }

  /** A register defined with `value`, or set to it; one that is set later is never uniform to WGSL. */
  define(name: string, value: Expr, mutable: boolean): void {
    if (mutable || this.differs(value)) this.varying.add(name);
    else this.varying.delete(name);
    if (this.isOwn(value)) this.own.add(name);
    else this.own.delete(name);
  }

  /** The register is set to `value` besides. */
  set(name: string, value: Expr): void {
    if (this.isOwn(value)) this.own.add(name);
  }

  private changes(memory: string): boolean {
    return this.kernel.params.every((p) => p.name !== memory || p.access !== 'read');
  }
}
