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

/** |X - X_-1| / |X_-1| and |X - X_-2| / |X_-2|; not finite where there is no such history. */
export type Change = readonly [number, number];

export const neverRefreshed: Refresh = { next: 1, last: 0, interval: 1, before: 1 };

/** After a refresh in `step`, while its outcome is not known: the interval that was chosen last holds on. */
export function refreshed(r: Refresh, step: number): Refresh {
  return { ...r, last: step, next: step + r.interval };
}

/** To which of the two values before it a statistic is similar; `last`: to X_-1 alone. Algorithm 2 does not look at X_-2 first. */
export type Similarity = 'none' | 'last' | 'both';

/** Similar is a relative change below alpha; what is not a number is not similar. */
export function similarity([fromLast, fromBefore]: Change, alpha: number): Similarity {
  if (!(fromLast < alpha)) return 'none';
  return fromBefore < alpha ? 'both' : 'last';
}

/**
 * After the outcome of a refresh is known (Algorithm 2).
 * @param bounded Right after a halving, one success of the paper's rule jumps past the interval that has just failed (10 fails, 5,
 * then 5 + 10). Bounded, an interval grows up to the one that failed, and past it only from there.
 */
export function decided(r: Refresh, similar: Similarity, bounded: boolean): Refresh {
  const { interval, limit } = chosen(r, similar, bounded);
  const { last } = r;
  return { next: last + interval, last, interval, before: r.interval, ...(limit !== undefined && { limit }) };
}

function chosen({ interval, before, limit: known }: Refresh, similar: Similarity, bounded: boolean) {
  if (similar === 'none')
    return { interval: Math.max(1, Math.floor(interval / 2)), limit: bounded ? interval : undefined };
  const limit = known !== undefined && interval < known ? known : undefined;
  if (similar === 'last') return { interval, limit };
  return { interval: Math.min(interval + before, limit ?? Number.POSITIVE_INFINITY), limit };
}
