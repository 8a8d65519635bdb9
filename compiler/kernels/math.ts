/**
 * Rewrites exp, log, tanh and erf as polynomials over the other kernel ops, so that all targets compute the same numbers.
 * Enter: a kernel; leaves: a kernel with `let`s in front of each statement that used such a function.
 * Polynomials are minimax fits (weighted for relative error) on the reduced interval; what each leaves of error stands
 * at it, in units of 2^-24 before rounding.
 */
import {
  add,
  binary,
  div,
  type Expr,
  eq,
  f32,
  i32,
  type Kernel,
  lt,
  max,
  min,
  mul,
  ref,
  type Stmt,
  select,
  sub,
  type UnaryOp,
  unary,
} from '../../ir/kernel.js';
import { mapOwn, withChildren } from './rebuild.js';
import { blocksOf, eachOwn, operandsOf } from './walk.js';

type Transcendental = 'exp' | 'log' | 'tanh' | 'erf';

const isTranscendental = (op: UnaryOp): op is Transcendental =>
  op === 'exp' || op === 'log' || op === 'tanh' || op === 'erf';

/** The kernel without transcendental ops; the same object where it has none. */
export function expandMath(kernel: Kernel): Kernel {
  if (!useOne(kernel.body)) return kernel;
  const names = new Set<string>(kernel.params.map((p) => p.name));
  const inspect = (body: readonly Stmt[]): void => {
    for (const s of body) {
      if ('name' in s) names.add(s.name);
      if (s.kind === 'for') names.add(s.var);
      if (s.kind === 'tileEach') for (const n of [s.row, s.col, s.element]) names.add(n);
      blocksOf(s).forEach(inspect);
    }
  };
  inspect(kernel.body);
  return { ...kernel, body: new Expansion(names, new Set()).block(kernel.body) };
}

/** Whether a transcendental op is in the statements or in their blocks. */
function useOne(body: readonly Stmt[]): boolean {
  let found = false;
  const look = (e: Expr): void => {
    found ||= hasOne(e);
  };
  for (const s of body) {
    eachOwn(s, look);
    if (s.kind === 'for' || s.kind === 'tileEach') found ||= useOne(s.body);
    else if (s.kind === 'if') found ||= useOne(s.then) || useOne(s.else);
  }
  return found;
}

function hasOne(e: Expr): boolean {
  switch (e.kind) {
    case 'const':
    case 'ref':
      return false;
    case 'load':
      return hasOne(e.index);
    case 'unary':
      return isTranscendental(e.op) || hasOne(e.a);
    case 'binary':
      return hasOne(e.a) || hasOne(e.b);
    case 'select':
      return hasOne(e.cond) || hasOne(e.a) || hasOne(e.b);
    case 'loadIf':
      return hasOne(e.cond) || hasOne(e.index);
  }
}

/** Whether a transcendental op is in `e`. Adds to `without` what has none, so that a shared expression is looked at once. */
function uses(e: Expr, without: Set<Expr>): boolean {
  if (e.kind === 'const' || e.kind === 'ref' || without.has(e)) return false;
  if (e.kind === 'unary' && isTranscendental(e.op)) return true;
  if (operandsOf(e).some((o) => uses(o, without))) return true;
  without.add(e);
  return false;
}

/** ln 2 in two parts (Cody and Waite): an exponent times the first, which has 9 bits, is exact. */
const LN2_HIGH = 0.693359375;
const LN2_LOW = Math.LN2 - LN2_HIGH;

/** Coefficients from the constant one upwards. */
function polynomial(x: Expr, coefficients: readonly number[]): Expr {
  return coefficients.reduceRight((sum: Expr | undefined, c) => (sum ? add(mul(sum, x), f32(c)) : f32(c)), undefined)!;
}

class Expansion {
  private lets: Stmt[] = [];
  private count = 0;
  /** What a statement's expressions became, so that a shared one is expanded once. */
  private done = new Map<Expr, Expr>();

  constructor(
    private readonly taken: ReadonlySet<string>,
    private readonly without: Set<Expr>,
  ) {}

  block(body: readonly Stmt[]): Stmt[] {
    const out: Stmt[] = [];
    for (const s of body) {
      this.lets = [];
      this.done = new Map();
      const own = mapOwn(s, (e) => this.expand(e));
      out.push(...this.lets);
      if (own.kind === 'for' || own.kind === 'tileEach') out.push({ ...own, body: this.block(own.body) });
      // biome-ignore lint/suspicious/noThenProperty: the statement's own field
      else if (own.kind === 'if') out.push({ ...own, then: this.block(own.then), else: this.block(own.else) });
      else out.push(own);
    }
    return out;
  }

  private expand(e: Expr): Expr {
    if (!uses(e, this.without)) return e;
    const known = this.done.get(e);
    if (known) return known;
    const inner = withChildren(e, (c) => this.expand(c));
    const result =
      inner.kind === 'unary' && isTranscendental(inner.op) ? this[inner.op](this.bind('f32', inner.a)) : inner;
    this.done.set(e, result);
    return result;
  }

  private bind(type: 'f32' | 'i32', value: Expr): Expr {
    if (value.kind === 'ref' || value.kind === 'const') return value;
    let name: string;
    do name = `m${this.count++}`;
    while (this.taken.has(name));
    this.lets.push({ kind: 'let', name, type, value });
    return ref(name);
  }

