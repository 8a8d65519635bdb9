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
  const lines = [`in ${region.inputs.map((v) => `${id(v)}:${printType(v.type)}`).join(' ')}`];
  for (const part of region.parts ?? [region.nodes]) {
    lines.push('part');
    for (const node of part) {
      const attrs = Object.entries(node.attrs).map(([k, v]) => `${k}=${v}`);
      const results = node.results.map((r) => `${id(r)}:${printType(r.type)}`);
      const mark = node === region.anchor ? '*' : '';
      lines.push(`${results.join(' ')}=${mark}${node.op} ${node.operands.map(id).join(' ')} {${attrs.join(' ')}}`);
    }
  }
  lines.push(`out ${region.outputs.map(id).join(' ')}`);
  return lines.join('\n');
}
