/**
 * What each op means to fusion and lowering, beyond its declared fuse kind: how much computation it can take in front of
 * each operand, whether nodes can follow it in its kernel, and which lowering makes that kernel.
 */
import type { Node, Value } from '../../ir/graph.js';
import { ops } from '../../ir/ops/table.js';

/** Budget of a kernel that evaluates each operand element about once. */
export const ONCE = 64;
/** Packing a contraction's panels evaluates an element several times. */
const SEVERAL = 4;
/** Windows overlap: each element is evaluated up to kernel-area times. */
const OFTEN = 1;

/**
 * Cost of ops that may be computed in front of the operand `operand`, in units of one addition; undefined: it must lie in memory.
 */
export function prologueBudget(node: Node, operand: Value): number | undefined {
  switch (ops[node.op].fuse) {
    case 'elementwise':
    case 'view':
    case 'source':
    case 'reduction':
      return ONCE;
    case 'contraction':
      return SEVERAL;
    case 'opaque':
      // A shift is read once a matrix.
      if (node.op === 'damped_inverse')
        return node.operands[0] !== operand && node.operands[2] !== operand ? ONCE : undefined;
      if (node.op === 'shift_history' || node.op === 'refresh') return undefined;
      return node.op === 'scatter_add' ? SEVERAL : OFTEN;
    case 'composite':
      throw new Error(`${node.op} must be expanded before fusion`);
  }
}

/** Whether elementwise nodes may be applied to the node's result before it is stored. */
export function takesEpilogue(node: Node): boolean {
  // A scatter adds into its result many times; a damped inverse may keep what was there; history is written as it is read.
  return node.op !== 'damped_inverse' && node.op !== 'shift_history' && node.op !== 'scatter_add';
}

/** Whether the node fixes a loop nest of its own. */
export function isAnchor(node: Node): boolean {
  const kind = ops[node.op].fuse;
  return (kind === 'reduction' || kind === 'contraction' || kind === 'opaque') && node.op !== 'refresh';
}

const expensive = new Set<string>(['exp', 'log', 'tanh', 'erf', 'sigmoid', 'pow', 'random_uniform']);
const slow = new Set<string>(['div', 'sqrt', 'reciprocal']);

/** More than an inverse would compute before itself: else there were as many kernels of inverses as ratios of widths. */
const PI_COST = 20;

/** Whether the elements of the result come from several operands. */
export const joins = ({ op }: Node): boolean => op === 'concat' || op === 'stack';

/** Cost of one element, in additions: views move, sources are constants. */
export function elementCost(node: Node): number {
  if (ops[node.op].fuse === 'source') return 0;
  if (ops[node.op].fuse === 'view') return joins(node) ? node.operands.length - 1 : 0;
  if (node.op === 'pi') return PI_COST;
  return ops[node.op].cost ?? (expensive.has(node.op) ? 8 : slow.has(node.op) ? 2 : 1);
}
