/**
 * Curvature state: what is stored, under which name, refreshed under which guard. Factors and inverses are refreshed only in
 * steps in which their guard is on; in other steps `refresh` gives what is stored.
 */
import type { Builder } from '../../ir/builder.js';
import { stateName } from '../../ir/diagnostics/compile.js';
import type { StateEntry, StateRole, Value } from '../../ir/graph.js';
import type { TensorType } from '../../ir/types.js';

export class Ledger {
  readonly entries: StateEntry[] = [];
  private readonly failureCounts: Value[] = [];

  constructor(
    readonly b: Builder,
    readonly retries: number,
  ) {}

  /** `fresh` is built under the guard, from the stored value; the result is what the step works with. */
  private keep(
    name: string,
    role: StateRole,
    of: string,
    type: TensorType,
    guard: string,
    fresh: (stored: Value) => Value,
  ): Value {
    const { b } = this;
    if (b.has(name)) throw stateName(name, b.loc);
    this.entries.push({
      name,
      type,
      role,
      owner: 'all',
      lifetime: 'training',
      checkpoint: true,
      init: { kind: 'fill', value: 0 },
      of,
      loc: b.loc,
    });
    const stored = b.read(name, type);
    b.guard = guard;
    const now = b.node('refresh', [fresh(stored), stored], { name: `${name}.now` });
    b.guard = undefined;
    b.update(name, now);
    return now;
  }

  /** A statistic with the guard `due(name)`; its type is that of what `fresh` builds. */
  statistic(name: string, of: string, type: TensorType, fresh: () => Value): Value {
    return this.keep(name, 'factor', of, type, `due(${name})`, fresh);
  }

  /**
   * The damped inverse of a statistic, refreshed with it. It starts as zeros: until an inversion succeeds for the first time
   * the preconditioned gradient is zero. A failed one keeps the inverse before it.
   */
  inverse(name: string, of: string, factor: Value, shift: Value): Value {
    const guard = `due(${name})`;
    let failures!: Value;
    const inverse = this.keep(`${name}.inverse`, 'inverse', of, factor.type, guard, (previous) => {
      const results = this.b.multi('damped_inverse', [factor, shift, previous], { attrs: { retries: this.retries } });
      failures = results[1];
      return results[0];
    });
    this.failureCounts.push(this.keep(`${name}.failures`, 'counter', of, failures.type, guard, () => failures));
    return inverse;
  }

  /** f32[]: failed attempts behind all inverses that are in use. */
  failedInversions(): Value {
    const { b } = this;
    if (this.failureCounts.length === 0) return b.fill(0, [], 'f32', 'failed_inversions');
    const each = this.failureCounts.map((f) => b.reshape(b.sumAll(f), [1]));
    return b.sumAll(b.node('concat', each, { attrs: { axis: 0 } }), 'failed_inversions');
  }
}
