/**
 * Merges nodes that compute the same: equal op, attributes, guard and operands. Random numbers carry their key as an
 * attribute, so two draws merge only when they are meant to be one.
 */
import type { Attr, Attrs, Func, Module, Node, Value } from '../../ir/graph.js';
import { type OpName, opNames } from '../../ir/ops/table.js';
import { keepNode, mapFunctions, rebuild } from '../../ir/rewrite.js';
import { NumberedValue } from '../../ir/value-map.js';

function attrEquals(a: Attr | undefined, b: Attr): boolean {
  if (!Array.isArray(a) || !Array.isArray(b)) return Object.is(a, b);
  return a.length === b.length && a.every((x, i) => Object.is(x, b[i]));
}

function attrsEqual(a: Attrs, b: Attrs): boolean {
  if (a === b) return true;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((n) => attrEquals(b[n], a[n]));
}

function alike(a: Node, b: Node, operands: readonly Value[]): boolean {
  if (a.op !== b.op || a.guard !== b.guard || a.operands.length !== operands.length) return false;
  for (let i = 0; i < operands.length; i++) if (a.operands[i] !== operands[i]) return false;
  return attrsEqual(a.attrs, b.attrs);
}

const opNumbers = new Map<OpName, number>(opNames.map((op, i) => [op, i]));

function hashText(hash: number, text: string): number {
  let h = hash;
  for (let i = 0; i < text.length; i++) h = Math.imul(h, 31) + text.charCodeAt(i);
  return h;
}

/** Equal for nodes that are alike. Those that read nothing are told apart by their attributes. */
function hashOf({ op, attrs }: Node, operands: readonly Value[]): number {
  let h = opNumbers.get(op)!;
  for (let i = 0; i < operands.length; i++) {
    const v = operands[i];
    h = Math.imul(h, 0x9e3779b1) + (v instanceof NumberedValue ? v.number : 0);
  }
  if (operands.length === 0) h = hashText(h, Object.values(attrs).join());
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
  return (h ^ (h >>> 13)) >>> 0;
}

/** Functions without nodes that are alike. */
const merged = new WeakSet<Func>();

function merge(func: Func): Func {
  if (merged.has(func)) return func;
  const result = mergeAlike(func);
  merged.add(result);
  return result;
}

function mergeAlike(func: Func): Func {
  // Places of nodes in the new function, counted from 1, by hash; what meets a taken slot goes to the next.
  const size = 2 ** Math.ceil(Math.log2(2 * func.nodes.length + 2));
  const slots = new Int32Array(size);
  return rebuild(func, 'common-subexpressions', {
    replace: (node, operands, b) => {
      let slot = hashOf(node, operands) % size;
      for (; slots[slot] > 0; slot = (slot + 1) % size) {
        const known = b.nodes[slots[slot] - 1];
        if (alike(known, node, operands)) return known.results;
      }
      const results = keepNode(b, node, operands);
      slots[slot] = b.nodes.length;
      return results;
    },
  });
}

export function mergeCommonSubexpressions(module: Module): Module {
  return mapFunctions(module, merge);
}
