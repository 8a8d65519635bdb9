/**
 * The readable text form of every level: `print(parse(t)) = t` for a printed text t, and `parse(print(m))` equals m, but for
 * the order in which a function's reads of the state are listed.
 * docs/spn.md describes it. Weights are not part of it.
 */
import { notOneKernel } from '../diagnostics/text.js';
import type { Kernel } from '../kernel.js';
import { parseKernels } from './parse-kernel.js';
import { printKernel } from './print-kernel.js';

export { parseModule } from './parse-graph.js';
export { parseProgram } from './parse-program.js';
export { printModule } from './print-graph.js';
export { printProgram } from './print-program.js';
export { parseKernels, printKernel };

export function printKernels(kernels: readonly Kernel[]): string {
  return kernels.map(printKernel).join('\n');
}

/** A text that holds exactly one kernel. Throws UserError where the text cannot be read. */
export function parseKernel(text: string, file = 'text.spn'): Kernel {
  const kernels = parseKernels(text, file);
  if (kernels.length !== 1) throw notOneKernel(file, kernels.length);
  return kernels[0];
}
