/**
 * Parsers of option values: what the command line says as text, as numbers within their bounds. A value that does not fit is
 * reported by commander with the option's name.
 */
import { InvalidArgumentError } from 'commander';

function parse(text: string, fits: (n: number) => boolean, what: string): number {
  const value = Number(text);
  if (text.trim() === '' || !fits(value)) throw new InvalidArgumentError(`It takes ${what}.`);
  return value;
}

export const count = (text: string): number =>
  parse(text, (n) => Number.isSafeInteger(n) && n > 0, 'a whole number above 0');
export const whole = (text: string): number =>
  parse(text, (n) => Number.isSafeInteger(n) && n >= 0, 'a whole number, 0 or above');
export const workers = (text: string): number =>
  parse(text, (n) => Number.isSafeInteger(n) && n >= 0 && n <= 64, 'a whole number from 0 to 64');
export const threads = (text: string): number =>
  parse(text, (n) => Number.isSafeInteger(n) && n > 0 && n <= 64, 'a whole number from 1 to 64');
export const seed = (text: string): number =>
  parse(text, (n) => Number.isInteger(n) && n >= 0 && n < 2 ** 31, 'a whole number from 0 to 2147483647');
export const positive = (text: string): number => parse(text, (n) => Number.isFinite(n) && n > 0, 'a number above 0');
export const notNegative = (text: string): number =>
  parse(text, (n) => Number.isFinite(n) && n >= 0, 'a number, 0 or above');
export const fraction = (text: string): number => parse(text, (n) => n > 0 && n < 1, 'a number between 0 and 1');
export const part = (text: string): number => parse(text, (n) => n >= 0 && n <= 1, 'a number from 0 to 1');

export function onOff(text: string): boolean {
  if (text !== 'on' && text !== 'off') throw new InvalidArgumentError('It takes on or off.');
  return text === 'on';
}

/** For options that may be given several times. */
export const several = (text: string, previous: readonly string[] = []): readonly string[] => [...previous, text];
