/**
 * What a user sees when something that they can mend is wrong: a number, what, where, what to do.
 * Every message is made by a factory in this folder; nothing else throws UserError. Numbers:
 * 1xx ONNX import, 2xx compilation, 3xx data, 4xx artifact, 5xx run, 6xx command line, 7xx packing.
 */
import type { Loc } from '../loc.js';
import { printLoc } from '../loc.js';

export class UserError extends Error {
  constructor(
    readonly code: number,
    readonly what: string,
    readonly hint: string,
    readonly loc?: Loc | string,
  ) {
    super(what);
    this.name = 'UserError';
  }

  /** `E101 what\n  at where\n  do: hint` */
  format(): string {
    const where =
      this.loc === undefined ? '' : `\n  at ${typeof this.loc === 'string' ? this.loc : printLoc(this.loc)}`;
    return `error E${this.code}: ${this.what}${where}\n  ${this.hint}`;
  }
}
