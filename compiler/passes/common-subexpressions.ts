/**
 * Merges nodes that compute the same: equal op, attributes, guard and operands. Random numbers carry their key as an
 * attribute, so two draws merge only when they are meant to be one.
 */
import type { Attr, Attrs, Func, Module, Node, Value } from '../../ir/graph.js';
import { keepNode, mapFunctions, rebuild } from '../../ir/rewrite.js';
import { ValueMap } from '../../ir/value-map.js';

/** A node that others may equal, and what stands for its results. */
interface Known {
  readonly node: Node;
  readonly results: readonly Value[];
}

function attrEquals(a: Attr | undefined, b: Attr): boolean {
  if (!Array.isArray(a) || !Array.isArray(b)) return Object.is(a, b);
  return a.length === b.length && a.every((x, i) => Object.is(x, b[i]));
}

function attrsEqual(a: Attrs, b: Attrs): boolean {
  if (a === b) return true;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((n) => attrEquals(b[n], a[n]));
}

function merge(func: Func): Func {
  const numbers = new ValueMap<number>();
  let count = 0;
  const numberOf = (v: Value): number => {
    let n = numbers.get(v);
    if (n === undefined) {
      n = count++;
      numbers.set(v, n);
    }
    return n;
  };
  // Nodes that read nothing are told apart by their attributes alone.
  const keyOf = ({ op, attrs }: Node, operands: readonly Value[]): string => {
    let key: string = op;
    for (let i = 0; i < operands.length; i++) key += ` ${numberOf(operands[i])}`;
    return operands.length > 0 ? key : key + Object.values(attrs).join();
  };
  const seen = new Map<string, Known[]>();
  return rebuild(func, 'common-subexpressions', {
    replace: (node, operands, b) => {
      const key = keyOf(node, operands);
      const alike = seen.get(key);
      const known = alike?.find((k) => k.node.guard === node.guard && attrsEqual(k.node.attrs, node.attrs));
      if (known) return known.results;
      const results = keepNode(b, node, operands);
      const own = { node, results };
      if (alike) alike.push(own);
      else seen.set(key, [own]);
      return results;
    },
  });
}

export function mergeCommonSubexpressions(module: Module): Module {
  return mapFunctions(module, merge);
}
