/**
 * What the steps of a random function share: what they see of it, and how they choose among its values.
 */
import type { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import { concrete, product, tensor } from '../../ir/types.js';
import type { Rng } from './rng.js';

export const MOST_ELEMENTS = 3000;

export type Dims = readonly number[];
export const dims = (v: Value): Dims => concrete(v.type.shape);
export const small = (shape: Dims): boolean => product(shape) <= MOST_ELEMENTS;

/** What a step sees: choices, the function so far, and its f32 values. */
export interface Graph {
  readonly r: Rng;
  readonly b: Builder;
  readonly pool: Value[];
}

export function input(g: Graph, shape: Dims): Value {
  const v = g.b.input(`x${g.b.inputs.length}`, tensor('f32', shape));
  g.pool.push(v);
  return v;
}

/** Mostly one of the newest, so that graphs grow deep as well as wide. */
export function any(g: Graph): Value {
  const n = g.pool.length;
  return g.r.chance(0.6) ? g.pool[g.r.int(Math.max(0, n - 4), n - 1)] : g.r.pick(g.pool);
}

export function anyThat(g: Graph, fits: (shape: Dims) => boolean): Value | undefined {
  const list = g.pool.filter((v) => fits(dims(v)));
  return list.length > 0 ? g.r.pick(list) : undefined;
}

/** A value of exactly this shape: one that is there, or a new input. */
export function ofShape(g: Graph, shape: Dims): Value {
  return anyThat(g, (s) => String(s) === String(shape)) ?? input(g, shape);
}

/** An input with the shape of a value that is there. */
export function exact(g: Graph): Value {
  return g.r.pick(g.b.inputs);
}

/** A sum of `terms` products, brought back to the magnitude of one. */
export function scaled(g: Graph, x: Value, terms: number): Value {
  return g.b.mul(x, g.b.fill(1 / Math.sqrt(terms)));
}

export type Step = (g: Graph) => Value | undefined;
