/**
 * Merges nodes that compute the same: equal op, attributes, guard and operands. Random numbers carry their key as an
 * attribute, so two draws merge only when they are meant to be one.
 */
import type { Attrs, Module, Value } from '../../ir/graph.js';
import { mapFunctions, rebuild } from '../../ir/rewrite.js';

function attrsKey(attrs: Attrs): string {
  return Object.keys(attrs)
    .sort()
    .map((k) => `${k}=${JSON.stringify(attrs[k])}`)
    .join(',');
}

export function mergeCommonSubexpressions(module: Module): Module {
  return mapFunctions(module, (func) => {
    const seen = new Map<string, readonly Value[]>();
    return rebuild(func, 'common-subexpressions', {
      replace: (node, operands, b) => {
        const key = `${node.op}(${operands.map((o) => JSON.stringify(o.name)).join()}){${attrsKey(node.attrs)}}${node.guard ?? ''}`;
        const known = seen.get(key);
        if (known) return known;
        const results = b.multi(node.op, operands, {
          attrs: node.attrs,
          name: node.results[0].name,
          loc: node.loc,
          guard: node.guard,
        });
        seen.set(key, results);
        return results;
      },
    });
  });
}
