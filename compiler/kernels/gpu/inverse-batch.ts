/**
 * Damped inverses that share dispatches on a GPU, of any widths. Statistics under different guards are one batch: which of them
 * are due stands in a vector that the host writes, and a workgroup whose matrix is not due ends at once. This file names what the
 * kernels read and write, and finds a matrix's own sizes and memory by its number.
 */
import type { Node, Value } from '../../../ir/graph.js';
import { type Expr, i32, type Kernel, type KernelParam, le, lt, type Stmt, select, sub } from '../../../ir/kernel.js';
import { numberOf, opFlops } from '../../../ir/ops/declare.js';
import { ops } from '../../../ir/ops/table.js';
import { concrete, product, storedBytes, storedCount } from '../../../ir/types.js';
import { bindShared } from '../bind.js';
import { when } from '../contraction-tile.js';
import { Elements, memoryType } from '../elements.js';
import { unflatten } from '../indices.js';
import { readFirst } from '../read-first.js';
import type { Region } from '../region.js';
import { blocksOf, operandsOf, ownExpressions } from '../walk.js';

/** The parameter that says of each statistic whether it is due. */
export const DUE = 'due';

/** A statistic: one matrix, or several of one width. */
export interface Statistic {
  readonly width: number;
  readonly matrices: number;
  /** Element of matrix `local` of this statistic at the packed offset `at`. */
  readonly element: (local: Expr, at: Expr) => Expr;
  readonly previous: (local: Expr, at: Expr) => Expr;
  readonly shift: (local: Expr) => Expr;
  /** Memories of the results; undefined where nobody wants them. */
  readonly inverse: string | undefined;
  readonly failures: string | undefined;
}

export class InverseBatch {
  readonly statistics: readonly Statistic[];
  /** Of all statistics. */
  readonly matrices: number;
  readonly retries: number;
  private readonly values: ReadonlyMap<Value, KernelParam>;

  /**
   * @param regions each a damped inverse and what computes its shift
   * @param guarded whether their kernels look up which are due
   */
  constructor(
    readonly regions: readonly Region[],
    private readonly guarded: boolean,
  ) {
    const names = new Map<Value, string>();
    const inputs = new Set(regions.flatMap((r) => r.inputs));
    const outputs = regions.flatMap((r) => r.outputs);
    for (const v of [...inputs, ...outputs]) names.set(v, `p${names.size}`);
    const param = (v: Value): KernelParam => ({
      name: names.get(v)!,
      type: memoryType(v.type.dtype),
      access: inputs.has(v) ? 'read' : 'write',
      length: storedCount(v.type),
    });
    this.values = new Map([...names.keys()].map((v) => [v, param(v)]));
    this.statistics = regions.map((region) => statisticOf(region, names));
    this.matrices = this.statistics.reduce((n, s) => n + s.matrices, 0);
    this.retries = Math.max(...regions.map((r) => numberOf(r.anchor!.attrs, 'retries')));
  }

  /** The value of which a kernel's parameter holds the elements. */
  valueOf(param: string): Value | undefined {
    for (const [v, p] of this.values) if (p.name === param) return v;
    return undefined;
  }

  /** The element of a row of numbers, `sizes[s]` for statistic s, that belongs to the statistic into whose part of the row `at` falls. */
  choose(at: Expr, sizes: readonly number[], values: readonly number[]): Expr {
    let end = sizes.reduce((n, s) => n + s, 0);
    let chosen = i32(values[values.length - 1]);
    for (let s = values.length - 2; s >= 0; s--) {
      end -= sizes[s + 1];
      if (values[s] !== values[s + 1]) chosen = select(lt(at, i32(end)), i32(values[s]), chosen);
    }
    return chosen;
  }

  /** The same where every matrix has one number. */
  chooseBy(matrix: Expr, values: readonly number[]): Expr {
    return this.choose(
      matrix,
      this.statistics.map((s) => s.matrices),
      values,
    );
  }

