/**
 * Removes nodes, inputs and state reads that no output and no update needs, then state that no function touches.
 */
import type { Func, Module, Value } from '../../ir/graph.js';
import { mapFunctions } from '../../ir/rewrite.js';

function prune(func: Func): Func {
  const live = new Set<Value>();
  for (const o of func.outputs) live.add(o.value);
  for (const u of func.updates) live.add(u.value);
  const nodes = [...func.nodes].reverse().filter((node) => {
    if (!node.results.some((r) => live.has(r))) return false;
    for (const v of node.operands) live.add(v);
    return true;
  });
  const inputs = func.inputs.filter((v) => live.has(v));
  const reads = func.reads.filter((v) => live.has(v));
  const all =
    nodes.length === func.nodes.length && inputs.length === func.inputs.length && reads.length === func.reads.length;
  return all ? func : { ...func, inputs, reads, nodes: nodes.reverse() };
}

export function removeDeadCode(module: Module): Module {
  const pruned = mapFunctions(module, prune);
  const touched = new Set<string>();
  for (const f of pruned.functions) {
    for (const r of f.reads) touched.add(r.name);
    for (const u of f.updates) touched.add(u.state);
  }
  // A parameter that nothing reads still belongs to the model that is exported.
  const state = module.state.filter((s) => touched.has(s.name) || s.role === 'parameter');
  return state.length === module.state.length ? pruned : { ...pruned, state };
}
