/**
 * Affine view of index arithmetic: sums of loop variables times constants. From it follows which neighbouring dimensions
 * of a loop nest every access walks through as one, so that the nest gets fewer and longer loops.
 */
import { add, type Expr, i32, mul, ref } from '../../ir/kernel.js';
import { withChildren } from './rebuild.js';
import { operandsOf } from './walk.js';

/** One dimension of an iteration space. Only neighbours of one role are joined. */
export interface Dimension {
  readonly name: string;
  readonly extent: number;
  readonly role: 'kept' | 'reduced';
}

interface Form {
  readonly constant: number;
  /** A factor for each dimension. */
  readonly factors: readonly number[];
  /** Whether it mentions a dimension at all. */
  readonly varies: boolean;
}

function combine(a: Form, b: Form, sign: number): Form {
  const constant = a.constant + sign * b.constant;
  if (!b.varies) return { constant, factors: a.factors, varies: a.varies };
  const factors = a.factors.map((c, d) => c + sign * b.factors[d]);
  return { constant, factors, varies: true };
}

function scale(a: Form, by: number): Form {
  return { constant: a.constant * by, factors: a.factors.map((c) => c * by), varies: a.varies };
}

class Reader {
  private readonly forms = new Map<Expr, Form | undefined>();
  private readonly none: readonly number[];

  /** @param names of the dimensions */
  constructor(private readonly names: readonly string[]) {
    this.none = names.map(() => 0);
  }

  form(e: Expr): Form | undefined {
    const known = this.forms.get(e);
    if (known || this.forms.has(e)) return known;
    const f = this.compute(e);
    this.forms.set(e, f);
    return f;
  }

  private compute(e: Expr): Form | undefined {
    if (e.kind === 'const')
      return e.type === 'i32' ? { constant: e.value, factors: this.none, varies: false } : undefined;
    if (e.kind === 'ref') {
      const at = this.names.indexOf(e.name);
      return at < 0 ? undefined : { constant: 0, factors: this.none.map((_, d) => Number(d === at)), varies: true };
    }
    if (e.kind !== 'binary' || (e.op !== 'add' && e.op !== 'sub' && e.op !== 'mul')) return undefined;
    const a = this.form(e.a);
    const b = this.form(e.b);
    if (!a || !b) return undefined;
    if (e.op !== 'mul') return combine(a, b, e.op === 'add' ? 1 : -1);
    if (!a.varies) return scale(b, a.constant);
    return b.varies ? undefined : scale(a, b.constant);
  }
}

export interface Collapsed {
  readonly dims: readonly Dimension[];
  /** Rewrites an expression over the old variables into one over the new. */
  readonly rewrite: (e: Expr) => Expr;
}

/**
 * Joins neighbouring dimensions wherever all of `uses` walk through them contiguously, and writes every affine index
 * with outer terms first, so that what an inner loop does not change stands together.
 */
export function collapse(dims: readonly Dimension[], uses: readonly Expr[]): Collapsed {
  const names = dims.map((d) => d.name);
  const reader = new Reader(names);
  const joinable = dims.map((d, i) => i + 1 < dims.length && d.role === dims[i + 1].role);
  const seen = new Set<Expr>();
  const inspect = (e: Expr): void => {
    if (seen.has(e)) return;
    seen.add(e);
    const form = reader.form(e);
    if (!form) {
      for (const c of operandsOf(e)) inspect(c);
      return;
    }
    for (let d = 0; d + 1 < dims.length; d++)
      if (form.factors[d] !== form.factors[d + 1] * dims[d + 1].extent) joinable[d] = false;
  };
  uses.forEach(inspect);

  const out: Dimension[] = [];
  /** The innermost of the dimensions that each is joined from. */
  const last: number[] = [];
  dims.forEach((d, i) => {
    if (i > 0 && joinable[i - 1]) {
      const previous = out[out.length - 1];
      out[out.length - 1] = { ...previous, extent: previous.extent * d.extent };
      last[last.length - 1] = i;
    } else {
      out.push(d);
      last.push(i);
    }
  });

  const rewritten = new Map<Expr, Expr>();
  const rewrite = (e: Expr): Expr => {
    const known = rewritten.get(e);
    if (known) return known;
    const form = reader.form(e);
    const result = form ? build(form) : withChildren(e, rewrite);
    rewritten.set(e, result);
    return result;
  };
  const build = (form: Form): Expr => {
    let sum: Expr = i32(0);
    out.forEach((d, i) => {
      const c = form.factors[last[i]];
      if (i === out.length - 1) sum = add(sum, i32(form.constant));
      if (c !== 0) sum = add(sum, mul(ref(d.name), i32(c)));
    });
    return out.length === 0 ? i32(form.constant) : sum;
  };
  return { dims: out, rewrite };
}
