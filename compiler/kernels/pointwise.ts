/**
 * Regions without an anchor: one loop nest over the elements, all operands inlined. Outputs of one part share the loops; a
 * concatenation gets one nest per operand, so that no element has to ask which operand it comes from.
 */
import type { Node, Value } from '../../ir/graph.js';
import { add, i32, type Kernel, type Stmt, store } from '../../ir/kernel.js';
import { numberOf } from '../../ir/ops/declare.js';
import { concrete } from '../../ir/types.js';
import { alignments } from './alignment.js';
import { Elements, storesFrom } from './elements.js';
import { Frame, finishKernel } from './frame.js';
import { spaceOf } from './indices.js';
import { spanning, storeNest } from './nest.js';
import type { Region } from './region.js';

export function lowerPointwise(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  return finishKernel(
    frame,
    name,
    frame.parts().flatMap((part) => pointwiseNest(frame, part)),
  );
}

/** A value with which all outputs are aligned: an output itself, or the node that they all derive from. */
function spaceFor(region: Region): Value {
  const candidates = [...region.outputs, ...region.nodes.flatMap((n) => n.results)];
  const found = candidates.find((v) => {
    const orders = alignments(region.nodes, v);
    return region.outputs.every((o) => orders.get(o));
  });
  if (!found) throw new Error(`the outputs ${region.outputs.map((o) => o.name)} share no loops`);
  return found;
}

/** The loop nest of one part. */
function pointwiseNest(frame: Frame, region: Region): Stmt[] {
  const elements = new Elements(region, frame.parameters);
  const [first, ...rest] = region.outputs;
  const node = region.nodes.find((n) => n.results.includes(first));
  if (node?.op === 'concat' && rest.length === 0) return concatNests(frame, node, elements);
  const shape = spaceOf(first.type);
  if (rest.every((v) => sameShape(spaceOf(v.type), shape))) {
    const { index, dims } = spanning(frame, shape);
    const stores = region.outputs.map((v) =>
      store(elements.memory(v), elements.offset(v, index), elements.at(v, index)),
    );
    return storeNest(frame, dims, stores);
  }
  const space = spaceFor(region);
  const { index, dims } = spanning(frame, spaceOf(space.type));
  return storeNest(frame, dims, storesFrom(space, region, elements)(index, elements.at(space, index)));
}

const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i]);

function concatNests(frame: Frame, node: Node, elements: Elements): Stmt[] {
  const axis = numberOf(node.attrs, 'axis');
  const [out] = node.results;
  let start = 0;
  return node.operands.flatMap((operand) => {
    const shape = concrete(operand.type.shape);
    const { index, dims } = spanning(frame, shape);
    const at = index.map((e, d) => (d === axis ? add(e, i32(start)) : e));
    start += shape[axis];
    return storeNest(frame, dims, [store(elements.memory(out), elements.offset(out, at), elements.at(operand, index))]);
  });
}
