/**
 * Regions without an anchor: one loop nest over the elements, all operands inlined. Outputs of one part share the loops; a
 * concatenation gets one nest per operand, so that no element has to ask which operand it comes from. `pointwiseNests` says
 * what the nests are, for every target; `lowerPointwise` makes loops of them as a CPU wants them.
 */
import type { Node, Value } from '../../ir/graph.js';
import { add, i32, type Kernel, type Stmt, store } from '../../ir/kernel.js';
import { numberOf } from '../../ir/ops/declare.js';
import { concrete } from '../../ir/types.js';
import type { Dimension } from './affine.js';
import { alignments } from './alignment.js';
import { joins } from './archetype.js';
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
    pointwiseNests(frame).flatMap(({ dims, stores }) => storeNest(frame, dims, stores)),
  );
}

/** Independent stores over the space that `dims` span. */
export interface Nest {
  readonly dims: readonly Dimension[];
  readonly stores: readonly Stmt[];
}

export function pointwiseNests(frame: Frame): Nest[] {
  return frame.parts().flatMap((part) => nestsOf(frame, part));
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

/** The loop nests of one part. */
function nestsOf(frame: Frame, region: Region): Nest[] {
  const elements = new Elements(region, frame.parameters);
  const [first, ...rest] = region.outputs;
  const node = region.nodes.find((n) => n.results.includes(first));
  if (node && joins(node) && rest.length === 0) return joinNests(frame, node, elements);
  const shape = spaceOf(first.type);
  if (rest.every((v) => sameShape(spaceOf(v.type), shape))) {
    const { index, dims } = spanning(frame, shape);
    const stores = region.outputs.map((v) =>
      store(elements.memory(v), elements.offset(v, index), elements.at(v, index)),
    );
    return [{ dims, stores }];
  }
  const space = spaceFor(region);
  const { index, dims } = spanning(frame, spaceOf(space.type));
  return [{ dims, stores: storesFrom(space, region, elements)(index, elements.at(space, index)) }];
}

const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i]);

function joinNests(frame: Frame, node: Node, elements: Elements): Nest[] {
  const [out] = node.results;
  if (node.op === 'stack')
    return node.operands.map((operand, k) => {
      const at = [i32(k)];
      return { dims: [], stores: [store(elements.memory(out), elements.offset(out, at), elements.at(operand, []))] };
    });
  const axis = numberOf(node.attrs, 'axis');
  let start = 0;
  return node.operands.map((operand) => {
    const shape = concrete(operand.type.shape);
    const { index, dims } = spanning(frame, shape);
    const at = index.map((e, d) => (d === axis ? add(e, i32(start)) : e));
    start += shape[axis];
    return { dims, stores: [store(elements.memory(out), elements.offset(out, at), elements.at(operand, index))] };
  });
}
