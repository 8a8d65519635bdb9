/**
 * Alignment: which values hold exactly the elements of another one, each element once, and in which order. An epilogue may
 * hold a node only if each of its elements needs one element of the anchor's result; elementwise ops, reshapes and
 * transposes keep that, everything else loses it.
 */
import type { Node, Value } from '../../ir/graph.js';
import { intsOf } from '../../ir/ops/declare.js';
import { ops } from '../../ir/ops/table.js';
import { product, storedCount } from '../../ir/types.js';
import { type Index, reshapeIndex, spaceOf } from './indices.js';

/** A value's row-major traversal in terms of flat offsets of the space that it is aligned with, outermost factor first. */
export type Order = readonly { readonly extent: number; readonly stride: number }[];

export const rowMajor = (count: number): Order => (count === 1 ? [] : [{ extent: count, stride: 1 }]);

export function sameOrder(a: Order, b: Order): boolean {
  return a.length === b.length && a.every((f, i) => f.extent === b[i].extent && f.stride === b[i].stride);
}

function merge(factors: Order): Order {
  const out: { extent: number; stride: number }[] = [];
  for (const f of factors) {
    const last = out[out.length - 1];
    if (f.extent === 1) continue;
    if (last && last.stride === f.stride * f.extent)
      out[out.length - 1] = { extent: last.extent * f.extent, stride: f.stride };
    else out.push(f);
  }
  return out;
}

/** The factors of each dimension of `shape`; undefined where a dimension cuts through a factor unevenly. */
function byDimension(order: Order, shape: readonly number[]): Order[] | undefined {
  const rest = [...order];
  const groups: Order[] = [];
  for (const size of shape) {
    const group: { extent: number; stride: number }[] = [];
    let need = size;
    while (need > 1) {
      const f = rest.shift();
      if (!f) return undefined;
      if (need % f.extent === 0) {
        group.push(f);
        need /= f.extent;
      } else if (f.extent % need === 0) {
        const inner = f.extent / need;
        group.push({ extent: need, stride: f.stride * inner });
        rest.unshift({ extent: inner, stride: f.stride });
        need = 1;
      } else return undefined;
    }
    groups.push(group);
  }
  return groups;
}

/** Order of the node's result, given the orders of its operands that derive from the space; undefined: not aligned. */
export function resultOrder(node: Node, orderOf: (v: Value) => Order | null | undefined): Order | null | undefined {
  let order: Order | undefined;
  const count = node.results.length === 1 ? storedCount(node.results[0].type) : -1;
  for (let i = 0; i < node.operands.length; i++) {
    const o = node.operands[i];
    const own = orderOf(o);
    if (own === undefined) continue;
    if (own === null || storedCount(o.type) !== count || o.type.layout !== node.results[0].type.layout) return null;
    if (order && !sameOrder(order, own)) return null;
    order = own;
  }
  if (!order) return undefined;
  if (node.op === 'reshape' || count === 1) return order;
  if (node.op === 'transpose') {
    const groups = byDimension(order, spaceOf(node.operands[0].type));
    return groups ? merge(intsOf(node.attrs, 'perm').flatMap((p) => groups[p])) : null;
  }
  return ops[node.op].fuse === 'elementwise' && node.op !== 'random_uniform' ? order : null;
}

/** Orders, relative to `space`, of all values that `nodes` (in order) derive from it; null where a value is not aligned. */
export function alignments(nodes: readonly Node[], space: Value): Map<Value, Order | null> {
  const orders = new Map<Value, Order | null>([[space, rowMajor(storedCount(space.type))]]);
  for (const node of nodes) {
    if (node.results.includes(space)) continue;
    const order = resultOrder(node, (v) => orders.get(v));
    if (order !== undefined) orders.set(node.results[0], order);
  }
  return orders;
}

/** The index, in a value of `shape` with this order, of the element that has `index` in the space. */
export function alignedIndex(index: Index, space: readonly number[], order: Order, shape: readonly number[]): Index {
  const sorted = order.map((_, i) => i).sort((a, b) => order[b].stride - order[a].stride);
  if (sorted.every((s, i) => s === i)) return reshapeIndex(index, space, shape);
  const extents = sorted.map((i) => order[i].extent);
  if (product(extents) !== product(space)) throw new Error('an order must cover its space');
  const bySpace = reshapeIndex(index, space, extents);
  const permuted = order.map((_, i) => bySpace[sorted.indexOf(i)]);
  return reshapeIndex(
    permuted,
    order.map((f) => f.extent),
    shape,
  );
}
