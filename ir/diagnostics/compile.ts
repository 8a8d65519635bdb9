/**
 * Errors of the graph passes (2xx): what the model or the options do not allow.
 */
import type { Loc } from '../loc.js';
import { printType, type TensorType } from '../types.js';
import { UserError } from './error.js';

export function severalOutputs(names: readonly string[]): UserError {
  return new UserError(
    201,
    `the model has ${names.length} outputs (${names.join(', ')}), and none was chosen for the loss`,
    `choose one: --output ${names[0]}`,
  );
}

export function noSuchOutput(name: string, names: readonly string[]): UserError {
  return new UserError(202, `the model has no output "${name}"`, `its outputs are: ${names.join(', ')}`);
}

export function lossDoesNotFit(loss: string, output: string, type: TensorType, wants: string, loc: Loc): UserError {
  return new UserError(
    203,
    `loss ${loss} needs ${wants}, but output "${output}" is ${printType(type)}`,
    'choose another loss (--loss softmax-cross-entropy, mean-squared-error or output) or another output (--output NAME)',
    loc,
  );
}

export function noDefaultLoss(output: string, type: TensorType, loc: Loc): UserError {
  return new UserError(
    204,
    `no loss was named, and output "${output}" (${printType(type)}) suggests none`,
    'name one: --loss softmax-cross-entropy, mean-squared-error or output',
    loc,
  );
}

export function nothingToTrain(): UserError {
  return new UserError(
    205,
    'no trainable parameter influences the loss',
    'check --freeze and --train, and that --output is computed from the weights',
  );
}

export function nothingToDraw(output: string, loc: Loc): UserError {
  return new UserError(
    208,
    `--fisher 1mc draws labels from the model, but its output "${output}" is a loss of its own, and says nothing of labels`,
    'choose --fisher empirical, or the output before the loss (--output NAME) with --loss',
    loc,
  );
}

export function reservedName(name: string, loc: Loc): UserError {
  return new UserError(
    206,
    `the model gives the name "${name}" to an input or a weight, but the training function needs it for an input of its own`,
    `rename it in the model`,
    loc,
  );
}

export function stateName(name: string, loc: Loc): UserError {
  return new UserError(
    207,
    `the model has a value or a weight named "${name}", but training keeps a state of that name`,
    'rename it in the model',
    loc,
  );
}

const smaller = (batch: number): string =>
  `compile with a smaller --batch than ${batch} (--accumulate makes a step of several), or a smaller image (--input NAME:Nx3x64x64)`;

/** @param largest bytes of the largest memory, which the target limits */
export function planTooLarge(
  target: string,
  peak: number,
  liveBound: number,
  largest: number,
  limit: number,
  batch: number,
): UserError {
  const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20).toLocaleString('en')} MiB`;
  const one = largest === peak ? '' : `, ${mib(largest)} in one memory`;
  return new UserError(
    220,
    `the plan needs ${mib(peak)} of memory${one} (at least ${mib(liveBound)} are alive at once); the target ${target} has ${mib(limit)}`,
    smaller(batch),
  );
}

/** @param refusals of each target */
export function planTooLargeAnywhere(refusals: readonly UserError[], batch: number): UserError {
  return new UserError(220, refusals.map((r) => r.what).join('; '), smaller(batch));
}
