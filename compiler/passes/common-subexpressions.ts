/**
 * Merges nodes that compute the same: equal op, attributes, guard and operands. Random numbers carry their key as an
 * attribute, so two draws merge only when they are meant to be one.
 */
import type { Attrs, Module, Value } from '../../ir/graph.js';
import { keepNode, mapFunctions, rebuild } from '../../ir/rewrite.js';

function attrsKey(attrs: Attrs): string {
  let key = '';
  for (const k of Object.keys(attrs).sort()) key += `${k}=${JSON.stringify(attrs[k])},`;
  return key;
}

export function mergeCommonSubexpressions(module: Module): Module {
  return mapFunctions(module, (func) => {
    const seen = new Map<string, readonly Value[]>();
    const numbers = new Map<Value, number>();
    const numberOf = (v: Value): number => {
      let n = numbers.get(v);
      if (n === undefined) {
        n = numbers.size;
        numbers.set(v, n);
      }
      return n;
    };
    return rebuild(func, 'common-subexpressions', {
      replace: (node, operands, b) => {
        let key: string = node.op;
        for (const v of operands) key += ` ${numberOf(v)}`;
        key += attrsKey(node.attrs);
        if (node.guard !== undefined) key += node.guard;
        const known = seen.get(key);
        if (known) return known;
        const results = keepNode(b, node, operands);
        seen.set(key, results);
        return results;
      },
    });
  });
}
