/**
 * How names, numbers, types, attributes and locations are written, for all three printers. Each is the inverse of the rule of
 * the same name in grammar.ts.
 */
import type { Attr, Attrs } from '../graph.js';
import type { Loc } from '../loc.js';
import { type Dim, SharedType, type TensorType } from '../types.js';
import type { Lines } from './lines.js';
import { isPlainLocName, isPlainName } from './names.js';

export function writeName(name: string): string {
  return isPlainName(name) ? name : JSON.stringify(name);
}

export function writeNames(names: readonly string[]): string {
  let text = '[';
  for (let i = 0; i < names.length; i++) text += (i > 0 ? ', ' : '') + writeName(names[i]);
  return `${text}]`;
}

/** A guard or an output: `due(conv1.weight.A)` with its argument quoted on its own where it must be. */
export function writeLabel(label: string): string {
  const call = /^([A-Za-z_]\w*)\((.*)\)$/s.exec(label);
  return call && isPlainName(call[1]) ? `${call[1]}(${writeName(call[2])})` : writeName(label);
}

/** The shortest text that parses back to the same double. */
export function writeNumber(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  return Object.is(value, -0) ? '-0' : String(value);
}

/** The shortest text that rounds to the same f32, recognisable as floating point: `0.1`, `2.0`, `1e-7`. */
export function writeF32(value: number): string {
  let text = writeNumber(value);
  for (let digits = 1; digits <= 9 && Number.isFinite(value); digits++) {
    const rounded = Number(value.toPrecision(digits));
    if (Object.is(Math.fround(rounded), value)) {
      text = writeNumber(rounded);
      break;
    }
  }
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

function writeDim(d: Dim): string {
  if (typeof d === 'number') return String(d);
  return d.factor === 1 ? writeName(d.symbol) : `${d.factor}*${writeName(d.symbol)}`;
}

/** Texts of types, by their numbers. */
const typeTexts: string[] = [];

/** `f32[N,784]`, `sym[785]` (f32), `sym.bool[785]`, `f32[10]@owner(3)`. */
export function writeType(t: TensorType): string {
  if (!(t instanceof SharedType)) return typeText(t);
  typeTexts[t.number] ??= typeText(t);
  return typeTexts[t.number];
}

function typeText(t: TensorType): string {
  const packed = t.layout === 'packed-lower';
  const count = packed ? t.shape.length - 1 : t.shape.length;
  let text = `${packed ? (t.dtype === 'f32' ? 'sym' : `sym.${t.dtype}`) : t.dtype}[`;
  for (let i = 0; i < count; i++) text += `${i > 0 ? ',' : ''}${writeDim(t.shape[i])}`;
  return t.placement.kind === 'owner' ? `${text}]@owner(${t.placement.rank})` : `${text}]`;
}

function writeAttr(value: Attr): string {
  switch (typeof value) {
    case 'number':
      return writeNumber(value);
    case 'string':
      return writeName(value);
    case 'boolean':
      return String(value);
    default: {
      let text = '[';
      for (let i = 0; i < value.length; i++) text += (i > 0 ? ', ' : '') + writeAttr(value[i]);
      return `${text}]`;
    }
  }
}

export function writeAttrs(attrs: Attrs): string {
  let text = '{';
  for (const key in attrs) text += `${text.length > 1 ? ', ' : ''}${writeName(key)}=${writeAttr(attrs[key])}`;
  return `${text}}`;
}

const locName = (name: string): string => (isPlainLocName(name) ? name : JSON.stringify(name));

/** The last location written: what follows was often made for the same. */
let last: { readonly loc: Loc; readonly text: string } | undefined;

export function writeLoc(loc: Loc): string {
  if (last?.loc !== loc) last = { loc, text: locText(loc) };
  return last.text;
}

function locText(loc: Loc): string {
  switch (loc.kind) {
    case 'onnx':
      return `onnx:${locName(loc.node)}(${locName(loc.op)})`;
    case 'file':
      return `${locName(loc.file)}:${loc.line}:${loc.column}`;
    case 'pass':
      return `${locName(loc.pass)}<${loc.from ? locText(loc.from) : ''}>`;
  }
}

export function sameLoc(a: Loc, b: Loc): boolean {
  return a === b || writeLoc(a) === writeLoc(b);
}

const blanks = Array.from({ length: 256 }, (_, n) => ' '.repeat(n));

/** Lines that are aligned with each other: more than a screen, and few enough that their cells are kept meanwhile. */
const BLOCK = 256;

/**
 * Lines of cells, each column as wide as its widest cell in the block, but no wider than `limits` says: one long name must not push
 * all others off the screen. The last column is never padded.
 */
export function columns<T>(
  to: Lines,
  items: readonly T[],
  cells: (item: T) => readonly string[],
  limits: readonly number[],
  indent = '  ',
): void {
  const rows: (readonly string[])[] = [];
  const widths: number[] = [];
  for (let begin = 0; begin < items.length; begin += BLOCK) {
    const count = Math.min(BLOCK, items.length - begin);
    for (let c = 0; c < limits.length; c++) widths[c] = 0;
    for (let i = 0; i < count; i++) {
      const row = cells(items[begin + i]);
      rows[i] = row;
      for (let c = 0; c < limits.length; c++)
        if (row[c].length > widths[c]) widths[c] = Math.min(limits[c], row[c].length);
    }
    for (let i = 0; i < count; i++) to(lineOf(rows[i], widths, indent));
  }
}

/** Blanks are owed until a cell follows, so that no line ends with them. */
function lineOf(row: readonly string[], widths: readonly number[], indent: string): string {
  let line = indent;
  let owed = 0;
  for (let c = 0; c < row.length; c++) {
    const cell = row[c];
    if (cell !== '') {
      line += blanks[owed] + cell;
      owed = 0;
    }
    owed += 1 + (c < widths.length && cell.length < widths[c] ? widths[c] - cell.length : 0);
  }
  return line;
}
