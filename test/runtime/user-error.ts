/** For tests of bad input: the UserError that `act` throws; anything else, or nothing, fails the test. */
import { expect } from 'vitest';
import { UserError } from '../../ir/diagnostics/error.js';

export function userError(act: () => unknown): UserError {
  try {
    act();
  } catch (e) {
    expect(e).toBeInstanceOf(UserError);
    return e as UserError;
  }
  throw new Error('no error was thrown');
}
