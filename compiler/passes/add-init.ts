/**
 * Adds the function `init`: fills all state that does not come from the weights file, so that the first step finds every
 * velocity, factor and inverse defined on the device, whatever the memory held.
 */
import { Builder } from '../../ir/builder.js';
import type { Module } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { shapeAttr } from '../../ir/ops/views.js';

export function addInit(module: Module): Module {
  const b = new Builder('init', passLoc('add-init'));
  for (const entry of module.state) {
    if (entry.init.kind !== 'fill') continue;
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
  return { ...module, functions: [b.finish(), ...module.functions] };
}
