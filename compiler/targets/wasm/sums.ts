/**
 * Integer arithmetic and addresses. A sum is taken apart by the scopes that its terms depend on and put together from the
 * outermost to the innermost, each partial sum being computed in its own scope: an inner loop adds only what it changes.
 */
import type { Expr } from '../../../ir/kernel.js';
import { op } from './encode.js';
import { bytesOf, type Frame, type Sum } from './frame.js';
import { printScalar } from './scalar.js';

/** A text that two expressions share only if they have the same value. */
export function keyOf(frame: Frame, e: Expr): string {
  switch (e.kind) {
    case 'const':
      return Object.is(e.value, -0) ? '-0' : `${e.value}`;
    case 'ref':
      // In each copy of an unrolled body a variable has another value.
      return `${frame.name(e.name).key}^${frame.shift(e.name)}`;
    case 'load':
      return `${e.memory}[${keyOf(frame, e.index)}]`;
    case 'loadIf':
      return `${e.memory}[${keyOf(frame, e.cond)}?${keyOf(frame, e.index)}:${e.otherwise}]`;
    case 'unary':
      return `${e.op}(${keyOf(frame, e.a)})`;
    case 'binary':
      return `${e.op}(${keyOf(frame, e.a)},${keyOf(frame, e.b)})`;
    case 'select':
      return `(${keyOf(frame, e.cond)}?${keyOf(frame, e.a)}:${keyOf(frame, e.b)})`;
  }
}

type Term = Sum['terms'][number];

/** The integer `e` as a sum of what is not a sum. Names of lanes are seen through, so that strides show. */
export function sumOf(frame: Frame, e: Expr): Sum {
  const to: Collected = { constant: 0, terms: [] };
  collect(frame, to, e, 1);
  for (const t of to.terms) if (t.factor === 0) return { constant: to.constant, terms: to.terms.filter(counts) };
  return to;
}

const counts = (t: Term): boolean => t.factor !== 0;

interface Collected {
  constant: number;
  readonly terms: Term[];
}

function addTerm({ terms }: Collected, atom: Expr, factor: number, key: string): void {
  for (let i = 0; i < terms.length; i++)
    if (terms[i].key === key) {
      terms[i] = { atom, factor: (terms[i].factor + factor) | 0, key };
      return;
    }
  terms.push({ atom, factor, key });
}

/** Adds `part` times `by`. */
function collect(frame: Frame, to: Collected, part: Expr, by: number): void {
  if (part.kind === 'const') {
    to.constant = (to.constant + Math.imul(part.value, by)) | 0;
    return;
  }
  if (part.kind === 'ref') {
    const { lanes, sum, key } = frame.name(part.name);
    if (lanes && sum) {
      to.constant = (to.constant + Math.imul(sum.constant, by)) | 0;
      for (const t of sum.terms) addTerm(to, t.atom, Math.imul(t.factor, by), t.key);
      return;
    }
    // A variable is shared by the copies of an unrolled body: what it gains there is added last (shiftOf).
    addTerm(to, part, by | 0, key);
    return;
  }
  if (part.kind === 'binary') {
    const { op: name, a, b } = part;
    if (name === 'add' || name === 'sub') {
      collect(frame, to, a, by);
      collect(frame, to, b, name === 'add' ? by : -by);
      return;
    }
    if (name === 'mul' && b.kind === 'const') {
      collect(frame, to, a, Math.imul(by, b.value));
      return;
    }
    if (name === 'mul' && a.kind === 'const') {
      collect(frame, to, b, Math.imul(by, a.value));
      return;
    }
    if (name === 'shl' && b.kind === 'const') {
      collect(frame, to, a, by << (b.value & 31));
      return;
    }
  }
  addTerm(to, part, by | 0, keyOf(frame, part));
}

/** What `by` times the terms' loop variables gain in this copy of an unrolled body. */
function shiftOf(frame: Frame, terms: readonly Term[], by: number): number {
  let shift = 0;
  if (!frame.lanes) return shift;
  for (const { atom, factor } of terms)
    if (atom.kind === 'ref') shift += Math.imul(factor, by) * frame.shift(atom.name);
  return shift;
}

