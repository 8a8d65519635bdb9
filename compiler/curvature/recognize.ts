/**
 * Finds, behind the gradient of a parameter, the contraction that made it: of what the forward pass saw (x) and what the
 * backward pass returned (dy). These two are all that a Kronecker factor needs. Nothing is guessed: where the gradient is
 * anything else (a sum of two uses, a masked weight, a table), the answer is a reason, and the parameter keeps its plain gradient.
 */
import { dims } from '../../ir/builder.js';
import type { Node, Value } from '../../ir/graph.js';
import { flagOf, intsOf } from '../../ir/ops/declare.js';
import type { Place } from './examples.js';

/** What the recognisers ask of the graph. */
export interface Context {
  readonly definition: (v: Value) => Node | undefined;
  /** True for what the loss is computed from: the forward pass. */
  readonly forward: (v: Value) => boolean;
  /** Where the examples of a value of the forward pass lie. */
  readonly place: (v: Value) => Place | undefined;
  /** Number of examples, padding included. */
  readonly examples: number;
}

/** A convolution's weight gradient: conv_weight_grad(x, dy). */
export interface ConvUse {
  readonly kind: 'conv';
  readonly node: Node;
  /** From the contraction's result to the parameter's gradient, in order. */
  readonly views: readonly Node[];
  readonly x: Value;
  readonly dy: Value;
}

/** A fully connected layer's: the product of rows x [rows, in] and dy [rows, out], as [in, out] or [out, in]. */
export interface DenseUse {
  readonly kind: 'dense';
  readonly node: Node;
  readonly views: readonly Node[];
  /** [rows, in]; `xTransposed`: [in, rows]. */
  readonly x: Value;
  /** [rows, out]; `dyTransposed`: [out, rows]. */
  readonly dy: Value;
  readonly xTransposed: boolean;
  readonly dyTransposed: boolean;
  readonly inFirst: boolean;
  /** Row r is of example floor(r / inner) mod N: a weight shared over positions has more rows than examples. */
  readonly inner: number;
}

export interface Unrecognized {
  readonly kind: 'none';
  readonly why: string;
}

const none = (why: string): Unrecognized => ({ kind: 'none', why });

export function throughViews(c: Context, v: Value, views: readonly string[]): { root: Value; path: Node[] } {
  const path: Node[] = [];
  let root = v;
  for (let node = c.definition(root); node && views.includes(node.op); node = c.definition(root)) {
    path.unshift(node);
    root = node.operands[0];
  }
  return { root, path };
}

/** The place of the examples, if it is one of these axes; a single example fills any. */
export function placeWithin(c: Context, v: Value, axes: readonly number[]): Place | undefined {
  if (c.examples === 1) return { axis: axes[0], inner: dims(v)[axes[0]] };
  const place = c.place(v);
  return place && axes.includes(place.axis) ? place : undefined;
}

export const withoutReshape = (c: Context, v: Value): Value => throughViews(c, v, ['reshape']).root;

export function recognizeWeight(c: Context, gradient: Value): ConvUse | DenseUse | Unrecognized {
  const { root, path } = throughViews(c, gradient, ['reshape', 'transpose']);
  const node = c.definition(root);
  if (!node) return none('its gradient is given, not computed');
  switch (node.op) {
    case 'conv_weight_grad': {
      const [x, dy] = node.operands;
      // With the roles exchanged, it is the gradient of a convolution's transpose.
      if (!c.forward(x) || c.forward(dy))
        return none('the weight of a transposed convolution, for which there is no rule');
      return { kind: 'conv', node, views: path, x, dy };
    }
    case 'matmul':
      return dense(c, node, path);
    case 'add':
      return none('it is used more than once: its gradient is a sum of several products');
    case 'scatter_add':
      return none('it is a table that is looked up by index');
    case 'reduce_sum':
      return none('it is a bias or a scale of no layer that is preconditioned');
    default:
      return none(`its gradient comes from ${node.op}, which has no curvature rule`);
  }
}

function dense(c: Context, node: Node, views: readonly Node[]): DenseUse | Unrecognized {
  const [left, right] = node.operands;
  if (left.type.shape.length !== 2 || right.type.shape.length !== 2)
    return none('its gradient is a batch of products, not one product over rows');
  const isForward = (v: Value): boolean => c.forward(throughViews(c, v, ['reshape', 'transpose']).root);
  if (isForward(left) === isForward(right)) return none('its gradient is no product of a forward and a backward value');
  const inFirst = isForward(left);
  // op(left) is [.., rows]: stored as rows first exactly when it is transposed; op(right) is [rows, ..].
  const leftByColumn = !flagOf(node.attrs, 'ta');
  const rightByColumn = flagOf(node.attrs, 'tb');
  const [x, xTransposed] = inFirst ? [left, leftByColumn] : [right, rightByColumn];
  const [dy, dyTransposed] = inFirst ? [right, rightByColumn] : [left, leftByColumn];
  const place = placeWithin(c, x, [xTransposed ? 1 : 0]);
  if (!place) return none('which rows of its input belong to which example is not known');
  return { kind: 'dense', node, views, x, dy, xTransposed, dyTransposed, inFirst, inner: place.inner };
}

/** What the gradient of a bias or a shift is a sum of, reshapes apart: the dy of a layer or of a scale. */
export function summedBy(c: Context, gradient: Value): Value {
  const sum = withoutReshape(c, gradient);
  const node = c.definition(sum);
  return withoutReshape(c, node?.op === 'reduce_sum' ? node.operands[0] : sum);
}

/** True when `gradient` is the sum of the layer's dy over all but its feature axis: then the parameter is the layer's bias. */
export function isBiasOf(c: Context, use: ConvUse | DenseUse, gradient: Value): boolean {
  const node = c.definition(withoutReshape(c, gradient));
  const [summed, axes] =
    node?.op === 'reduce_sum' ? [node.operands[0], intsOf(node.attrs, 'axes')] : [withoutReshape(c, gradient), []];
  if (withoutReshape(c, summed) !== withoutReshape(c, use.dy)) return false;
  const shape = dims(summed);
  // A sum over axes of size one may have been left out.
  const axis = use.kind === 'conv' ? 1 : shape.length - 1;
  const features = dims(use.dy)[use.kind === 'dense' && use.dyTransposed ? 0 : 1];
  return (
    shape[axis] === features && shape.every((n, i) => (i === axis ? !axes.includes(i) : n === 1 || axes.includes(i)))
  );
}

/** The batch_norm_grad whose per-example rows (result 1: gamma, 2: beta) sum to this gradient. */
export function recognizeBatchNorm(
  c: Context,
  gradient: Value,
): { readonly node: Node; readonly which: 'gamma' | 'beta' } | undefined {
  const sum = c.definition(gradient);
  if (sum?.op !== 'reduce_sum') return undefined;
  const node = c.definition(sum.operands[0]);
  if (node?.op !== 'batch_norm_grad') return undefined;
  // results[0] is dx: the bias of a dense layer in front of a batch normalisation sums that one.
  const which = ([undefined, 'gamma', 'beta'] as const)[node.results.indexOf(sum.operands[0])];
  return which && { node, which };
}
