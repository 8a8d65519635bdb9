/**
 * The programs of the system that packing uses.
 */
import { toolMissing } from '../ir/diagnostics/pack.js';
import { findProgram } from '../runtime/machine/libraries.js';

/** By the package that has them. */
const packages = { strip: 'binutils', readelf: 'binutils', tar: 'tar', xz: 'xz-utils or xz' } as const;

export type Tools = Readonly<Record<keyof typeof packages, string>>;

/** Paths of all of them. UserError E702 where one is missing. */
export function findTools(): Tools {
  const found = Object.entries(packages).map(([tool, what]) => {
    const path = findProgram(tool);
    if (path === undefined) throw toolMissing(tool, what);
    return [tool, path];
  });
  return Object.fromEntries(found);
}
