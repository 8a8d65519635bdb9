/**
 * What can be wrong with a command line beyond its grammar: E6xx.
 */
import { UserError } from './error.js';

/** The number of what commander refuses: unknown options, values out of their range. */
export const USAGE_ERROR = 600;

export const modelNotFound = (path: string): UserError =>
  new UserError(601, 'no such model file, or it cannot be read', 'give the path of an .onnx file', path);

export const weightsNotFound = (path: string): UserError =>
  new UserError(
    604,
    'no such weights file, or it cannot be read',
    'give --weights the path of a .safetensors file',
    path,
  );

export const optionsConflict = (a: string, b: string): UserError =>
  new UserError(602, `${a} and ${b} exclude each other`, `give one of them`);

export const optionWithoutUse = (option: string, why: string): UserError =>
  new UserError(603, `${option} has no effect: ${why}`, `leave out ${option}`);

export const presetNotForOptimizer = (preset: string, optimizer: string): UserError =>
  new UserError(
    605,
    `the preset ${preset} is for natural gradient, not for --optimizer ${optimizer}`,
    'take --preset default, or --optimizer spngd',
  );
