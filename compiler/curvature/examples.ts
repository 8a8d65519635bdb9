/**
 * Which elements of a value belong to which example. One number says it: element i, in row-major order, belongs to example
 * floor(i / stride) mod N. A reshape leaves that number as it is, even where it folds the examples into rows ([T, N, d] to
 * [T N, d]) or heads into the examples; other ops move the axis in which the examples lie. An op without a rule counts as
 * mixing them, and what needs the examples of its result then does without: nothing is guessed from sizes.
 */
import { dims } from '../../ir/builder.js';
import type { Func, Node, Value } from '../../ir/graph.js';
import { intsOf, numberOf } from '../../ir/ops/declare.js';
import { type OpName, ops } from '../../ir/ops/table.js';
import { product } from '../../ir/types.js';

/** The axis that holds the examples, and how many of its elements lie between one and the next. */
export interface Place {
  readonly axis: number;
  readonly inner: number;
}

/** The stride; or the value is the same for all examples; or its elements belong to several, or nobody knows to which. */
type Examples = number | 'shared' | 'mixed';

/** Where the examples of each value lie; undefined for values that have none, mix them, or split them over several axes. */
export function findExamples(func: Pick<Func, 'inputs' | 'nodes'>, examples: number): (v: Value) => Place | undefined {
  const known = new Map<Value, Examples>();
  const of = (v: Value): Examples => known.get(v) ?? 'shared';
  const placeIn = (v: Value): Place | undefined => {
    const stride = of(v);
    return typeof stride === 'number' ? placeOf(dims(v), stride, examples) : undefined;
  };
  for (const input of func.inputs) {
    // The seed of random numbers is three numbers, whatever the batch.
    const [first, ...rest] = dims(input);
    if (input.name !== 'rng' && first === examples) known.set(input, product(rest));
  }
  for (const node of func.nodes) {
    const states = node.operands.map(of);
    if (states.every((s) => s === 'shared')) continue;
    for (const r of node.results) known.set(r, 'mixed');
    if (states.includes('mixed')) continue;
    const [result] = node.results;
    if (node.op === 'reshape') {
      known.set(result, states[0]);
      continue;
    }
    const places = node.operands.map(placeIn);
    if (places.some((p, i) => !p && states[i] !== 'shared')) continue;
    const place = ruleOf(node.op)?.(node, places);
    if (place) known.set(result, place.inner * product(dims(result).slice(place.axis + 1)));
  }
  return placeIn;
}

function placeOf(shape: readonly number[], stride: number, examples: number): Place | undefined {
  let below = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (stride < below * shape[axis]) {
      const inner = stride / below;
      return Number.isInteger(inner) && shape[axis] % (inner * examples) === 0 ? { axis, inner } : undefined;
    }
    below *= shape[axis];
  }
  return undefined;
}

/** From the places in the operands (undefined: shared) to that in the first result. */
type Rule = (node: Node, places: readonly (Place | undefined)[]) => Place | undefined;

const same = (a: Place, b: Place): boolean => a.axis === b.axis && a.inner === b.inner;

function agreed(places: readonly (Place | undefined)[]): Place | undefined {
  const [first, ...others] = places.filter((p) => p !== undefined);
  return first && others.every((p) => same(p, first)) ? first : undefined;
}

/** The axis as NumPy's broadcasting aligns it; it must keep its size. */
const aligned: Rule = (node, places) => {
  const to = dims(node.results[0]);
  const moved = places.map((p, i) => p && { ...p, axis: p.axis + to.length - node.operands[i].type.shape.length });
  const place = agreed(moved);
  const kept = places.every((p, i) => !p || !place || dims(node.operands[i])[p.axis] === to[place.axis]);
  return kept ? place : undefined;
};

/** Only the first operand has examples, in an axis that the op leaves alone. */
const leading =
  (axes: number): Rule =>
  (_, [x, ...others]) =>
    x && x.axis < axes && others.every((p) => !p) ? x : undefined;

/** The axes in `removed` are summed or searched. */
function reduced(x: Place | undefined, removed: readonly number[], keep: boolean): Place | undefined {
  if (!x || removed.includes(x.axis)) return undefined;
  return keep ? x : { ...x, axis: x.axis - removed.filter((a) => a < x.axis).length };
}

const beside: Rule = (node, [x]) => (x && x.axis !== numberOf(node.attrs, 'axis') ? x : undefined);

const rules: Partial<Record<OpName, Rule>> = {
  transpose: (node, [x]) => x && { ...x, axis: intsOf(node.attrs, 'perm').indexOf(x.axis) },
  broadcast: aligned,
  slice: aligned,
  pad: aligned,
  concat: aligned,
  reduce_sum: (node, [x]) => reduced(x, intsOf(node.attrs, 'axes'), node.attrs.keep === true),
  reduce_max: (node, [x]) => reduced(x, intsOf(node.attrs, 'axes'), node.attrs.keep === true),
  argmax: (node, [x]) => reduced(x, [numberOf(node.attrs, 'axis')], false),
  softmax: beside,
  log_softmax: beside,
  gather: (node, [x, indices]) => {
    const axis = numberOf(node.attrs, 'axis');
    if (indices) return x ? undefined : { ...indices, axis: indices.axis + axis };
    if (!x || x.axis === axis) return undefined;
    return x.axis < axis ? x : { ...x, axis: x.axis - 1 + node.operands[1].type.shape.length };
  },
  matmul: (node, places) => {
    const rank = node.results[0].type.shape.length;
    const [a, b] = places.map((p, i) => p && { ...p, axis: p.axis + rank - node.operands[i].type.shape.length });
    // The summed axis: the last of a, the last but one of b, unless transposed.
    if (a?.axis === rank - (node.attrs.ta ? 2 : 1) || b?.axis === rank - (node.attrs.tb ? 1 : 2)) return undefined;
    const own = (p: Place | undefined, kept: number) => p && (p.axis >= rank - 2 ? { ...p, axis: kept } : p);
    return agreed([own(a, rank - 2), own(b, rank - 1)]);
  },
  conv: leading(1),
  conv_input_grad: leading(1),
  max_pool: leading(2),
  avg_pool: leading(2),
  // Its statistics mix the examples, and the result is of each all the same.
  batch_norm: (_, [x]) => (x?.axis === 0 ? x : undefined),
  batch_norm_inference: leading(1),
};

function ruleOf(op: OpName): Rule | undefined {
  return ops[op].fuse === 'elementwise' ? aligned : rules[op];
}
