/**
 * Nodes moved from one graph into another: a function's into its caller's, a branch's into the graph that holds it. Names are
 * renamed on the way, in subgraphs too, so that each is defined once in the whole model.
 */
import type onnxProto from 'onnx-proto';
import type { NodeProto } from './decode.js';

export type GraphProto = onnxProto.onnx.IGraphProto;
type AttributeProto = onnxProto.onnx.IAttributeProto;

/** Graphs that a node holds. */
export const graphsOf = (n: NodeProto): GraphProto[] =>
  (n.attribute ?? []).flatMap((a) => [...(a.g ? [a.g] : []), ...(a.graphs ?? [])]);

/** Far more than exporters nest, and few enough for a walk that calls itself. */
const MOST_NESTED = 64;

/** Whether graphs within graphs go deeper than what is walked. */
export function nestedTooDeep(nodes: readonly NodeProto[], most = MOST_NESTED): boolean {
  return nodes.some((n) => graphsOf(n).some((g) => most === 0 || nestedTooDeep(g.node ?? [], most - 1)));
}

/** The attribute with its graphs put through `f`. */
export function mapGraphs(a: AttributeProto, f: (g: GraphProto) => GraphProto): AttributeProto {
  if (a.g) return { ...a, g: f(a.g) };
  return a.graphs?.length ? { ...a, graphs: a.graphs.map(f) } : a;
}

/** Names that the graph defines: its own, not those of graphs within. */
export function definedIn(g: GraphProto): string[] {
  return [
    ...(g.input ?? []).map((v) => v.name ?? ''),
    ...(g.initializer ?? []).map((t) => t.name ?? ''),
    ...(g.node ?? []).flatMap((n) => n.output ?? []),
  ].filter((name) => name !== '');
}

/** Names of the surrounding graph that a node reads, as inputs or from within its graphs. */
export function readBy(n: NodeProto): string[] {
  const captured = graphsOf(n).flatMap((g) => {
    const own = new Set(definedIn(g));
    const read = [...(g.node ?? []).flatMap(readBy), ...(g.output ?? []).map((v) => v.name ?? '')];
    return read.filter((name) => !own.has(name));
  });
  return [...(n.input ?? []), ...captured].filter((name) => name !== '');
}

/** The names of a model, and new ones that it does not have yet. */
export class Names {
  /** How often each name is defined. */
  private readonly taken = new Map<string, number>();

  constructor(graph: GraphProto) {
    this.take(graph);
  }

  private take(g: GraphProto): void {
    for (const name of definedIn(g)) this.taken.set(name, (this.taken.get(name) ?? 0) + 1);
    for (const n of g.node ?? []) for (const inner of graphsOf(n)) this.take(inner);
  }

  /** `wish`, or with a number behind it. */
  fresh(wish: string): string {
    let name = wish;
    for (let i = 1; this.taken.has(name); i++) name = `${wish}_${i}`;
    this.taken.set(name, 1);
    return name;
  }

  /** A name of a graph within: itself where no other graph has it. */
  moved(name: string): string {
    return this.taken.get(name) === 1 ? name : this.fresh(name);
  }
}

/**
 * The node with its values renamed and `prefix` before its name; what graphs within define is renamed by `fresh`. Nodes of graphs
 * within keep their names until they are moved themselves, from a node that has the prefix by then.
 */
export function renamed(
  n: NodeProto,
  prefix: string,
  rename: (value: string) => string,
  fresh: (value: string) => string,
): NodeProto {
  const inGraph = (g: GraphProto): GraphProto => {
    const own = new Map(definedIn(g).map((value) => [value, fresh(value)]));
    const inner = (value: string): string => own.get(value) ?? rename(value);
    const named = <T extends { name?: string | null }>(v: T): T => ({ ...v, name: inner(v.name ?? '') });
    return {
      ...g,
      node: (g.node ?? []).map((m) => renamed(m, '', inner, fresh)),
      input: (g.input ?? []).map(named),
      initializer: (g.initializer ?? []).map(named),
      output: (g.output ?? []).map(named),
      valueInfo: [],
    };
  };
  const value = (v: string): string => (v === '' ? '' : rename(v));
  return {
    ...n,
    name: `${prefix}${n.name}`,
    input: (n.input ?? []).map(value),
    output: (n.output ?? []).map(value),
    attribute: (n.attribute ?? []).map((a) => mapGraphs(a, inGraph)),
  };
}
