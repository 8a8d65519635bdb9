/**
 * Statements in, the same out, in an order that lets results overwrite operands: what stores of results in a row read is read
 * before the first of them. An output may be written straight over the state that the kernel reads (program/storage.ts), and
 * an expression that two outputs share would otherwise read one of them twice, before and after it is written.
 */
import { type Expr, type KernelParam, ref, type Stmt } from '../../ir/kernel.js';
import { mapBlock, withParts } from './rebuild.js';
import { operandsOf } from './walk.js';

/** @param fresh gives names that the kernel does not use */
export function readFirst(
  body: readonly Stmt[],
  params: readonly KernelParam[],
  fresh: (name: string) => string,
): readonly Stmt[] {
  const read = new Map(params.filter((p) => p.access !== 'write').map((p) => [p.name, p]));
  const written = new Map(params.filter((p) => p.access === 'write').map((p) => [p.name, p]));
  /** Whether the expression reads what may lie where a memory of one of these lengths is: only what is as large can. */
  const reads = (e: Expr, lengths: ReadonlySet<number>): boolean => {
    const from = e.kind === 'load' || e.kind === 'loadIf' ? read.get(e.memory) : undefined;
    if (from && lengths.has(from.length)) return true;
    return operandsOf(e).some((o) => reads(o, lengths));
  };
  const asItIs = (e: Expr): Expr => e;
  const inside = (s: Stmt): Stmt =>
    s.kind === 'for' || s.kind === 'if' || s.kind === 'tileEach' ? withParts(s, asItIs, block) : s;

  const block = (statements: readonly Stmt[]): readonly Stmt[] => {
    if (statements.every((s) => s.kind !== 'store')) return mapBlock(statements, inside);
    const out: Stmt[] = [];
    const stores: (Stmt & { kind: 'store' })[] = [];
    /** Of the memories that these stores write. */
    const lengths = new Set<number>();
    for (const s of statements) {
      if (s.kind === 'store' && written.has(s.memory)) {
        const { type, length } = written.get(s.memory)!;
        if (type === 'f32' && reads(s.value, lengths)) {
          const name = fresh('result');
          out.push({ kind: 'let', name, type: 'f32', value: s.value });
          stores.push({ ...s, value: ref(name) });
        } else stores.push(s);
        lengths.add(length);
      } else if (s.kind === 'let') out.push(s);
      else {
        if (stores.length > 0) out.push(...stores.splice(0));
        lengths.clear();
        out.push(inside(s));
      }
    }
    out.push(...stores);
    return out;
  };
  return block(body);
}
