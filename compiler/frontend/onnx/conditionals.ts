/**
 * `If` on what is known when the model is compiled: the branch that is taken stands in the place of the node. Exporters write
 * conditions on shapes, and on constants. A condition that depends on data is refused.
 */
import { mustBeKnown } from '../../../ir/diagnostics/onnx.js';
import type { ModelProto, NodeProto } from './decode.js';
import { definedIn, type GraphProto, Names, readBy, renamed } from './subgraphs.js';

const isConditional = (n: NodeProto): boolean =>
  n.opType === 'If' && (n.domain === '' || n.domain === 'ai.onnx' || !n.domain);

/**
 * Which of the named values (conditions) are true and which are false, as far as that can be told: none of them depends on
 * another conditional. A value that depends on data is in neither.
 */
export type Decide = (model: ModelProto, conditions: readonly string[]) => ReadonlyMap<string, boolean>;

/**
 * @param opset version of ai.onnx, for the message
 * @throws UserError E115 where the graph's outputs depend on a condition that is not known
 */
export function foldConditionals(model: ModelProto, decide: Decide, opset: number): ModelProto {
  let current = model;
  for (;;) {
    const graph = current.graph!;
    if (!(graph.node ?? []).some(isConditional)) return current;
    const { live, behind } = dependencies(graph);
    const pending = (graph.node ?? []).filter((n) => isConditional(n) && live.has(n));
    // Those that wait for no other conditional.
    const ready = pending.filter((n) => !behind(n.input?.[0] ?? ''));
    const known = ready.length > 0 ? decide(current, [...new Set(ready.map((n) => n.input?.[0] ?? ''))]) : new Map();
    const decided = ready.filter((n) => known.has(n.input?.[0] ?? ''));
    const stuck = pending[0];
    if (stuck && decided.length === 0) {
      const loc = { kind: 'onnx', node: stuck.name ?? '', op: 'If' } as const;
      throw mustBeKnown('If', opset, `the condition (input #0, "${stuck.input?.[0] ?? ''}")`, loc);
    }
    const names = new Names(graph);
    const initializer = [...(graph.initializer ?? [])];
    const node = (graph.node ?? []).flatMap((n) => {
      if (!isConditional(n) || (live.has(n) && !decided.includes(n))) return [n];
      // What nothing reads is left out.
      if (!live.has(n)) return [];
      const branch = branchOf(n, known.get(n.input?.[0] ?? '') === true);
      const spliced = splice(n, branch, names);
      initializer.push(...spliced.initializer);
      return spliced.node;
    });
    current = { ...current, graph: { ...graph, node, initializer } };
  }
}

const branchOf = (n: NodeProto, taken: boolean): GraphProto =>
  (n.attribute ?? []).find((a) => a.name === (taken ? 'then_branch' : 'else_branch'))?.g ?? {};

/** Nodes that the graph's outputs depend on, and whether a value depends on a conditional. */
function dependencies(graph: GraphProto): {
  live: ReadonlySet<NodeProto>;
  behind: (value: string) => boolean;
} {
  const producer = new Map<string, NodeProto>();
  for (const n of graph.node ?? []) for (const o of n.output ?? []) producer.set(o, n);
  const reach = (from: readonly string[]): Set<NodeProto> => {
    const seen = new Set<NodeProto>();
    const open = [...from];
    for (let value = open.pop(); value !== undefined; value = open.pop()) {
      const n = producer.get(value);
      if (!n || seen.has(n)) continue;
      seen.add(n);
      open.push(...readBy(n));
    }
    return seen;
  };
  return {
    live: reach((graph.output ?? []).map((v) => v.name ?? '')),
    behind: (value) => [...reach([value])].some(isConditional),
  };
}

/** The branch's nodes and initializers, its outputs under the names of the node's. */
function splice(
  n: NodeProto,
  branch: GraphProto,
  names: Names,
): { node: NodeProto[]; initializer: NonNullable<GraphProto['initializer']> } {
  const produced = new Set((branch.node ?? []).flatMap((m) => m.output ?? []));
  const values = new Map<string, string>();
  const passed: { from: string; to: string }[] = [];
  (branch.output ?? []).forEach((v, i) => {
    const [from, to] = [v.name ?? '', n.output?.[i] ?? ''];
    if (to === '') return;
    if (produced.has(from) && !values.has(from)) values.set(from, to);
    else passed.push({ from, to });
  });
  // Names of branches are their own; those that the model has elsewhere too get a number.
  for (const own of definedIn(branch)) if (!values.has(own)) values.set(own, names.moved(own));
  const rename = (value: string): string => values.get(value) ?? value;
  const fresh = (value: string): string => names.moved(value);
  return {
    node: [
      ...(branch.node ?? []).map((m) => renamed(m, `${n.name || n.output?.[0]}/`, rename, fresh)),
      ...passed.map(({ from, to }) => ({
        opType: 'Identity',
        name: `${n.name}/${to}`,
        input: [rename(from)],
        output: [to],
      })),
    ],
    initializer: (branch.initializer ?? []).map((t) => ({ ...t, name: rename(t.name ?? '') })),
  };
}
