/**
 * Fully connected layers and matrix products. A product of [.., T, in] with one matrix is written over rows [.. T, in], so that
 * its weight gradient is one product over rows, which the curvature pass recognises.
 */
import type { Value } from '../../../../ir/graph.js';
import { type Dim, dimMul, printShape } from '../../../../ir/types.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';

function matrix(n: NodeImport, v: Value): Value {
  return v.type.shape.length === 2 ? v : n.misfit(`an operand of shape ${printShape(v.type.shape)} is no matrix`);
}

/** Y = alpha op(A) op(B) + beta C. */
function gemm(n: NodeImport): Value {
  const [a, b] = [matrix(n, n.float(0)), matrix(n, n.float(1))];
  const [alpha, beta] = [n.number('alpha', 1), n.number('beta', 1)];
  const ta = n.flag('transA', false);
  const tb = n.flag('transB', false);
  const withBias = n.has(2) && beta !== 0;
  const last = withBias || alpha !== 1;
  const product = n.b.matmul(a, b, ta, tb, last ? `${n.name}.matmul` : n.name);
  const scaled = alpha === 1 ? product : n.op('mul', [product, n.scalar(alpha)]);
  if (!withBias) {
    n.ignore(2);
    return scaled;
  }
  const c = n.float(2);
  const y = n.result('add', [scaled, beta === 1 ? c : n.op('mul', [c, n.scalar(beta)])]);
  if (y.type.shape.length !== 2 || printShape(y.type.shape) !== printShape(product.type.shape))
    n.misfit(`C of shape ${printShape(c.type.shape)} does not broadcast to ${printShape(product.type.shape)}`);
  return y;
}

/** NumPy's matmul: vectors become matrices for the product, one matrix serves all leading dimensions. */
function matmul(n: NodeImport): Value {
  const [x, w] = [n.float(0), n.float(1)];
  const [p, q] = [x.type.shape, w.type.shape];
  if (p.length === 0 || q.length === 0) n.misfit('a scalar operand');
  if (p.length === 1 || q.length === 1) {
    const a = p.length === 1 ? n.reshape(x, [1, p[0]]) : x;
    const b = q.length === 1 ? n.reshape(w, [q[0], 1]) : w;
    const y = n.op('matmul', [a, b], { ta: false, tb: false });
    const shape = [...y.type.shape];
    if (q.length === 1) shape.pop();
    if (p.length === 1) shape.splice(shape.length - (q.length === 1 ? 1 : 2), 1);
    return n.reshape(y, shape);
  }
  if (p.length > 2 && q.length === 2) {
    const rows = p.slice(0, -1).reduce<Dim | undefined>((r, d) => (r === undefined ? r : dimMul(r, d)), 1);
    if (rows !== undefined) {
      const y = n.op('matmul', [n.reshape(x, [rows, p[p.length - 1]]), w], { ta: false, tb: false });
      return n.reshape(y, [...p.slice(0, -1), q[1]]);
    }
  }
  return n.result('matmul', [x, w], { ta: false, tb: false });
}

export const dense: Readonly<Record<string, Handler>> = {
  // Opset 7 replaced the attribute `broadcast` by broadcasting.
  Gemm: handler(7, gemm),
  MatMul: handler(1, matmul),
};
