/**
 * When a statistic is refreshed next: SP-NGD Algorithms 1 and 2 as a state machine of plain data. What enters is how far a statistic
 * has moved since it was built before; what leaves is the step in which it is due again.
 */

/** Where one statistic stands. Steps are optimizer steps, from 1. */
export interface Refresh {
  /** The step in which it is due. */
  readonly next: number;
  /** The step in which it was refreshed last; 0: never. */
  readonly last: number;
  /** The last two intervals that were chosen, Delta_-1 and Delta_-2. */
  readonly interval: number;
  readonly before: number;
  /** The interval that failed last, where it may not be exceeded until it has been tried again. */
  readonly limit?: number;
}

export interface AdaptiveRule {
  /** Two values are similar where their relative change is below it. */
  readonly alpha: number;
  /**
   * Right after a halving, one success of the paper's rule jumps past the interval that has just failed (10 fails, 5, then 5 + 10).
   * Bounded, an interval grows up to the one that failed, and past it only from there.
   */
  readonly bounded: boolean;
}

/** |X - X_-1| / |X_-1| and |X - X_-2| / |X_-2|; not finite where there is no such history. */
export type Change = readonly [number, number];

export const neverRefreshed: Refresh = { next: 1, last: 0, interval: 1, before: 1 };

/** After a refresh in `step`, while its outcome is not known: the interval that was chosen last holds on. */
export function refreshed(r: Refresh, step: number): Refresh {
  return { ...r, last: step, next: step + r.interval };
}

/** After the outcome of a refresh is known (Algorithm 2). */
export function decided(r: Refresh, change: Change, rule: AdaptiveRule): Refresh {
  const { interval, limit } = chosen(r, change, rule);
  const { limit: _, ...rest } = r;
  return {
    ...rest,
    interval,
    before: r.interval,
    next: r.last + interval,
    ...(limit !== undefined && { limit }),
  };
}

function chosen(r: Refresh, [fromLast, fromBefore]: Change, { alpha, bounded }: AdaptiveRule) {
  const { interval, before } = r;
  // Written so that what is not a number is not similar.
  if (!(fromLast < alpha))
    return { interval: Math.max(1, Math.floor(interval / 2)), limit: bounded ? interval : undefined };
  const limit = r.limit !== undefined && interval < r.limit ? r.limit : undefined;
  if (!(fromBefore < alpha)) return { interval, limit };
  return { interval: Math.min(interval + before, limit ?? Number.POSITIVE_INFINITY), limit };
}
