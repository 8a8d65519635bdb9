/**
 * Curvature state: what is stored, under which name, refreshed under which guard. Factors and inverses are refreshed only in
 * steps in which their guard is on; in other steps `refresh` gives what is stored. With staleness a state X has a guard of its
 * own, `due(X)`, for factors, inverses and pi, and the host decides each; with `adaptive` a factor has a history as well.
 */
import { accumulated } from '../../ir/accumulate.js';
import { type Builder, dims } from '../../ir/builder.js';
import { stateName } from '../../ir/diagnostics/compile.js';
import type { StateEntry, StateRole, Value } from '../../ir/graph.js';
import { changeOf, due, failuresOf, historyOf, inverseOf, piOf, type Staleness } from '../../ir/staleness.js';
import { type TensorType, tensor } from '../../ir/types.js';

export class Ledger {
  readonly entries: StateEntry[] = [];
  private readonly failureCounts: Value[] = [];

  constructor(
    readonly b: Builder,
    readonly retries: number,
    readonly staleness: Staleness,
    /** Number of valid examples, f32[]. */
    private readonly count: Value,
  ) {}

  /** A new state, as the step finds it. */
  private declare(name: string, role: StateRole, of: string, type: TensorType, first = 0): Value {
    const { b } = this;
    if (b.has(name)) throw stateName(name, b.loc);
    this.entries.push({
      name,
      type,
      role,
      owner: 'all',
      lifetime: 'training',
      checkpoint: true,
      init: { kind: 'fill', value: first },
      of,
      loc: b.loc,
    });
    return b.read(name, type);
  }

  /** What `build` computes exists only in steps in which the guard is on. */
  private under<T>(guard: string, build: () => T): T {
    this.b.guard = guard;
    const built = build();
    this.b.guard = undefined;
    return built;
  }

  /** The state after the step: `fresh` where the guard is on. The result is what the step works with. */
  private refresh(guard: string, fresh: Value, stored: Value): Value {
    const { b } = this;
    const now = b.node('refresh', [fresh, stored], { name: `${stored.name}.now`, guard });
    b.update(stored.name, now);
    return now;
  }

  /** A statistic with the guard `due(name)`; its type is that of what `fresh` builds: a mean over the examples of one micro-batch. */
  statistic(name: string, of: string, type: TensorType, fresh: () => Value): Value {
    const guard = due(name);
    const stored = this.declare(name, 'factor', of, type);
    const built = this.under(guard, () => accumulated(this.b, fresh(), { weight: this.count, name: `${name}.fresh` }));
    if (this.staleness !== 'adaptive') return this.refresh(guard, built, stored);
    return this.withHistory(name, of, guard, built, stored);
  }

  /**
   * Keeps X_-2 beside X_-1, which is the stored statistic, and gives the output `change(name)`, f32[2]: the distances of the last
   * value that was built from both, relative to theirs. A history that is still zero is infinitely far away.
   */
  private withHistory(name: string, of: string, guard: string, built: Value, stored: Value): Value {
    const { b } = this;
    const before = this.declare(historyOf(name), 'history', of, stored.type);
    const change = this.declare(`${name}.change`, 'history', of, tensor('f32', [2]));
    const [last, next, moved] = this.under(guard, () => {
      const [x, x1, squares] = b.multi('shift_history', [built, stored, before]);
      const sums = b.reshape(b.sum(squares, [0]), [2, 2]);
      const ratio = b.div(b.sliceAxis(sums, 1, 0, 1), b.sliceAxis(sums, 1, 1, 2));
      return [x, x1, b.reshape(b.sqrt(ratio), [2])];
    });
    this.refresh(guard, next, before);
    b.output(changeOf(name), this.refresh(guard, moved, change));
    return this.refresh(guard, last, stored);
  }

  /** pi of the layer `of`, kept in steps that do not refresh both of its factors; not kept at all where all steps do. */
  pi(of: string, type: TensorType, fresh: () => Value): Value {
    if (this.staleness === 'off') return fresh();
    const stored = this.declare(piOf(of), 'history', of, type, 1);
    const guard = due(stored.name);
    return this.refresh(guard, this.under(guard, fresh), stored);
  }

  /** A value that only the inversion of the statistic `name` reads. */
  forInverse(name: string, fresh: () => Value): Value {
    return this.staleness === 'off' ? fresh() : this.under(due(inverseOf(name)), fresh);
  }

  /**
   * The damped inverse of a statistic, refreshed with it. It starts as zeros: until an inversion succeeds for the first time
   * the preconditioned gradient is zero. A failed one keeps the inverse before it.
   */
  inverse(name: string, of: string, factor: Value, shift: Value): Value {
    const { b } = this;
    const stored = this.declare(inverseOf(name), 'inverse', of, factor.type);
    const guard = due(this.staleness === 'off' ? name : stored.name);
    const [fresh, failures] = this.under(guard, () =>
      b.multi('damped_inverse', [factor, shift, stored], { attrs: { retries: this.retries } }),
    );
    const inverse = this.refresh(guard, fresh, stored);
    const count = this.declare(`${name}.failures`, 'counter', of, failures.type);
    const counted = this.refresh(guard, failures, count);
    if (this.staleness === 'off') this.failureCounts.push(counted);
    else b.output(failuresOf(name), dims(counted).length === 0 ? counted : b.sumAll(counted));
    return inverse;
  }

  /** f32[]: failed attempts of this step; undefined where each statistic has an output of its own, since not all are due. */
  failedInversions(): Value | undefined {
    const { b } = this;
    if (this.staleness !== 'off') return undefined;
    if (this.failureCounts.length === 0) return b.fill(0, [], 'f32', 'failed_inversions');
    const each = this.failureCounts.map((f) => b.sumAll(f));
    return b.sumAll(b.node('stack', each), 'failed_inversions');
  }
}
