/**
 * Binds the symbolic batch: `train` to the training batch, every other function to the evaluation batch. After it all
 * shapes are numbers.
 */
import type { Attrs, Module, Node } from '../../ir/graph.js';
import { shapeAttr, shapeOf } from '../../ir/ops/views.js';
import { mapFunctions, rebuild } from '../../ir/rewrite.js';
import { bindShape } from '../../ir/types.js';

export function bindBatch(module: Module, batch: { readonly train: number; readonly eval: number }): Module {
  return mapFunctions(module, (func) => {
    const sizes = { N: func.name === 'train' ? batch.train : batch.eval };
    const attrs = (node: Node): Attrs =>
      'shape' in node.attrs ? { ...node.attrs, shape: shapeAttr(bindShape(shapeOf(node.attrs), sizes)) } : node.attrs;
    return rebuild(func, 'bind-batch', { type: (v) => ({ ...v.type, shape: bindShape(v.type.shape, sizes) }), attrs });
  });
}
