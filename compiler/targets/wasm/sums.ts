/**
 * Integer arithmetic and addresses. A sum is taken apart by the scopes that its terms depend on and put together from the
 * outermost to the innermost, each partial sum being computed in its own scope: an inner loop adds only what it changes.
 */
import type { Expr } from '../../../ir/kernel.js';
import { op } from './encode.js';
import { bytesOf, type Frame, type Sum } from './frame.js';
import { printScalar } from './scalar.js';

const constantSum = (constant: number): Sum => ({ constant, terms: [] });

function scaled(s: Sum, by: number): Sum {
  if (by === 0) return constantSum(0);
  return {
    constant: Math.imul(s.constant, by),
    terms: s.terms.map((t) => ({ ...t, factor: Math.imul(t.factor, by) })),
  };
}

const localKey = (frame: Frame, name: string): string => `$${frame.name(name).local}`;

/** A text that two expressions share only if they have the same value. */
export function keyOf(frame: Frame, e: Expr): string {
  switch (e.kind) {
    case 'const':
      return Object.is(e.value, -0) ? '-0' : `${e.value}`;
    case 'ref':
      // In each copy of an unrolled body a variable has another value.
      return `${localKey(frame, e.name)}^${frame.shift(e.name)}`;
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
  const terms: Term[] = [];
  let constant = 0;
  const addTerm = (t: Term, by: number): void => {
    const at = terms.findIndex((u) => u.key === t.key);
    if (at < 0) terms.push({ ...t, factor: Math.imul(t.factor, by) });
    else terms[at] = { ...t, factor: (terms[at].factor + Math.imul(t.factor, by)) | 0 };
  };
  const collect = (part: Expr, by: number): void => {
    if (part.kind === 'const') {
      constant = (constant + Math.imul(part.value, by)) | 0;
      return;
    }
    if (part.kind === 'ref') {
      const { lanes, sum } = frame.name(part.name);
      if (lanes && sum) {
        constant = (constant + Math.imul(sum.constant, by)) | 0;
        for (const t of sum.terms) addTerm(t, by);
        return;
      }
    }
    if (part.kind === 'binary') {
      const { a, b } = part;
      if (part.op === 'add' || part.op === 'sub') {
        collect(a, by);
        collect(b, part.op === 'add' ? by : -by);
        return;
      }
      const constantB = b.kind === 'const' ? b.value : undefined;
      if (part.op === 'mul' && constantB !== undefined) {
        collect(a, Math.imul(by, constantB));
        return;
      }
      if (part.op === 'mul' && a.kind === 'const') {
        collect(b, Math.imul(by, a.value));
        return;
      }
      if (part.op === 'shl' && constantB !== undefined) {
        collect(a, by << (constantB & 31));
        return;
      }
    }
    // A term that is a variable is shared by the copies of an unrolled body: what it gains there is added last (shiftOf).
    addTerm({ atom: part, factor: 1, key: part.kind === 'ref' ? localKey(frame, part.name) : keyOf(frame, part) }, by);
  };
  collect(e, 1);
  return { constant, terms: terms.filter((t) => t.factor !== 0) };
}

/** What the sum's loop variables gain in this copy of an unrolled body. */
export function shiftOf(frame: Frame, sum: Sum): number {
  let shift = 0;
  for (const t of sum.terms) if (t.atom.kind === 'ref') shift += t.factor * frame.shift(t.atom.name);
  return shift;
}

function printTerm(frame: Frame, atom: Expr, factor: number): void {
  if (atom.kind === 'ref') frame.code.at(op.get, frame.name(atom.name).local);
  else printScalar(frame, atom);
  if (factor !== 1) frame.code.i32(factor).op(op.i32Mul);
}

/** Pushes the sum. */
export function printSum(frame: Frame, sum: Sum): void {
  printUnshifted(frame, { ...sum, constant: (sum.constant + shiftOf(frame, sum)) | 0 });
}

/** Pushes the sum of the first copy, plus the local `base` where it is given. */
function printUnshifted(frame: Frame, sum: Sum, base?: number): void {
  let partial = base;
  let constant = sum.constant;
  const levels = sum.terms.map((t) => frame.levelOf(t.atom));
  for (let level = 0; level < frame.level; level++) {
    const addsToBase = level === 0 && base !== undefined && constant !== 0;
    if (!addsToBase && !levels.includes(level)) continue;
    const terms = sum.terms.filter((_, i) => levels[i] === level);
    const single = partial === undefined && constant === 0 && terms.length === 1 && terms[0].factor === 1;
    if (single && terms[0].atom.kind === 'ref') {
      partial = frame.name(terms[0].atom.name).local;
      continue;
    }
    let key = partial === undefined ? '' : `$${partial}`;
    for (const t of terms) key += `+${t.factor}*${t.key}`;
    if (constant !== 0) key += `+${constant}`;
    const [from, added] = [partial, constant];
    partial = frame.cached(level, key, () => printParts(frame, from, terms, added));
    constant = 0;
  }
  const inner = sum.terms.filter((_, i) => levels[i] >= frame.level);
  printParts(frame, partial, inner, constant);
}

function printParts(frame: Frame, partial: number | undefined, terms: Sum['terms'], constant: number): void {
  let pushed = false;
  const plusPushed = (): void => {
    if (pushed) frame.code.op(op.i32Add);
    pushed = true;
  };
  if (partial !== undefined) {
    frame.code.at(op.get, partial);
    plusPushed();
  }
  for (const t of terms) {
    printTerm(frame, t.atom, t.factor);
    plusPushed();
  }
  if (constant !== 0 || !pushed) {
    frame.code.i32(constant);
    plusPushed();
  }
}

/**
 * Pushes the byte address of `memory[index]`, but for what is returned: an offset that the access adds. It is never
 * negative, and without it the address is still in the memory. `conditional`: the access may not happen.
 */
export function printAddress(frame: Frame, memory: string, index: Sum, conditional = false): number {
  const place = frame.memory(memory);
  const bytes = scaled(index, bytesOf[place.type]);
  const shift = shiftOf(frame, bytes);
  const later = shift > 0 && !conditional && !frame.lanes?.conditional ? shift : 0;
  const constant = bytes.constant + place.offset + shift - later;
  printUnshifted(frame, { ...bytes, constant: constant | 0 }, place.local);
  return later;
}
