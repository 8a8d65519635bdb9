/**
 * Structural identity of kernel expressions: equal expressions get equal numbers, so that memo tables and
 * common-subexpression binding compare one integer instead of two trees.
 */
import type { BinaryOp, Expr, UnaryOp } from '../../ir/kernel.js';

/** What a key begins with: an op's number behind these. */
const [NAME, INTEGER, LOAD, OPS] = [0, 1, 2, 3];
/** Bits of a number in a key: two of them and what it begins with are exact in a double. */
const BITS = 2 ** 20;

const opNumbers = new Map<UnaryOp | BinaryOp, number>();

function opNumber(op: UnaryOp | BinaryOp): number {
  let n = opNumbers.get(op);
  if (n === undefined) {
    n = OPS + opNumbers.size;
    opNumbers.set(op, n);
  }
  return n;
}

export class Interner {
  private readonly ids = new Map<number | string, number>();
  private readonly known = new Map<Expr, number>();
  private readonly names = new Map<string, number>();

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

  private key(e: Expr): number | string {
    switch (e.kind) {
      case 'const':
        if (e.type === 'i32') return INTEGER * BITS * BITS + (e.value >>> 0);
        return `${e.type}${Object.is(e.value, -0) ? '-0' : e.value}`;
      case 'ref':
        return pair(NAME, this.name(e.name), 0);
      case 'load':
        return pair(LOAD, this.name(e.memory), this.id(e.index));
      case 'unary':
        return pair(opNumber(e.op), this.id(e.a), 0);
      case 'binary':
        return pair(opNumber(e.op), this.id(e.a), this.id(e.b));
      case 'select':
        return `?${this.id(e.cond)},${this.id(e.a)},${this.id(e.b)}`;
      case 'loadIf':
        return `g${e.memory}[${this.id(e.cond)},${this.id(e.index)},${e.otherwise}`;
    }
  }

  private name(name: string): number {
    let n = this.names.get(name);
    if (n === undefined) {
      n = this.names.size;
      this.names.set(name, n);
    }
    return n;
  }
}

function pair(first: number, a: number, b: number): number | string {
  return a < BITS && b < BITS ? (first * BITS + a) * BITS + b : `${first}:${a},${b}`;
}
