/**
 * Convolutions whose windows lie side by side, each of many elements: the first layer of a vision transformer, or a window as
 * large as its image. They are products
 * over rows of patches, and so are their weight gradient and the second moment of their patches. As windows they would be cut
 * into a plane for each of hundreds of taps.
 */
import type { Builder } from '../../ir/builder.js';
import type { Module, Node, Value } from '../../ir/graph.js';
import type { OpName } from '../../ir/ops/table.js';
import { mapFunctions, rebuild } from '../../ir/rewrite.js';
import { concrete, product } from '../../ir/types.js';

/** Below, taps are few enough to be written out. */
const LEAST_TAPS = 64;

type Rewrite = (node: Node, operands: readonly Value[], b: Builder) => readonly Value[] | undefined;

/** Does the kernel meet each element of the image once? */
function isTiling(node: Node, image: readonly number[], kernel: readonly number[]): boolean {
  const { strides, pads, dilations, groups } = node.attrs as Record<string, readonly number[]>;
  return (
    kernel[0] * kernel[1] >= LEAST_TAPS &&
    Number(groups) === 1 &&
    pads.every((p) => p === 0) &&
    [0, 1].every(
      (d) => dilations[d] === 1 && (image[d] === kernel[d] || (strides[d] === kernel[d] && image[d] % kernel[d] === 0)),
    )
  );
}

/** x[N,C,H,W] as patches [N, positions, C kh kw], features in the order of a convolution's weight. */
function patches(b: Builder, x: Value, [kh, kw]: readonly number[]): Value {
  const [n, c, h, w] = concrete(x.type.shape);
  const [rows, columns] = [h / kh, w / kw];
  const apart = b.reshape(x, [n, c, rows, kh, columns, kw], `${x.name}.tiles`);
  const turned = b.transpose(apart, [0, 2, 4, 1, 3, 5], `${x.name}.patches`);
  return b.reshape(turned, [n, rows * columns, c * kh * kw]);
}

/** [N, P, D] as rows. */
const flat = (b: Builder, v: Value): Value => {
  const [n, p, d] = concrete(v.type.shape);
  return b.reshape(v, [n * p, d]);
};

const rules: Partial<Record<OpName, Rewrite>> = {
  conv: (node, [x, w], b) => {
    const [o, c, ...kernel] = concrete(w.type.shape);
    if (!isTiling(node, concrete(x.type.shape).slice(2), kernel)) return undefined;
    const [n, , h, width] = concrete(node.results[0].type.shape);
    const rows = flat(b, patches(b, x, kernel));
    const y = b.matmul(rows, b.reshape(w, [o, c * product(kernel)]), false, true);
    return [b.transpose(b.reshape(y, [n, h, width, o]), [0, 3, 1, 2], node.results[0].name)];
  },
  conv_weight_grad: (node, [x, dy], b) => {
    const kernel = node.attrs.kernel as readonly number[];
    if (!isTiling(node, concrete(x.type.shape).slice(2), kernel)) return undefined;
    const [n, o, h, w] = concrete(dy.type.shape);
    const rows = b.reshape(b.transpose(dy, [0, 2, 3, 1]), [n * h * w, o]);
    const dw = b.matmul(rows, flat(b, patches(b, x, kernel)), true, false);
    return [b.reshape(dw, node.results[0].type.shape, node.results[0].name)];
  },
  patch_second_moment: (node, [x, ...rest], b) => {
    const kernel = node.attrs.kernel as readonly number[];
    if (!isTiling(node, concrete(x.type.shape).slice(2), kernel)) return undefined;
    const attrs = { axis: 2, ones: node.attrs.ones };
    const { name } = node.results[0];
    return [b.node('second_moment', [patches(b, x, kernel), ...rest], { attrs, name, guard: node.guard })];
  },
};

export function patchesToRows(module: Module): Module {
  return mapFunctions(module, (func) =>
    rebuild(func, 'patches-to-rows', { replace: (node, operands, b) => rules[node.op]?.(node, operands, b) }),
  );
}
