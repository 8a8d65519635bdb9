/**
 * Which names stand in `.spn` without quotes: what printers and the lexer must agree on. Apart from the lexer, so that
 * printing loads no parser.
 */

/** Words that begin or end a statement: as names they are quoted. */
export const reservedWords = [
  'when',
  'return',
  'update',
  'true',
  'false',
  'inf',
  'nan',
  'for',
  'let',
  'var',
  'if',
  'else',
  'group',
  'register',
  'tile',
  'mma',
  'each',
  'loadIf',
] as const;

export const NAME = /[A-Za-z_]\w*(?:\.\w+|:\d+)*/;
/** In locations, where file names and ONNX names need no quotes for their slashes. */
export const LOC_NAME = /[\w./\-+$@]+/;

const plainName = new RegExp(`^(?!(?:${reservedWords.join('|')})$)(?:${NAME.source})$`);
const plainLocName = new RegExp(`^(?:${LOC_NAME.source})$`);

/** Whether a name can stand in the text without quotes. */
export function isPlainName(name: string): boolean {
  return plainName.test(name);
}

export function isPlainLocName(name: string): boolean {
  return plainLocName.test(name);
}
