import type { Kernel } from '../../ir/kernel.js';
import type { Region } from './region.js';

export function lowerRoutine(region: Region, name: string): Kernel {
  throw new Error(`${name}: ${region.anchor?.op} has no lowering`);
}
