/**
 * A function's nodes and values as numbers, so that fusion keeps what it finds out about them in arrays. A node's number is its
 * rank: its place in an order by depth (longest path from an input), in which operands come first.
 */
import type { Func, Node, Value } from '../../ir/graph.js';
import { ops } from '../../ir/ops/table.js';
import { storedCount } from '../../ir/types.js';
import { ValueMap } from '../../ir/value-map.js';
import { isAnchor } from './archetype.js';

/** Lists of numbers, one behind the other: list `i` lies in `all` from begin[i] to begin[i + 1]. */
export interface Lists {
  readonly begin: Int32Array;
  readonly all: Int32Array;
}

export interface Ranking {
  /** By rank. */
  readonly nodes: readonly Node[];
  /** By rank: place in the function. */
  readonly position: Int32Array;
  /** By rank: whether the node fixes a loop nest of its own. */
  readonly anchor: Uint8Array;
  /** By rank: whether the op is elementwise. */
  readonly elementwise: Uint8Array;
  /** By rank: numbers of the operands. */
  readonly operands: Lists;
  /** By rank: number of the first result; further ones follow. */
  readonly result: Int32Array;
  /** By value: ranks of the nodes that read it, each once, ascending. */
  readonly users: Lists;
  readonly values: readonly Value[];
  readonly numbers: Pick<ValueMap<number>, 'get'>;
  /** By value: rank of the node that computes it, -1 for inputs and state as found. */
  readonly definition: Int32Array;
  /** By value: elements in memory. */
  readonly count: Float64Array;
}

export function rankNodes(func: Func): Ranking {
  const values: Value[] = [...func.inputs, ...func.reads];
  const numbers = new ValueMap<number>();
  for (let v = 0; v < values.length; v++) numbers.set(values[v], v);
  const size = func.nodes.length;
  let total = values.length;
  let uses = 0;
  for (let i = 0; i < size; i++) {
    total += func.nodes[i].results.length;
    uses += func.nodes[i].operands.length;
  }
  // First by place in the function, then by rank.
  const read = listsOf(size, uses);
  const made = new Int32Array(size);
  /** By value: nodes that read it, and the last that did, counted from 1. */
  const readers = new Int32Array(total);
  const reader = new Int32Array(total);
  const depth = new Int32Array(total);
  const layers: number[] = [];
  const depthOf = new Int32Array(size);
  for (let i = 0, at = 0; i < size; i++) {
    const node = func.nodes[i];
    let d = 0;
    for (let k = 0; k < node.operands.length; k++, at++) {
      const o = numbers.get(node.operands[k])!;
      read.all[at] = o;
      if (depth[o] > d) d = depth[o];
      if (reader[o] !== i + 1) readers[o]++;
      reader[o] = i + 1;
    }
    read.begin[i + 1] = at;
    depthOf[i] = d;
    layers[d] = (layers[d] ?? 0) + 1;
    made[i] = values.length;
    for (let r = 0; r < node.results.length; r++) {
      depth[values.length] = d + 1;
      numbers.set(node.results[r], values.length);
      values.push(node.results[r]);
    }
  }
  let start = 0;
  for (let d = 0; d < layers.length; d++) {
    const own = layers[d];
    layers[d] = start;
    start += own;
  }
  const position = new Int32Array(size);
  for (let i = 0; i < size; i++) position[layers[depthOf[i]]++] = i;

  const nodes = new Array<Node>(size);
  const operands = listsOf(size, uses);
  const result = new Int32Array(size);
  const anchor = new Uint8Array(size);
  const elementwise = new Uint8Array(size);
  const definition = new Int32Array(total).fill(-1);
  const users = listsOf(total, uses);
  for (let v = 0; v < total; v++) users.begin[v + 1] = users.begin[v] + readers[v];
  const filled = users.begin.slice();
  reader.fill(0);
  for (let rank = 0, at = 0; rank < size; rank++) {
    const i = position[rank];
    const node = func.nodes[i];
    nodes[rank] = node;
    result[rank] = made[i];
    anchor[rank] = Number(isAnchor(node));
    elementwise[rank] = Number(ops[node.op].fuse === 'elementwise');
    for (let r = 0; r < node.results.length; r++) definition[made[i] + r] = rank;
    for (let k = read.begin[i]; k < read.begin[i + 1]; k++, at++) {
      const o = read.all[k];
      operands.all[at] = o;
      if (reader[o] !== i + 1) users.all[filled[o]++] = rank;
      reader[o] = i + 1;
    }
    operands.begin[rank + 1] = at;
  }
  const count = new Float64Array(total);
  for (let v = 0; v < total; v++) count[v] = storedCount(values[v].type);
  return { nodes, position, anchor, elementwise, operands, result, users, values, numbers, definition, count };
}

/** @param length of all lists together, at most */
const listsOf = (count: number, length: number): Lists => ({
  begin: new Int32Array(count + 1),
  all: new Int32Array(length),
});
