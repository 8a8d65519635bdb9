/**
 * The nodes in an order in which they can be run: exporters and optimizers do not always write them so. Linear in the graph
 * (Kahn's algorithm; among nodes that are ready, the file's order).
 */
import { cyclicGraph, undefinedValue } from '../../../ir/diagnostics/onnx.js';
import type { OnnxModel, OnnxNode } from './decode.js';

/** All nodes, sorted. @throws UserError E103 on a cycle, E104 where a value is read that nothing defines */
export function sortNodes(model: OnnxModel): OnnxNode[] {
  const producer = new Map<string, OnnxNode>();
  for (const n of model.nodes) for (const o of n.outputs) producer.set(o, n);
  const given = new Set([...model.initializers.keys(), ...model.inputs.map((i) => i.name)]);
  const waiting = new Map<OnnxNode, number>();
  const readers = new Map<OnnxNode, OnnxNode[]>();
  for (const n of model.nodes) {
    let open = 0;
    for (const i of n.inputs) {
      if (i === '' || given.has(i)) continue;
      const from = producer.get(i);
      if (!from) throw undefinedValue(i, n.loc);
      const list = readers.get(from);
      if (list) list.push(n);
      else readers.set(from, [n]);
      open++;
    }
    waiting.set(n, open);
  }
  for (const o of model.outputs)
    if (!given.has(o) && !producer.has(o)) throw undefinedValue(o, 'the outputs of the graph');

  const sorted: OnnxNode[] = [];
  // Already sorted files keep their order: a node is emitted when the scan reaches it, later ones as they become ready.
  const ready: OnnxNode[] = [];
  const emit = (node: OnnxNode): void => {
    ready.push(node);
    for (let n = ready.pop(); n; n = ready.pop()) {
      sorted.push(n);
      waiting.set(n, -1);
      for (const r of readers.get(n) ?? []) {
        const left = waiting.get(r)! - 1;
        waiting.set(r, left);
        if (left === 0 && r.index < node.index) ready.push(r);
      }
    }
  };
  for (const n of model.nodes) if (waiting.get(n) === 0) emit(n);
  if (sorted.length < model.nodes.length) throw cycle(model, producer, waiting);
  return sorted;
}

/** Walks back from any node that is stuck: it must come to a node twice. */
function cycle(model: OnnxModel, producer: ReadonlyMap<string, OnnxNode>, waiting: ReadonlyMap<OnnxNode, number>) {
  const path: OnnxNode[] = [];
  const seen = new Map<OnnxNode, number>();
  let n = model.nodes.find((node) => waiting.get(node)! > 0)!;
  while (!seen.has(n)) {
    seen.set(n, path.length);
    path.push(n);
    n = n.inputs.map((i) => producer.get(i)).find((p) => p && waiting.get(p)! > 0)!;
  }
  const loop = path.slice(seen.get(n)).reverse();
  return cyclicGraph(
    loop.map((l) => l.name),
    loop[0].loc,
  );
}

/** The nodes that a graph output depends on, in the given order. */
export function liveNodes(sorted: readonly OnnxNode[], outputs: readonly string[]): OnnxNode[] {
  const needed = new Set(outputs);
  const live: OnnxNode[] = [];
  for (let k = sorted.length - 1; k >= 0; k--) {
    const n = sorted[k];
    if (!n.outputs.some((o) => needed.has(o))) continue;
    for (const i of n.inputs) needed.add(i);
    live.push(n);
  }
  return live.reverse();
}