  /**
   * e^x = 2^n e^r with n = nearest(x / ln 2), |r| <= ln 2 / 2. The power of two is applied in two halves: each is a normal
   * number, results become denormal and infinite as they should. Error below 1.5 ulp; beyond -104 and 89 it is 0 and Inf.
   */
  private exp(argument: Expr): Expr {
    const x = this.bind('f32', min(max(argument, f32(-104)), f32(89)));
    const n = this.bind('f32', unary('nearest', mul(x, f32(Math.LOG2E))));
    const r = this.bind('f32', sub(sub(x, mul(n, f32(LN2_HIGH))), mul(n, f32(LN2_LOW))));
    // (e^r - 1 - r) / r^2: 0.05
    const q = polynomial(
      r,
      [0.4999999403953552, 0.1666652113199234, 0.04166838899254799, 0.0083687175065279, 0.0013814596459269524],
    );
    const p = this.bind('f32', add(add(mul(q, mul(r, r)), r), f32(1)));
    const k = this.bind('i32', unary('toI32', n));
    const half = this.bind('i32', sub(binary('shrU', add(k, i32(512)), i32(1)), i32(256)));
    const power = (e: Expr): Expr => unary('bitsToF32', binary('shl', add(e, i32(127)), i32(23)));
    return this.bind('f32', mul(mul(p, power(half)), power(sub(k, half))));
  }

  /**
   * log x = e ln 2 + log(1 + f) with sqrt(1/2) <= 1 + f < sqrt 2. Denormal arguments are scaled by 2^23 first.
   * Error below 1.5 ulp; -Inf at 0, NaN below.
   */
  private log(x: Expr): Expr {
    const scaled = this.bind('f32', select(lt(x, f32(2 ** -126)), mul(x, f32(2 ** 23)), x));
    const sqrtHalf = 0x3f3504f3;
    const bits = this.bind('i32', add(unary('bitsToI32', scaled), i32(0x3f800000 - sqrtHalf)));
    const bias = select(lt(x, f32(2 ** -126)), i32(127 + 23), i32(127));
    const e = this.bind('f32', unary('toF32', sub(binary('shrU', bits, i32(23)), bias)));
    const m = unary('bitsToF32', add(binary('and', bits, i32(0x7fffff)), i32(sqrtHalf)));
    const f = this.bind('f32', sub(m, f32(1)));
    const square = this.bind('f32', mul(f, f));
    // (log(1 + f) - f + f^2/2) / f^3: 0.01
    const p = polynomial(
      f,
      [
        0.3333331346511841, -0.25000008940696716, 0.2000211924314499, -0.1666799634695053, 0.14219550788402557,
        -0.12405591458082199, 0.11888174712657928, -0.11675640940666199, 0.06746601313352585,
      ],
    );
    const low = add(mul(mul(square, f), p), mul(e, f32(LN2_LOW)));
    const value = add(sub(f, sub(mul(square, f32(0.5)), low)), mul(e, f32(LN2_HIGH)));
    const finite = select(lt(x, f32(Number.POSITIVE_INFINITY)), value, x);
    return this.bind(
      'f32',
      select(lt(x, f32(0)), f32(Number.NaN), select(eq(x, f32(0)), f32(Number.NEGATIVE_INFINITY), finite)),
    );
  }

  /** x + x^3 P(x^2) below 0.625, 1 - 2 / (e^2x + 1) above. Error below 2 ulp; saturates beyond 10. */
  private tanh(x: Expr): Expr {
    const a = this.bind('f32', unary('abs', x));
    const square = this.bind('f32', mul(x, x));
    // (tanh(x) - x) / x^3 in x^2: 0.07
    const p = polynomial(
      square,
      [-0.3333328366279602, 0.13331490755081177, -0.05374349653720856, 0.020650578662753105, -0.005717036779969931],
    );
    const small = add(x, mul(mul(x, square), p));
    const power = this.exp(this.bind('f32', mul(min(a, f32(10)), f32(2))));
    const large = this.bind('f32', sub(f32(1), div(f32(2), add(power, f32(1)))));
    const signed = select(lt(x, f32(0)), unary('neg', large), large);
    return this.bind('f32', select(lt(a, f32(0.625)), small, signed));
  }

  /** x + x P(x^2) below 1, 1 - e^-Q(x) above, where Q = -log erfc. Error below 2 ulp; saturates beyond 4. */
  private erf(x: Expr): Expr {
    const a = this.bind('f32', min(unary('abs', x), f32(4)));
    const square = this.bind('f32', mul(x, x));
    // erf(x) / x - 1 in x^2: 0.02
    const p = polynomial(
      square,
      [
        0.12837916572668973, -0.3761262595653534, 0.1128358542919159, -0.026853810995817184, 0.005188327748328447,
        -0.0008010192541405559, 7.853857823647559e-5,
      ],
    );
    const small = add(x, mul(x, p));
    // -log erfc(x): 0.02
    const q = polynomial(
      a,
      [
        0.00034151258296333253, 1.127089262008667, 0.6381447315216064, 0.10310681909322739, -0.021838096901774406,
        0.002947666682302952, -0.0001863800862338394,
      ],
    );
    const large = this.bind('f32', sub(f32(1), this.exp(this.bind('f32', unary('neg', q)))));
    const signed = select(lt(x, f32(0)), unary('neg', large), large);
    return this.bind('f32', select(lt(a, f32(1)), small, signed));
  }
}
