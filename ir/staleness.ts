/**
 * What compiler and runtime agree on about curvature that is not refreshed in every step: kinds, and the names of guards, states
 * and metrics.
 */

/**
 * `off`: everything is refreshed in every step. `fixed`: every so many steps, which the run chooses. `adaptive`: each statistic
 * when it is due by its own history (SP-NGD Algorithms 1 and 2).
 */
export const stalenessKinds = ['off', 'fixed', 'adaptive'] as const;
export type Staleness = (typeof stalenessKinds)[number];

/** What the manifest's defaults hold of each: alpha of all of the paper's experiments; the interval of the K-FAC that it starts from (SP-NGD 4.3). */
export const stalenessDefaults: Readonly<Record<Staleness, { staleness_alpha?: number; staleness_interval?: number }>> =
  {
    off: {},
    fixed: { staleness_interval: 20 },
    adaptive: { staleness_alpha: 0.1 },
  };

/** The guard under which a state of the curvature is refreshed. */
export const due = (state: string): string => `due(${state})`;

export const isDue = (guard: string): boolean => guard.startsWith('due(');

export const inverseOf = (statistic: string): string => `${statistic}.inverse`;
/** X_-2, where X_-1 is the stored statistic. */
export const historyOf = (statistic: string): string => `${statistic}.history`;
/** pi of a layer's pair of factors, by the name of its weight. */
export const piOf = (weight: string): string => `${weight}.pi`;

/**
 * The output, and so the two metrics `...[0]` and `...[1]`, that say how far the last value that was built lies from X_-1 and X_-2:
 * |X - X_-k|_F / |X_-k|_F. They are of this step only where the statistic was due in it.
 */
export const changeOf = (statistic: string): string => `change(${statistic})`;
export const isChange = (metric: string): boolean => /^change\(.*\)(\[\d\])?$/s.test(metric);