function printTerm(frame: Frame, atom: Expr, factor: number): void {
  if (atom.kind === 'ref') frame.code.at(op.get, frame.name(atom.name).local);
  else printScalar(frame, atom);
  if (factor !== 1) frame.code.i32(factor).op(op.i32Mul);
}

/** Pushes the sum. */
export function printSum(frame: Frame, { terms, constant }: Sum): void {
  printUnshifted(frame, terms, 1, (constant + shiftOf(frame, terms, 1)) | 0);
}

/** Pushes `by` times the terms of the first copy and a constant, plus the local `base` where it is given. */
function printUnshifted(frame: Frame, terms: readonly Term[], by: number, constant: number, base?: number): void {
  const here = frame.level;
  const levels = new Array<number>(terms.length);
  for (let i = 0; i < terms.length; i++) levels[i] = Math.min(frame.levelOf(terms[i].atom), here);
  let partial = base;
  let rest = constant;
  let level = base !== undefined && rest !== 0 ? 0 : above(-1, levels, here);
  for (; level < here; level = above(level, levels, here)) {
    const only = partial === undefined && rest === 0 ? onlyName(level, terms, by, levels) : undefined;
    if (only !== undefined) {
      partial = frame.name(only).local;
      continue;
    }
    let key = partial === undefined ? '' : `$${partial}`;
    for (let i = 0; i < terms.length; i++)
      if (levels[i] === level) key += `+${Math.imul(terms[i].factor, by)}*${terms[i].key}`;
    if (rest !== 0) key += `+${rest}`;
    partial = frame.cached(level, key) ?? keepParts(frame, level, key, partial, terms, by, levels, rest);
    rest = 0;
  }
  printParts(frame, partial, terms, by, levels, here, rest);
}

/** The next level with terms, or `here`. */
function above(level: number, levels: readonly number[], here: number): number {
  let next = here;
  for (let i = 0; i < levels.length; i++) if (levels[i] > level && levels[i] < next) next = levels[i];
  return next;
}

/** The name that is all that the terms of a level add up to, if it is. */
function onlyName(level: number, terms: readonly Term[], by: number, levels: readonly number[]): string | undefined {
  const at = levels.indexOf(level);
  const { atom, factor } = terms[at];
  if (atom.kind !== 'ref' || Math.imul(factor, by) !== 1 || levels.includes(level, at + 1)) return undefined;
  return atom.name;
}

/** The sum of the local `partial`, `by` times the terms of `level` and a constant, in a local of its own there. */
function keepParts(
  frame: Frame,
  level: number,
  key: string,
  partial: number | undefined,
  terms: readonly Term[],
  by: number,
  levels: readonly number[],
  constant: number,
): number {
  return frame.cache(level, key, () => printParts(frame, partial, terms, by, levels, level, constant));
}

function printParts(
  frame: Frame,
  partial: number | undefined,
  terms: readonly Term[],
  by: number,
  levels: readonly number[],
  level: number,
  constant: number,
): void {
  let pushed = partial !== undefined;
  if (partial !== undefined) frame.code.at(op.get, partial);
  for (let i = 0; i < terms.length; i++) {
    if (levels[i] !== level) continue;
    printTerm(frame, terms[i].atom, Math.imul(terms[i].factor, by));
    if (pushed) frame.code.op(op.i32Add);
    pushed = true;
  }
  if (constant === 0 && pushed) return;
  frame.code.i32(constant);
  if (pushed) frame.code.op(op.i32Add);
}

/**
 * Pushes the byte address of `memory[index]`, but for what is returned: an offset that the access adds. It is never
 * negative, and without it the address is still in the memory. `conditional`: the access may not happen.
 */
export function printAddress(frame: Frame, memory: string, index: Sum, conditional = false): number {
  const place = frame.memory(memory);
  const by = bytesOf[place.type];
  const shift = shiftOf(frame, index.terms, by);
  const later = shift > 0 && !conditional && !frame.lanes?.conditional ? shift : 0;
  const constant = Math.imul(index.constant, by) + place.offset + shift - later;
  printUnshifted(frame, index.terms, by, constant | 0, place.local);
  return later;
}
