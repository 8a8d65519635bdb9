/**
 * The order of examples: a Fisher-Yates shuffle whose random numbers are a pure function of (seed, epoch, position), so that
 * a run can be repeated, and any epoch's order be had without those before it.
 */
import { mix32, rowKey } from '../../ir/random.js';

/** Key of the shuffle among the draws of a run; ops of a graph have theirs from the compiler. */
const SHUFFLE = 0x5eed;

/** A permutation of 0 .. count-1. */
export function permutation(count: number, seed: number, epoch: number): Int32Array {
  const order = Int32Array.from({ length: count }, (_, i) => i);
  const key = rowKey(seed, epoch, SHUFFLE, 0);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor((mix32(key ^ i) / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Cuts an order into batches; the last one may be short (its missing rows are padded, and marked as not valid). */
export function* batches(order: Int32Array, size: number): Generator<Int32Array> {
  for (let at = 0; at < order.length; at += size) yield order.subarray(at, Math.min(at + size, order.length));
}

/** Rows in their own order, for evaluation. */
export function inOrder(count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => i);
}
