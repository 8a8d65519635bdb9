/** What a benchmark case is given and what it leaves: rows of the table. */
import type { Clock } from './timing.js';

export interface Context {
  /** What runs on one thread and on several runs on so many. */
  readonly threads: number;
  /** Seconds for the rounds of one comparison. */
  readonly budget: number;
  /** What one thread is measured by, unless another process or thread takes part. */
  readonly clock: Clock;
  /** Parts of row names: only these are measured. */
  readonly only: readonly string[];
  readonly note: (text: string) => void;
}

export interface Row {
  readonly what: string;
  /** `>= 3x jax-js`; absent: for information. */
  readonly goal?: string;
  readonly measured: string;
  readonly met?: boolean;
  readonly detail?: string;
}

export interface Case {
  readonly name: string;
  /** What is compared, for the table. */
  readonly title: string;
  /** Written down before the first measurement. */
  readonly expected: string;
  readonly run: (context: Context) => Promise<readonly Row[]>;
}

export const wants = ({ only }: Context, name: string): boolean =>
  only.length === 0 || only.some((o) => name.includes(o));

/** A ratio held against what it should be at least, or at most. */
export function held(
  what: string,
  ratio: number,
  goal: { least?: number; most?: number; of: string },
  detail?: string,
): Row {
  const { least, most, of } = goal;
  const met = least !== undefined ? ratio >= least : ratio <= most!;
  return {
    what,
    goal: `${least !== undefined ? `>= ${least}` : `<= ${most}`} x ${of}`,
    measured: `${ratio.toFixed(2)} x`,
    met,
    detail,
  };
}
