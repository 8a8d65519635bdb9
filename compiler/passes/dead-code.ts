/**
 * Removes nodes, inputs and state reads that no output and no update needs, then state that no function touches.
 */
import type { Func, Module, Value } from '../../ir/graph.js';

function prune(func: Func): Func {
  const live = new Set<Value>([...func.outputs.map((o) => o.value), ...func.updates.map((u) => u.value)]);
  const nodes = [...func.nodes].reverse().filter((node) => {
    if (!node.results.some((r) => live.has(r))) return false;
    for (const v of node.operands) live.add(v);
    return true;
  });
  return {
    ...func,
    inputs: func.inputs.filter((v) => live.has(v)),
    reads: func.reads.filter((v) => live.has(v)),
    nodes: nodes.reverse(),
  };
}

export function removeDeadCode(module: Module): Module {
  const functions = module.functions.map(prune);
  const touched = new Set(functions.flatMap((f) => [...f.reads.map((r) => r.name), ...f.updates.map((u) => u.state)]));
  return {
    ...module,
    functions,
    // A parameter that nothing reads still belongs to the model that is exported.
    state: module.state.filter((s) => touched.has(s.name) || s.role === 'parameter'),
  };
}
