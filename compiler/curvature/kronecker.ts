/**
 * Kronecker factors of one convolution or fully connected layer and the gradient preconditioned with them (SP-NGD eq 6-12).
 * dy carries the 1/count of the mean loss; count puts it right: with g = count * dy, G = mean over examples of the sum over
 * positions of g g^T = count * sum dy dy^T, and A = mean over examples and positions of a a^T.
 */
import { type Builder, dims } from '../../ir/builder.js';
import type { Attrs, Value } from '../../ir/graph.js';
import { numberOf } from '../../ir/ops/declare.js';
import { product, symmetric } from '../../ir/types.js';
import { splitDamping } from './damping.js';
import type { Ledger } from './ledger.js';
import type { ConvUse, DenseUse } from './recognize.js';

/** Scalars and weights of the step. */
export interface Batch {
  /** f32[N]: 1 for a real example. */
  readonly valid: Value;
  readonly count: Value;
  readonly damping: Value;
  /** A gradient over all micro-batches of the step. */
  readonly accumulated: (gradient: Value, name: string) => Value;
}

/** A layer as matrices: gradient [out, in] or [in, out], a leading axis of groups for grouped convolutions. */
interface MatrixForm {
  readonly inputs: number;
  readonly outputs: number;
  readonly groups: number;
  readonly inFirst: boolean;
  /** Number of positions over which a weight is shared within an example. */
  readonly positions: number;
  readonly A: (scale: Value, ones: boolean) => Value;
  readonly G: (scale: Value) => Value;
}

export interface Preconditioned {
  readonly weight: Value;
  readonly bias?: Value;
}

/** Widths of the two factors, the ones column included. */
export function factorWidths(use: ConvUse | DenseUse, withBias: boolean): { readonly A: number; readonly G: number } {
  const [first, second] = matrixSizes(use);
  return {
    A: (use.kind === 'dense' && use.inFirst ? first : second) + (withBias ? 1 : 0),
    G: use.kind === 'dense' && use.inFirst ? second : first,
  };
}

/** Parts of the layer that do not touch, each with a pair of factors of its own. */
export const groupsOf = (use: ConvUse | DenseUse): number =>
  use.kind === 'conv' ? numberOf(use.node.attrs, 'groups') : 1;

/** Rows and columns of one group's gradient matrix. */
function matrixSizes(use: ConvUse | DenseUse): [number, number] {
  const shape = dims(use.node.results[0]);
  return [shape[0] / groupsOf(use), product(shape.slice(1))];
}

function convForm(b: Builder, use: ConvUse, valid: Value): MatrixForm {
  const { attrs } = use.node;
  const [outputs, inputs] = matrixSizes(use);
  const groups = groupsOf(use);
  const [, , height, width] = dims(use.dy);
  // One output position of one group is a 1x1 patch: the same op gives a G for each group.
  const point: Attrs = { kernel: [1, 1], strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], groups, ones: false };
  return {
    inputs,
    outputs,
    groups,
    inFirst: false,
    positions: height * width,
    A: (scale, ones) => b.node('patch_second_moment', [use.x, scale, valid], { attrs: { ...attrs, ones } }),
    G: (scale) =>
      groups > 1
        ? b.node('patch_second_moment', [use.dy, scale], { attrs: point })
        : b.node('second_moment', [use.dy, scale], { attrs: { axis: 1, ones: false } }),
  };
}

