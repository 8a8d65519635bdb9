/**
 * Removes nodes, inputs and state reads that no output and no update needs, then state that no function touches.
 */
import type { Func, Module, Node, Value } from '../../ir/graph.js';
import { mapFunctions, withPart } from '../../ir/rewrite.js';
import { ValueMap } from '../../ir/value-map.js';

function prune(func: Func): Func {
  const live = new ValueMap<true>();
  const isLive = (v: Value): boolean => live.get(v) === true;
  for (const o of func.outputs) live.set(o.value, true);
  for (const u of func.updates) live.set(u.value, true);
  const nodes: Node[] = [];
  for (let i = func.nodes.length - 1; i >= 0; i--) {
    const node = func.nodes[i];
    if (!(node.results.length === 1 ? isLive(node.results[0]) : node.results.some(isLive))) continue;
    nodes.push(node);
    for (let k = 0; k < node.operands.length; k++) live.set(node.operands[k], true);
  }
  const inputs = func.inputs.filter(isLive);
  const reads = func.reads.filter(isLive);
  const all =
    nodes.length === func.nodes.length && inputs.length === func.inputs.length && reads.length === func.reads.length;
  return all ? func : withPart(func, inputs, reads, nodes.reverse());
}

export function removeDeadCode(module: Module): Module {
  const pruned = mapFunctions(module, prune);
  const touched = new Set<string>();
  for (const f of pruned.functions) {
    for (let i = 0; i < f.reads.length; i++) touched.add(f.reads[i].name);
    for (let i = 0; i < f.updates.length; i++) touched.add(f.updates[i].state);
  }
  // A parameter that nothing reads still belongs to the model that is exported.
  const state = module.state.filter((s) => touched.has(s.name) || s.role === 'parameter');
  return state.length === module.state.length ? pruned : { ...pruned, state };
}
