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
  readonly terms: ReadonlyMap<string, number>;
}

const constantForm = (constant: number): Form => ({ constant, terms: new Map() });

function combine(a: Form, b: Form, sign: number): Form {
  const terms = new Map(a.terms);
  for (const [name, c] of b.terms) terms.set(name, (terms.get(name) ?? 0) + sign * c);
  return { constant: a.constant + sign * b.constant, terms };
}

function scale(a: Form, by: number): Form {
  return { constant: a.constant * by, terms: new Map([...a.terms].map(([n, c]) => [n, c * by])) };
}

class Reader {
  private readonly forms = new Map<Expr, Form | undefined>();

  constructor(private readonly variables: ReadonlySet<string>) {}

  form(e: Expr): Form | undefined {
    if (this.forms.has(e)) return this.forms.get(e);
    const f = this.compute(e);
    this.forms.set(e, f);
    return f;
  }

  private compute(e: Expr): Form | undefined {
    if (e.kind === 'const') return e.type === 'i32' ? constantForm(e.value) : undefined;
    if (e.kind === 'ref')
      return this.variables.has(e.name) ? { constant: 0, terms: new Map([[e.name, 1]]) } : undefined;
    if (e.kind !== 'binary' || (e.op !== 'add' && e.op !== 'sub' && e.op !== 'mul')) return undefined;
    const a = this.form(e.a);
    const b = this.form(e.b);
    if (!a || !b) return undefined;
    if (e.op !== 'mul') return combine(a, b, e.op === 'add' ? 1 : -1);
    if (a.terms.size === 0) return scale(b, a.constant);
    return b.terms.size === 0 ? scale(a, b.constant) : undefined;
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
  const reader = new Reader(new Set(names));
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
      if ((form.terms.get(names[d]) ?? 0) !== (form.terms.get(names[d + 1]) ?? 0) * dims[d + 1].extent)
        joinable[d] = false;
  };
  uses.forEach(inspect);

  const out: Dimension[] = [];
  const last: string[] = [];
  dims.forEach((d, i) => {
    if (i > 0 && joinable[i - 1]) {
      const previous = out[out.length - 1];
      out[out.length - 1] = { ...previous, extent: previous.extent * d.extent };
      last[last.length - 1] = d.name;
    } else {
      out.push(d);
      last.push(d.name);
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
      const c = form.terms.get(last[i]) ?? 0;
      if (i === out.length - 1) sum = add(sum, i32(form.constant));
      if (c !== 0) sum = add(sum, mul(ref(d.name), i32(c)));
    });
    return out.length === 0 ? i32(form.constant) : sum;
  };
  return { dims: out, rewrite };
}
