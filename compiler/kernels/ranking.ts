/**
 * A function's nodes and values as numbers, so that fusion keeps what it finds out about them in arrays. A node's number is its
 * rank: its place in an order by depth (longest path from an input), in which operands come first.
 */
import type { Func, Node, Value } from '../../ir/graph.js';
import { ops } from '../../ir/ops/table.js';
import { storedCount } from '../../ir/types.js';
import { ValueMap } from '../../ir/value-map.js';
import { isAnchor } from './archetype.js';

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
  readonly operands: readonly (readonly number[])[];
  /** By rank: number of the first result; further ones follow. */
  readonly result: Int32Array;
  /** By value: ranks of the nodes that read it, ascending. */
  readonly users: readonly (readonly number[])[];
  readonly values: readonly Value[];
  readonly numbers: Pick<ValueMap<number>, 'get'>;
  /** By value: rank of the node that computes it, -1 for inputs and state as found. */
  readonly definition: Int32Array;
  /** By value: elements in memory. */
  readonly count: Float64Array;
}

const nobody: readonly number[] = [];

export function rankNodes(func: Func): Ranking {
  const values: Value[] = [...func.inputs, ...func.reads];
  const numbers = new ValueMap<number>();
  for (let v = 0; v < values.length; v++) numbers.set(values[v], v);
  const size = func.nodes.length;
  let total = values.length;
  for (let i = 0; i < size; i++) total += func.nodes[i].results.length;
  // First by place in the function, then by rank.
  const read = new Array<readonly number[]>(size);
  const made = new Int32Array(size);
  /** By value: nodes that read it. */
  const readers = new Int32Array(total);
  const depth = new Int32Array(total);
  const layers: number[] = [];
  const depthOf = new Int32Array(size);
  for (let i = 0; i < size; i++) {
    const node = func.nodes[i];
    const own = node.operands.map((o) => numbers.get(o)!);
    let d = 0;
    for (let k = 0; k < own.length; k++) {
      d = Math.max(d, depth[own[k]]);
      if (own.indexOf(own[k]) === k) readers[own[k]]++;
    }
    read[i] = own;
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
  const operands = new Array<readonly number[]>(size);
  const result = new Int32Array(size);
  const anchor = new Uint8Array(size);
  const elementwise = new Uint8Array(size);
  const definition = new Int32Array(total).fill(-1);
  const users = new Array<readonly number[] | number[]>(total).fill(nobody);
  const filled = new Int32Array(total);
  for (let rank = 0; rank < size; rank++) {
    const i = position[rank];
    const node = func.nodes[i];
    nodes[rank] = node;
    operands[rank] = read[i];
    result[rank] = made[i];
    anchor[rank] = Number(isAnchor(node));
    elementwise[rank] = Number(ops[node.op].fuse === 'elementwise');
    for (let r = 0; r < node.results.length; r++) definition[made[i] + r] = rank;
    for (let k = 0; k < read[i].length; k++) {
      const o = read[i][k];
      if (read[i].indexOf(o) !== k) continue;
      if (filled[o] === 0) users[o] = new Array<number>(readers[o]);
      (users[o] as number[])[filled[o]++] = rank;
    }
  }
  const count = new Float64Array(total);
  for (let v = 0; v < total; v++) count[v] = storedCount(values[v].type);
  return { nodes, position, anchor, elementwise, operands, result, users, values, numbers, definition, count };
}
