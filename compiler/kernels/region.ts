/**
 * A region: the nodes that become exactly one kernel. Its anchor (a reduction, contraction or opaque op; none for a
 * purely pointwise region) fixes the loop nest; the other nodes are fused into its prologue (recomputed where an operand
 * is read) or its epilogue (applied to an element before it is stored).
 */
import type { Node, Value } from '../../ir/graph.js';

export interface Region {
  readonly anchor?: Node;
  /** All nodes computed here, in order, the anchor included. */
  readonly nodes: readonly Node[];
  /** Independent loop nests that share the dispatch (horizontal fusion); absent: the nodes are one nest. */
  readonly parts?: readonly (readonly Node[])[];
  /** Values read from memory. */
  readonly inputs: readonly Value[];
  /** Values written to memory. */
  readonly outputs: readonly Value[];
  /** Guard shared by all its nodes, if any. */
  readonly guard?: string;
  /** Why it did not grow further: a line for the report. */
  readonly stopped: string;
}
