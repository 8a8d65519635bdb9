/**
 * Structural identity of kernel expressions: equal expressions get equal numbers, so that memo tables and
 * common-subexpression binding compare one integer instead of two trees.
 */
import type { Expr } from '../../ir/kernel.js';

export class Interner {
  private readonly ids = new Map<string, number>();
  private readonly known = new Map<Expr, number>();

  /** The number of `e`'s structure. Children are numbered first, so the cost is linear in new nodes. */
  id(e: Expr): number {
    const seen = this.known.get(e);
    if (seen !== undefined) return seen;
    const key = this.key(e);
    let id = this.ids.get(key);
    if (id === undefined) {
      id = this.ids.size;
      this.ids.set(key, id);
    }
    this.known.set(e, id);
    return id;
  }

  private key(e: Expr): string {
    switch (e.kind) {
      case 'const':
        return `c${e.type}${Object.is(e.value, -0) ? '-0' : e.value}`;
      case 'ref':
        return `r${e.name}`;
      case 'load':
        return `l${e.memory}[${this.id(e.index)}`;
      case 'unary':
        return `${e.op}(${this.id(e.a)}`;
      case 'binary':
        return `${e.op}(${this.id(e.a)},${this.id(e.b)}`;
      case 'select':
        return `?${this.id(e.cond)},${this.id(e.a)},${this.id(e.b)}`;
      case 'loadIf':
        return `g${e.memory}[${this.id(e.cond)},${this.id(e.index)},${e.otherwise}`;
    }
  }
}
