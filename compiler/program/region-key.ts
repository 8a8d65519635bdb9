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
  const { inputs } = region;
  for (let i = 0; i < inputs.length; i++) text += ` ${id(inputs[i])}:${printType(inputs[i].type)}`;
  for (const part of region.parts ?? [region.nodes]) {
    text += '\npart';
    for (const node of part) {
      const { op, results, operands, attrs } = node;
      text += '\n';
      for (let i = 0; i < results.length; i++) text += `${id(results[i])}:${printType(results[i].type)} `;
      text += node === region.anchor ? `=*${op}` : `=${op}`;
      for (let i = 0; i < operands.length; i++) text += ` ${id(operands[i])}`;
      for (const k in attrs) text += ` ${k}=${attrs[k]}`;
    }
  }
  text += '\nout';
  for (const v of region.outputs) text += ` ${id(v)}`;
  return text;
}
