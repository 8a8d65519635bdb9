/**
 * Adds the function `init`: fills state that comes neither from the weights file nor begins with zeros, which is what memory holds
 * when a program has been loaded. By it the first step finds every velocity, factor and inverse defined on the device.
 */
import { Builder } from '../../ir/builder.js';
import type { Module } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { shapeAttr } from '../../ir/ops/views.js';

export function addInit(module: Module): Module {
  const b = new Builder('init', passLoc('add-init'));
  for (const entry of module.state) {
    if (entry.init.kind !== 'fill' || entry.init.value === 0) continue;
    b.loc = passLoc('add-init', entry.loc);
    const { dtype, layout, shape } = entry.type;
    const attrs = {
      value: entry.init.value,
      shape: shapeAttr(shape),
      dtype,
      ...(layout === 'dense' ? {} : { layout }),
    };
    const filled = b.node('fill', [], { attrs, name: `${entry.name}.init` });
    b.update(entry.name, filled);
  }
  return { ...module, functions: [...module.functions, b.finish()] };
}
