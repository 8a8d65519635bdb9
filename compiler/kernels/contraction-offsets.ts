/**
 * Offsets between the taps of a window along one image axis. A window's input times itself depends on two taps through their
 * distance alone, but for what lies at the image's ends: tap t reads positions first_t + stride * n, and taps whose first
 * positions agree modulo the stride read the same positions there but for a few at both ends. So the positions of an offset are
 * cut into strips such that each tap reads some neighbouring strips whole. Every product is computed once, and sums are only
 * ever added to: nothing is subtracted, no digits are lost.
 */
import type { AxisWindow } from './contraction-axes.js';

/** Image positions first + stride * n, n < count; they and their partners at the offset's distance are in the image. */
export interface Strip {
  readonly first: number;
  readonly count: number;
}

/** Tap `tap` with tap `partner` sums strips [lo, hi) of its offset. */
export interface TapPair {
  readonly tap: number;
  readonly partner: number;
  readonly lo: number;
  readonly hi: number;
}

export interface Offset {
  /** From a position to its partner. */
  readonly distance: number;
  readonly strips: readonly Strip[];
  readonly pairs: readonly TapPair[];
}

/** Sums, one for each rectangle and element of a register tile, that a grid iteration may keep. */
export const MOST_SUMS = 1024 * 1024;

/** Every pair of taps is in exactly one offset. */
export function offsetsOf(w: AxisWindow): readonly Offset[] {
  const out: Offset[] = [];
  for (let apart = 1 - w.kernel; apart < w.kernel; apart++)
    for (let remainder = 0; remainder < w.stride; remainder++) {
      const taps = Array.from({ length: w.kernel - Math.abs(apart) }, (_, n) => n + Math.max(0, -apart));
      const own = taps.filter((t) => modulo(t * w.dilation - w.pad, w.stride) === remainder);
      if (own.length > 0) out.push(offset(w, apart, remainder, own));
    }
  return out;
}

const modulo = (a: number, b: number): number => a - b * Math.floor(a / b);

function offset(w: AxisWindow, apart: number, remainder: number, taps: readonly number[]): Offset {
  const distance = apart * w.dilation;
  // In steps of the stride, from `remainder`: where a position and its partner are in the image, and what a tap reads of that.
  const lowest = Math.ceil((Math.max(0, -distance) - remainder) / w.stride);
  const highest = Math.floor((w.input - 1 - Math.max(0, distance) - remainder) / w.stride) + 1;
  const read = taps.map((tap) => {
    const start = (tap * w.dilation - w.pad - remainder) / w.stride;
    return { tap, lo: Math.max(lowest, start), hi: Math.min(highest, start + w.output) };
  });
  const present = read.filter((r) => r.hi > r.lo);
  const cuts = [...new Set(present.flatMap((r) => [r.lo, r.hi]))].sort((a, b) => a - b);
  const ranges = cuts
    .slice(1)
    .map((hi, n) => ({ lo: cuts[n], hi }))
    .filter(({ lo, hi }) => present.some((r) => r.lo <= lo && hi <= r.hi));
  return {
    distance,
    strips: ranges.map(({ lo, hi }) => ({ first: remainder + w.stride * lo, count: hi - lo })),
    pairs: read.map(({ tap, lo, hi }) => {
      const first = ranges.findIndex((r) => lo <= r.lo && r.hi <= hi);
      const count = ranges.filter((r) => lo <= r.lo && r.hi <= hi).length;
      return { tap, partner: tap + apart, lo: Math.max(0, first), hi: Math.max(0, first) + count };
    }),
  };
}

/** A part of a row: [lo, hi). */
export interface Range {
  readonly lo: number;
  readonly hi: number;
}

/** All offsets' strips in one row, each with its distance, and all pairs of taps, whose lo and hi count in that row. */
export interface FlatOffsets {
  readonly strips: readonly (Strip & { readonly distance: number })[];
  readonly pairs: readonly TapPair[];
  /** Which of them are whose. */
  readonly offsets: readonly { readonly strips: Range; readonly pairs: Range }[];
}

/** Costs ask for them as well as kernels, and a model has few different windows. */
const known = new Map<string, FlatOffsets>();

export function flatOffsetsOf(w: AxisWindow): FlatOffsets {
  const key = `${w.kernel},${w.stride},${w.pad},${w.dilation},${w.input},${w.output}`;
  let flat = known.get(key);
  if (!flat) {
    flat = flattened(offsetsOf(w));
    known.set(key, flat);
  }
  return flat;
}

function flattened(all: readonly Offset[]): FlatOffsets {
  const strips: (Strip & { distance: number })[] = [];
  const pairs: TapPair[] = [];
  const offsets = all.map((o) => {
    const [s, p] = [strips.length, pairs.length];
    strips.push(...o.strips.map((strip) => ({ ...strip, distance: o.distance })));
    pairs.push(...o.pairs.map((pair) => ({ ...pair, lo: s + pair.lo, hi: s + pair.hi })));
    return { strips: { lo: s, hi: strips.length }, pairs: { lo: p, hi: pairs.length } };
  });
  return { strips, pairs, offsets };
}
