/**
 * Counter-based random numbers: a pure function of (seed, step, key of the op, global example index, element), so that
 * targets, threads, ranks and micro-batches all draw the same. A chain of 32-bit avalanche mixers (the two multipliers
 * are Wellons' "lowbias32"); the first four links are constant along a row, so a kernel pays one mix an element.
 */
export const MIX_1 = 0x7feb352d;
export const MIX_2 = 0x846ca68b;

/** Avalanches 32 bits: every input bit flips every output bit with probability about 1/2. Returns an unsigned integer. */
export function mix32(x: number): number {
  let h = x >>> 0;
  h = Math.imul(h ^ (h >>> 16), MIX_1);
  h = Math.imul(h ^ (h >>> 15), MIX_2);
  return (h ^ (h >>> 16)) >>> 0;
}

/** The row's part of the chain. */
export function rowKey(seed: number, step: number, key: number, example: number): number {
  let h = mix32(seed ^ 0x9e3779b9);
  h = mix32(h ^ step);
  h = mix32(h ^ key);
  return mix32(h ^ example);
}

/** Uniform in [0, 1), a multiple of 2^-24 (exact in f32). */
export function uniform(row: number, element: number): number {
  return (mix32(row ^ element) >>> 8) * 2 ** -24;
}
