/**
 * Errors in `.spn` text (4xx, part of reading artifacts): where, what was expected, what stands there instead.
 */
import { UserError } from './error.js';

export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

const at = (p: Place): string => `${p.file}:${p.line}:${p.column}`;

export function unreadableText(place: Place, found: string): UserError {
  return new UserError(
    450,
    `${at(place)}: unexpected ${found}`,
    'Put names that are not plain identifiers into double quotes; strings end on the line on which they begin.',
    at(place),
  );
}

export function unexpectedText(place: Place, expected: string, found: string): UserError {
  return new UserError(
    451,
    `${at(place)}: expected ${expected}, found ${found}`,
    'docs/spn.md describes the text form.',
    at(place),
  );
}

export function unknownName(place: Place, what: string, name: string): UserError {
  return new UserError(
    452,
    `${at(place)}: no ${what} is named ${JSON.stringify(name)}`,
    'A value is written down before the lines that read it.',
    at(place),
  );
}

export function repeatedName(place: Place, name: string): UserError {
  return new UserError(
    453,
    `${at(place)}: ${JSON.stringify(name)} is defined twice`,
    'Inputs, state that is read, and results of one function all need names of their own.',
    at(place),
  );
}

export function notOneKernel(file: string, count: number): UserError {
  return new UserError(454, `${file}: holds ${count} kernels, not one`, 'Give each kernel a text of its own.', file);
}