function denseForm(b: Builder, use: DenseUse, valid: Value): MatrixForm {
  const [first, second] = matrixSizes(use);
  const [inputs, outputs] = use.inFirst ? [first, second] : [second, first];
  const rowsFirst = (v: Value, transposed: boolean) => (transposed ? b.transpose(v, [1, 0]) : v);
  const [examples] = dims(valid);
  const rows = product(dims(use.x)) / inputs;
  const { inner } = use;
  const outer = rows / examples / inner;
  return {
    inputs,
    outputs,
    groups: 1,
    inFirst: use.inFirst,
    positions: outer * inner,
    A: (scale, ones) => {
      const x = rowsFirst(use.x, use.xTransposed);
      const moment = (vectors: Value, weight: Value) =>
        b.node('second_moment', [vectors, scale, weight], { attrs: { axis: vectors.type.shape.length - 1, ones } });
      if (outer === 1) return moment(b.reshape(x, inner === 1 ? [rows, inputs] : [examples, inner, inputs]), valid);
      // The weights are for the first axis, which the examples do not head: one for each row.
      const spread = b.broadcast(b.reshape(valid, [1, examples, 1]), [outer, examples, inner]);
      return moment(x, b.reshape(spread, [rows]));
    },
    G: (scale) =>
      b.node('second_moment', [rowsFirst(use.dy, use.dyTransposed), scale], { attrs: { axis: 1, ones: false } }),
  };
}

/**
 * Adds the layer's statistics and inverses and returns U = G^-1 [dW | db] A^-1, split again into weight and bias.
 * @param use the contraction that is the weight's gradient
 * @param seen the one whose operands the statistics are of: `use`, or the same by other labels
 * @param name the weight's name: states are `<name>.A`, `<name>.G`, `<name>.A.inverse`, `<name>.G.inverse`
 */
export function precondition(
  ledger: Ledger,
  name: string,
  use: ConvUse | DenseUse,
  seen: ConvUse | DenseUse,
  bias: Value | undefined,
  batch: Batch,
): Preconditioned {
  const { b } = ledger;
  const ones = bias !== undefined;
  const form = seen.kind === 'conv' ? convForm(b, seen, batch.valid) : denseForm(b, seen, batch.valid);
  const groups = form.groups > 1 ? [form.groups] : [];
  const { count } = batch;
  const perRow = b.once(`${count.name} rows of ${form.positions}`, () => b.div(b.fill(1 / form.positions), count));
  const A = ledger.statistic(`${name}.A`, name, symmetric(form.inputs + (ones ? 1 : 0), groups), () =>
    form.A(perRow, ones),
  );
  const G = ledger.statistic(`${name}.G`, name, symmetric(form.outputs, groups), () => form.G(count));
  const { shiftA, shiftG } = splitDamping(b, A, G, batch.damping, {
    pi: (type, fresh) => ledger.pi(name, type, fresh),
    shift: (factor, fresh) => ledger.forInverse(`${name}.${factor}`, fresh),
  });
  const unpack = (v: Value) => b.node('unpack', [v]);
  const inverseA = unpack(ledger.inverse(`${name}.A`, name, A, shiftA));
  const inverseG = unpack(ledger.inverse(`${name}.G`, name, G, shiftG));

  const matrix = [...groups, ...(form.inFirst ? [form.inputs, form.outputs] : [form.outputs, form.inputs])];
  const axis = groups.length + (form.inFirst ? 0 : 1);
  const dw = b.reshape(batch.accumulated(use.node.results[0], `${name}.gradient`), matrix);
  const column = matrix.map((n, i) => (i === axis ? 1 : n));
  const gradient = bias
    ? b.node('concat', [dw, b.reshape(batch.accumulated(bias, `${name}.bias_gradient`), column)], { attrs: { axis } })
    : dw;
  const [left, right] = form.inFirst ? [inverseA, inverseG] : [inverseG, inverseA];
  const u = b.matmul(b.matmul(left, gradient), right, false, false, `${name}.natural`);
  const weight = bias ? b.sliceAxis(u, axis, 0, form.inputs) : u;
  return {
    weight: use.views.reduce(
      (v, view) => b.node(view.op, [v], { attrs: view.attrs }),
      b.reshape(weight, dims(use.node.results[0])),
    ),
    bias: bias && b.reshape(b.sliceAxis(u, axis, form.inputs, form.inputs + 1), dims(bias)),
  };
}
