/**
 * What a gradient rule sees and gives. A rule is written for one node: from the gradient of its result it gives, for each
 * operand, a thunk that builds that operand's gradient; only thunks that are needed are called.
 */
import type { Builder } from '../../ir/builder.js';
import type { Attrs, Value } from '../../ir/graph.js';

export interface Site {
  readonly b: Builder;
  readonly attrs: Attrs;
  /** Operands and results of the forward node. */
  readonly x: readonly Value[];
  readonly y: readonly Value[];
  /** Gradient of the first result, of its full shape. */
  readonly dy: Value;
  /** A scalar constant, one node however often it is asked for. */
  scalar(value: number): Value;
  /** Name for the gradient of operand i. */
  dx(i: number): string;
  /** dy * factor, or the factor itself where dy is the constant one of the same shape. */
  times(dy: Value, factor: Value): Value;
}

/** The gradient of one operand; its shape may be larger than the operand's by broadcasting: the pass sums it down. */
export type Thunk = () => Value;

/** One thunk for each operand; undefined where an operand (an index, a condition) has no gradient. */
export type Rule = (site: Site) => readonly (Thunk | undefined)[];

/** The op stops gradients, and why. */
export interface NoGradient {
  readonly none: string;
}

export const notTwice: NoGradient = { none: 'it is itself a gradient; second derivatives are not taken' };

export function isRule(entry: Rule | NoGradient): entry is Rule {
  return typeof entry === 'function';
}
