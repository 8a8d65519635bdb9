/**
 * Softmax and LogSoftmax; Dropout.
 */
import type { Value } from '../../../../ir/graph.js';
import { type Dim, dimMul, printShape, type Shape } from '../../../../ir/types.js';
import { nameKey } from '../../init.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';

/** From opset 13 on along one axis; before, over all axes from `axis` on, as if the tensor were a matrix. */
function softmaxLike(n: NodeImport, op: 'softmax' | 'log_softmax'): Value {
  const x = n.float(0);
  const { shape } = x.type;
  const axis = n.axis(n.number('axis', n.opset < 13 ? 1 : -1), shape.length);
  if (n.opset >= 13 || axis === shape.length - 1) {
    if (typeof shape[axis] !== 'number') n.unsupported('a softmax over the batch');
    return n.result(op, [x], { axis });
  }
  const matrix = [shape.slice(0, axis), shape.slice(axis)].map((part) =>
    part.reduce<Dim>((p, d) => dimMul(p, d) ?? n.unsupported('two batch axes'), 1),
  );
  if (typeof matrix[1] !== 'number') n.unsupported('a softmax over the batch');
  return n.reshape(n.result(op, [n.reshape(x, matrix)], { axis: 1 }), shape);
}

/** Uniform numbers in x's shape, drawn example by example wherever its batch axis is. */
function uniformLike(n: NodeImport, shape: Shape): Value {
  const axis = shape.findIndex((d) => typeof d !== 'number');
  const batch = shape[axis];
  if (axis < 0 || typeof batch === 'number')
    return n.unsupported(`data of shape ${printShape(shape)} without a batch axis`);
  const { symbol, factor } = batch;
  if (axis > 0 && factor !== 1) n.unsupported(`data of shape ${printShape(shape)}`);
  // [N*T, C] is drawn as [N, T, C]; [T, N, C] as [N, T, C], then turned.
  const rest = shape.filter((_, i) => i !== axis);
  const drawn: Shape = [{ symbol, factor: 1 }, ...(factor === 1 ? [] : [factor]), ...rest];
  const attrs = {
    shape: drawn.map((d) => printShape([d]).slice(1, -1)),
    key: nameKey(n.node.outputs[0] || n.node.name) & 0x7fffffff,
  };
  const u = n.op('random_uniform', [n.pass.rng()], attrs);
  if (axis === 0) return n.reshape(u, shape);
  return n.b.transpose(
    u,
    shape.map((_, i) => (i === axis ? 0 : i < axis ? i + 1 : i)),
    `${n.name}.turned`,
  );
}

/** Training: each element is dropped with probability `ratio`, the others grow by 1 / (1 - ratio). Prediction: identity. */
function dropout(n: NodeImport): readonly (Value | undefined)[] {
  const x = n.float(0);
  // Opset 12 made the ratio an input. training_mode says how the file was exported, not how it will be used.
  const ratio = (n.opset < 12 ? n.number('ratio') : n.has(1) ? n.knownScalar(1, 'the ratio') : undefined) ?? 0.5;
  n.ignore(2);
  n.ignoreAttributes('seed', 'is_test');
  if (!(ratio >= 0 && ratio <= 1)) n.misfit(`ratio ${ratio}`);
  const active = n.mode === 'train' && n.pass.dropout && ratio > 0;
  if (!active) return [x, n.wants(1) ? n.b.fill(1, x.type.shape, 'bool', `${n.name}.mask`) : undefined];
  const drop = n.op('less', [uniformLike(n, x.type.shape), n.scalar(ratio)]);
  const scale = n.op('select', [drop, n.scalar(0), n.scalar(ratio === 1 ? 0 : 1 / (1 - ratio))]);
  const y = n.result('mul', [x, scale]);
  return [y, n.wants(1) ? n.op('not', [drop]) : undefined];
}

export const heads: Readonly<Record<string, Handler>> = {
  Softmax: handler(1, (n) => softmaxLike(n, 'softmax')),
  LogSoftmax: handler(1, (n) => softmaxLike(n, 'log_softmax')),
  Dropout: handler(1, dropout),
};
