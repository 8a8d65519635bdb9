/**
 * When each share of a step ran, for a profile. Every thread writes into an array of its own that has room for a whole run; the
 * thread that leads reads them all between two runs. Times are nanoseconds of the machine's monotonic clock, which threads share.
 */
import type { Work } from './work.js';

export function clock(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e9 + nanoseconds;
}

/** A part of a call's grid on one thread. */
export interface Share {
  /** Number of the step in its function. */
  readonly step: number;
  readonly kernel: string;
  readonly thread: number;
  readonly begin: number;
  readonly end: number;
}

/** One run of a function. */
export interface ProfiledRun {
  readonly func: string;
  readonly begin: number;
  readonly end: number;
  readonly shares: readonly Share[];
}

/** How many are written, then step, begin, end of each. */
const FIELDS = 3;

/** Room for all shares of any of the functions. */
export function makeRecords(functions: readonly Work[]): SharedArrayBuffer {
  const shares = functions.map((f) => f.pieces.reduce((n, p) => n + p.shares * p.calls.length, 0));
  return new SharedArrayBuffer(8 * (1 + FIELDS * Math.max(0, ...shares)));
}

export class Recorder {
  private readonly values: Float64Array;

  constructor(records: SharedArrayBuffer) {
    this.values = new Float64Array(records);
  }

  add(step: number, begin: number): void {
    const { values } = this;
    values.set([step, begin, clock()], 1 + FIELDS * values[0]++);
  }

  /** What was written since the last call, of steps of `work`; no thread may be writing. */
  take(thread: number, { calls }: Work): Share[] {
    const { values } = this;
    const shares = Array.from({ length: values[0] }, (_, n): Share => {
      const [step, begin, end] = values.subarray(1 + FIELDS * n, 1 + FIELDS * (n + 1));
      return { step, kernel: calls[step].kernel, thread, begin, end };
    });
    values[0] = 0;
    return shares;
  }
}