  /** What the statistic of `matrix` does; it gets the matrix's number among its own. */
  cases(matrix: Expr, body: (statistic: Statistic, local: Expr) => readonly Stmt[]): Stmt[] {
    let first = 0;
    return this.statistics.flatMap((s): readonly Stmt[] => {
      const [lo, hi] = [first, first + s.matrices];
      first = hi;
      const own = body(s, s.matrices === 1 ? i32(0) : sub(matrix, i32(lo)));
      if (own.length === 0 || this.statistics.length === 1) return own;
      const cond: Expr =
        s.matrices === 1
          ? { kind: 'binary', op: 'eq', a: matrix, b: i32(lo) }
          : { kind: 'binary', op: 'and', a: le(i32(lo), matrix), b: lt(matrix, i32(hi)) };
      return [when(cond, own)];
    });
  }

  /** Whether the statistic of `matrix` is due: 1 or 0. */
  due(matrix: Expr): Expr {
    if (!this.guarded) return i32(1);
    return { kind: 'load', memory: DUE, index: this.chooseBy(matrix, [...this.statistics.keys()]) };
  }

  /** Operations of all inversions. */
  get flops(): number {
    const of = (n: Node): number =>
      opFlops(
        ops[n.op],
        n.operands.map((o) => o.type),
        n.attrs,
        n.results.map((r) => r.type),
      );
    return this.regions.reduce((n, r) => n + of(r.anchor!), 0);
  }

  /** A kernel with those parameters that its body names: values, the guards, scratch memory, in this order. */
  kernel(
    name: string,
    body: readonly Stmt[],
    scratch: readonly KernelParam[],
    { workgroup, flops, bytes }: { readonly workgroup: number; readonly flops: number; readonly bytes?: number },
  ): Kernel {
    const { used, written } = memoriesOf(body);
    const due: KernelParam = { name: DUE, type: 'i32', access: 'read', length: this.statistics.length };
    const own = scratch.map((p) => (written.has(p.name) ? p : { ...p, access: 'read' as const }));
    // A region on its own has all of its values as parameters.
    const values = [...this.values].filter(([, p]) => !this.guarded || used.has(p.name));
    const params = [...values.map(([, p]) => p), ...[due, ...own].filter((p) => used.has(p.name))];
    let results = 0;
    return {
      name,
      params,
      body: readFirst(bindShared(body, params), params, (base) => `${base}${results++}`),
      workgroup,
      flops,
      bytes: bytes ?? values.reduce((n, [v]) => n + storedBytes(v.type), 0),
      loc: this.regions[0].anchor!.loc,
    };
  }
}

function statisticOf(region: Region, names: ReadonlyMap<Value, string>): Statistic {
  const anchor = region.anchor!;
  const elements = new Elements(region, names);
  const [x, shift, previous] = anchor.operands;
  const shape = concrete(x.type.shape);
  const batch = shape.slice(0, -2);
  const width = shape[shape.length - 1];
  const written = (v: Value): string | undefined => (region.outputs.includes(v) ? names.get(v) : undefined);
  const packed = (local: Expr, at: Expr): Expr => {
    const offset: Expr = { kind: 'binary', op: 'mul', a: local, b: i32((width * (width + 1)) / 2) };
    return product(batch) === 1 ? at : { kind: 'binary', op: 'add', a: offset, b: at };
  };
  return {
    width,
    matrices: product(batch),
    element: (local, at) => elements.at(x, [packed(local, at)]),
    previous: (local, at) => elements.at(previous, [packed(local, at)]),
    shift: (local) => elements.at(shift, unflatten(local, batch)),
    inverse: written(anchor.results[0]),
    failures: written(anchor.results[1]),
  };
}

/** The memories that statements read or write, and those that they write. */
function memoriesOf(body: readonly Stmt[]): { readonly used: Set<string>; readonly written: Set<string> } {
  const used = new Set<string>();
  const written = new Set<string>();
  const expression = (e: Expr): void => {
    if (e.kind === 'load' || e.kind === 'loadIf') used.add(e.memory);
    operandsOf(e).forEach(expression);
  };
  const statement = (s: Stmt): void => {
    ownExpressions(s).forEach(expression);
    if (s.kind === 'store' || s.kind === 'tileStore') written.add(s.memory);
    if (s.kind === 'tileLoad') used.add(s.memory);
    if (s.kind === 'tileMma') for (const f of [s.a, s.b]) used.add(f.memory);
    for (const b of blocksOf(s)) b.forEach(statement);
  };
  body.forEach(statement);
  for (const m of written) used.add(m);
  return { used, written };
}
