/**
 * Tables as text: one example a line, numeric columns, the label in the last column or where `labelColumn` says.
 * The separator (comma, semicolon, tab or spaces) is found in the last line, which is never a header; a first line that is not all numbers is a
 * header. Quoted fields are not needed for numbers and are not read.
 */
import { csvColumns, csvField, csvLabelColumn, dataEmpty } from '../../ir/diagnostics/data.js';
import type { Examples } from './examples.js';

export interface CsvOptions {
  /** `last` (default), `first`, a header's name, or a column number from 1. */
  readonly labelColumn?: string;
  /** How many columns the target has, from the label column on (several for regression with several outputs). */
  readonly targetWidth?: number;
}

const numeric = (field: string): boolean => field.trim() !== '' && isNumber(field);

/** Also NaN and Inf, so that they are reported as what they are. */
function isNumber(field: string): boolean {
  return !Number.isNaN(Number(field)) || /^\s*[+-]?(nan|inf(inity)?)\s*$/i.test(field);
}

function parseNumber(field: string): number {
  const text = field.trim();
  if (/^[+-]?inf(inity)?$/i.test(text)) return text.startsWith('-') ? -Infinity : Infinity;
  return Number(text);
}

/** UserError E309-E312. */
export function decodeCsv(text: string, path: string, options: CsvOptions = {}): Examples {
  const lines = text.split(/\r\n|\n|\r/).map((line, i) => ({ number: i + 1, line }));
  const filled = lines.filter(({ line }) => line.trim() !== '');
  if (filled.length === 0) throw dataEmpty(path);
  const sample = filled[filled.length - 1].line;
  const separator = [',', ';', '\t'].find((s) => sample.includes(s)) ?? /\s+/;
  const split = (line: string): string[] => (typeof separator === 'string' ? line : line.trim()).split(separator);

  const first = split(filled[0].line.replace(/^\uFEFF/, ''));
  const header = first.every(numeric) ? undefined : first.map((name) => name.trim().replace(/^"(.*)"$/, '$1'));
  const rows = header ? filled.slice(1) : filled;
  if (rows.length === 0) throw dataEmpty(path);
  const columns = split(rows[0].line).length;
  const width = options.targetWidth ?? 1;
  const label = findLabel(path, options.labelColumn ?? 'last', header, columns, width);

  const size = columns - width;
  const features = new Float32Array(rows.length * size);
  const targets = new Float32Array(rows.length * width);
  rows.forEach(({ line, number }, row) => {
    const fields = split(row === 0 && !header ? line.replace(/^\uFEFF/, '') : line);
    if (fields.length !== columns) throw csvColumns(path, number, fields.length, columns);
    let f = row * size;
    for (let c = 0; c < columns; c++) {
      if (!numeric(fields[c])) throw csvField(path, number, c + 1, fields[c]);
      const value = parseNumber(fields[c]);
      if (c >= label && c < label + width) targets[row * width + c - label] = value;
      else features[f++] = value;
    }
  });
  return { source: path, count: rows.length, shape: [size], features, targets, targetWidth: width };
}

/** Index of the first target column. */
function findLabel(
  path: string,
  column: string,
  header: readonly string[] | undefined,
  columns: number,
  width: number,
): number {
  let at: number;
  if (column === 'last') at = columns - width;
  else if (column === 'first') at = 0;
  else {
    const named = header?.length === columns ? header.indexOf(column) : -1;
    at = named >= 0 ? named : /^\d+$/.test(column) ? Number(column) - 1 : -1;
  }
  if (at < 0 || at + width > columns || columns <= width) {
    const names = header ? `one of ${header.slice(0, 20).join(', ')}, ` : '';
    throw csvLabelColumn(path, column, `last, first, ${names}or a number from 1 to ${columns}`);
  }
  return at;
}
