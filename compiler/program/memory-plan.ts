/**
 * Places buffers in one memory: state first, for good; then the transients of each function in an arena that functions
 * share, since they never run at once. A transient lives from the step that writes it to the last that reads it; two whose
 * lives do not meet may share bytes. Largest first, of one size those first that are needed to the latest step (what is kept for the
 * backward pass then lies in the order in which it is freed), each at the lowest offset that fits: near the live-set bound in practice.
 */
import { Occupancy } from './occupancy.js';

export const ALIGNMENT = 256;

/** A value that needs bytes from step `from` to step `to` of its function, both included. */
export interface Interval {
  readonly name: string;
  readonly bytes: number;
  readonly from: number;
  readonly to: number;
}

export interface ArenaPlan {
  /** Of the intervals, in their order. */
  readonly offsets: Float64Array;
  /** Bytes that the arena takes. */
  readonly peak: number;
}

export function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/** The first step of all and the last. */
function stepsOf(intervals: readonly Interval[]): { readonly first: number; readonly last: number } {
  let first = 0;
  let last = 0;
  for (let i = 0; i < intervals.length; i++) {
    first = Math.min(first, intervals[i].from);
    last = Math.max(last, intervals[i].to);
  }
  return { first, last };
}

export function planArena(intervals: readonly Interval[]): ArenaPlan {
  const order = Array.from(intervals, (_, i) => i).sort((i, j) => {
    const a = intervals[i];
    const b = intervals[j];
    return b.bytes - a.bytes || b.to - a.to || a.from - b.from || (a.name < b.name ? -1 : 1);
  });
  const offsets = new Float64Array(intervals.length);
  const { first, last } = stepsOf(intervals);
  const taken = new Occupancy(last - first + 1);
  let peak = 0;
  for (let n = 0; n < order.length; n++) {
    const { bytes, from, to } = intervals[order[n]];
    const size = align(bytes);
    const offset = taken.lowest(from - first, to - first, size);
    taken.take(from - first, to - first, offset, offset + size);
    offsets[order[n]] = offset;
    peak = Math.max(peak, offset + size);
  }
  return { offsets, peak };
}

/** Largest sum of bytes alive at one step: no plan can take less. */
export function liveBound(intervals: readonly Interval[]): number {
  const { first, last } = stepsOf(intervals);
  const change = new Float64Array(last - first + 2);
  for (let i = 0; i < intervals.length; i++) {
    const { from, to, bytes } = intervals[i];
    change[from - first] += bytes;
    change[to + 1 - first] -= bytes;
  }
  let now = 0;
  let most = 0;
  for (let i = 0; i < change.length; i++) {
    now += change[i];
    most = Math.max(most, now);
  }
  return most;
}
