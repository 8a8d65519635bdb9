/**
 * A region's structure as a string: equal keys mean equal kernels, whatever the values are called. ResNet-50 repeats its
 * blocks, so about a third of its regions need a kernel of their own.
 */
import type { Value } from '../../ir/graph.js';
import { printType } from '../../ir/types.js';
import type { Region } from '../kernels/region.js';

/** Regions never change, and every target asks for their keys. */
const known = new WeakMap<Region, string>();

export function regionKey(region: Region): string {
  let key = known.get(region);
  if (key === undefined) {
    key = describe(region);
    known.set(region, key);
  }
  return key;
}

function describe(region: Region): string {
  const ids = new Map<Value, number>();
  const id = (v: Value): number => {
    let n = ids.get(v);
    if (n === undefined) {
      n = ids.size;
      ids.set(v, n);
    }
    return n;
  };
  let text = 'in';
  for (const v of region.inputs) text += ` ${id(v)}:${printType(v.type)}`;
  for (const part of region.parts ?? [region.nodes]) {
    text += '\npart';
    for (const node of part) {
      text += '\n';
      for (const r of node.results) text += `${id(r)}:${printType(r.type)} `;
      text += node === region.anchor ? `=*${node.op}` : `=${node.op}`;
      for (const o of node.operands) text += ` ${id(o)}`;
      for (const k in node.attrs) text += ` ${k}=${node.attrs[k]}`;
    }
  }
  text += '\nout';
  for (const v of region.outputs) text += ` ${id(v)}`;
  return text;
}
