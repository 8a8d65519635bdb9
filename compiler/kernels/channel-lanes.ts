/**
 * Images in group memory with four channels side by side at each position, so that channels are lanes: for work that goes position by
 * position, where rows are too short for vectors, or neighbours write to the same place.
 */
import { add, type Expr, i32, load, loop, mul, ref, type Stmt, store } from '../../ir/kernel.js';

export const LANES = 4;
export const lanes: readonly number[] = Array.from({ length: LANES }, (_, l) => l);

/** Offset of lane `lane` at a position. */
export const laneAt = (position: Expr, lane: Expr): Expr => add(mul(position, i32(LANES)), lane);

/** Copies an image of so many positions into `memory`; `source` gives the element of a channel at a position. */
export function turnIn(memory: string, positions: number, source: (lane: number, position: Expr) => Expr): Stmt {
  const q = ref('q');
  return loop(
    'vector',
    'q',
    positions,
    lanes.map((l) => store(memory, laneAt(q, i32(l)), source(l, q))),
  );
}

/** What is done with each element of `memory`, channel by channel. */
export function turnOut(
  memory: string,
  positions: number,
  finish: (lane: number, position: Expr, element: Expr) => Stmt[],
): Stmt {
  const q = ref('q');
  return loop(
    'vector',
    'q',
    positions,
    lanes.flatMap((l) => finish(l, q, load(memory, laneAt(q, i32(l))))),
  );
}
