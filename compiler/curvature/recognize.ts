/**
 * Finds, behind the gradient of a parameter, the contraction that made it: of what the forward pass saw (x) and what the
 * backward pass returned (dy). These two are all that a Kronecker factor needs. Nothing is guessed: where the gradient is
 * anything else (a sum of two uses, a masked weight, a table), the answer is a reason, and the parameter keeps its plain gradient.
 */
import { dims } from '../../ir/builder.js';
import type { Node, Value } from '../../ir/graph.js';
import { flagOf, intsOf } from '../../ir/ops/declare.js';

/** What the recognisers ask of the graph. */
export interface Context {
  readonly definition: (v: Value) => Node | undefined;
  /** True for what the loss is computed from: the forward pass. */
  readonly forward: (v: Value) => boolean;
  /** True for what depends on an input of the function, not on state alone. */
  readonly data: (v: Value) => boolean;
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

/** A fully connected layer's: the product of rows x [.., in] and dy [rows, out], as [in, out] or [out, in]. */
export interface DenseUse {
  readonly kind: 'dense';
  readonly node: Node;
  readonly views: readonly Node[];
  /** [examples, ..positions, in]: axis 0 is the example axis. */
  readonly x: Value;
  /** [rows, out]; `dyTransposed`: [out, rows]. */
  readonly dy: Value;
  readonly xTransposed: boolean;
  readonly dyTransposed: boolean;
  readonly inFirst: boolean;
}

export interface Unrecognized {
  readonly kind: 'none';
  readonly why: string;
}

const none = (why: string): Unrecognized => ({ kind: 'none', why });

function throughViews(c: Context, v: Value, views: readonly string[]): { root: Value; path: Node[] } {
  const path: Node[] = [];
  let root = v;
  for (let node = c.definition(root); node && views.includes(node.op); node = c.definition(root)) {
    path.unshift(node);
    root = node.operands[0];
  }
  return { root, path };
}

const withoutReshape = (c: Context, v: Value): Value => throughViews(c, v, ['reshape']).root;

export function recognizeWeight(c: Context, gradient: Value): ConvUse | DenseUse | Unrecognized {
  const { root, path } = throughViews(c, gradient, ['reshape', 'transpose']);
  const node = c.definition(root);
  if (!node) return none('its gradient is given, not computed');
  switch (node.op) {
    case 'conv_weight_grad': {
      const [x, dy] = node.operands;
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
  const byExample = exampleFirst(c, x, xTransposed);
  if (!byExample) return none('its input rows do not begin with the example axis');
  return { kind: 'dense', node, views, x: byExample, dy, xTransposed, dyTransposed, inFirst };
}

/** The rows with their example axis of its own: as they are, or as they were before [N, T, in] was flattened. */
function exampleFirst(c: Context, x: Value, transposed: boolean): Value | undefined {
  const shape = dims(x);
  if (shape[transposed ? 1 : 0] === c.examples) return x;
  if (transposed) return undefined;
  const node = c.definition(x);
  if (node?.op !== 'reshape') return undefined;
  const [before] = node.operands;
  const from = dims(before);
  if (from[0] !== c.examples || from[from.length - 1] !== shape[1]) return undefined;
  // As many positions as examples: sizes alone do not tell [N, T, in] from [T, N, in].
  const ambiguous = from.slice(1, -1).includes(c.examples);
  return ambiguous && firstAxisMoves(c, before, new Set()) ? undefined : before;
}

/** True where a transpose on the way from the data to `v` takes another axis first. */
function firstAxisMoves(c: Context, v: Value, seen: Set<Value>): boolean {
  const node = c.definition(v);
  if (!node || seen.has(v) || !c.data(v)) return false;
  seen.add(v);
  if (node.op === 'transpose' && intsOf(node.attrs, 'perm')[0] !== 0) return true;
  return node.operands.some((o) => firstAxisMoves(c, o, seen));
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
