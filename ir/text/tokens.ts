/**
 * The words of `.spn`. One lexer for graphs, kernels and programs, with a second mode for locations: from `#` to the end
 * of the line, where file names and ONNX names need no quotes for their slashes.
 *
 * Reserved words are quoted where they are names; contextual words are ordinary names everywhere but in their own place.
 */
import { createToken, type IMultiModeLexerDefinition, Lexer, type TokenType } from 'chevrotain';
import { LOC_NAME, NAME, reservedWords } from './names.js';

export const Name = createToken({
  name: 'Name',
  label: 'a name',
  pattern: NAME,
  line_breaks: false,
});
export const Quoted = createToken({
  name: 'Quoted',
  label: 'a quoted name',
  pattern: /"(?:[^"\\\n\r]|\\.)*"/,
  line_breaks: false,
});
export const Float = createToken({
  name: 'Float',
  label: 'a number',
  pattern: /\d+(?:\.\d+(?:e[+-]?\d+)?|e[+-]?\d+)/,
  line_breaks: false,
});
export const Int = createToken({ name: 'Int', label: 'an integer', pattern: /\d+/, line_breaks: false });

const capital = (word: string): string => word[0].toUpperCase() + word.slice(1);

function reserve<W extends string>(...names: W[]): Record<W, TokenType> {
  const entries = names.map((w) => [
    w,
    createToken({ name: capital(w), label: `"${w}"`, pattern: w, longer_alt: Name }),
  ]);
  return Object.fromEntries(entries) as Record<W, TokenType>;
}

function inContext<W extends string>(...names: W[]): Record<W, TokenType> {
  const entries = names.map((w) => [
    w,
    createToken({ name: capital(w), label: `"${w}"`, pattern: w, longer_alt: Name, categories: [Name] }),
  ]);
  return Object.fromEntries(entries) as Record<W, TokenType>;
}

/** One token for each reserved word. */
export const reserved = reserve(...reservedWords);

/** Words that mean something only where the grammar asks for them. */
export const words = inContext(
  'module',
  'level',
  'state',
  'owner',
  'lifetime',
  'checkpoint',
  'init',
  'of',
  'parameters',
  'rule',
  'why',
  'kernel',
  'workgroup',
  'flops',
  'bytes',
  'in',
  'step',
  'as',
  'row',
  'col',
  'k',
  'program',
  'target',
  'peak',
  'liveBound',
  'memories',
  'buffers',
  'kernels',
  'grid',
  'scratch',
  'computes',
  'source',
  'stopped',
  'dispatch',
  'access',
  'waves',
  'function',
  'segment',
  'repeat',
  'batch',
  'cost',
  'requires',
);

function mark(name: string, pattern: string): TokenType {
  return createToken({ name, label: `"${pattern}"`, pattern });
}

/** Longer marks first: the lexer takes the first that fits. */
export const marks = {
  range: mark('Range', '..'),
  arrow: mark('Arrow', '->'),
  plusAssign: mark('PlusAssign', '+='),
  maxAssign: mark('MaxAssign', 'max='),
  minAssign: mark('MinAssign', 'min='),
  shl: mark('Shl', '<<'),
  shr: mark('Shr', '>>'),
  le: mark('Le', '<='),
  ge: mark('Ge', '>='),
  eq: mark('Eq', '=='),
  assign: mark('Assign', '='),
  less: mark('Less', '<'),
  greater: mark('Greater', '>'),
  plus: mark('Plus', '+'),
  minus: mark('Minus', '-'),
  star: mark('Star', '*'),
  slash: mark('Slash', '/'),
  percent: mark('Percent', '%'),
  amp: mark('Amp', '&'),
  bar: mark('Bar', '|'),
  caret: mark('Caret', '^'),
  colon: mark('Colon', ':'),
  semicolon: mark('Semicolon', ';'),
  comma: mark('Comma', ','),
  at: mark('At', '@'),
  leftParen: mark('LeftParen', '('),
  rightParen: mark('RightParen', ')'),
  leftBracket: mark('LeftBracket', '['),
  rightBracket: mark('RightBracket', ']'),
  leftBrace: mark('LeftBrace', '{'),
  rightBrace: mark('RightBrace', '}'),
};

/** Begins a location; the end of the line ends it. */
export const Hash = createToken({ name: 'Hash', label: '"#"', pattern: '#', push_mode: 'location' });
export const LocName = createToken({
  name: 'LocName',
  label: 'a name',
  pattern: LOC_NAME,
  line_breaks: false,
});
const LocEnd = createToken({
  name: 'LocEnd',
  pattern: /\r?\n/,
  line_breaks: true,
  group: Lexer.SKIPPED,
  pop_mode: true,
});
const LocSpace = createToken({ name: 'LocSpace', pattern: /[ \t]+/, line_breaks: false, group: Lexer.SKIPPED });
const Space = createToken({ name: 'Space', pattern: /[ \t\r\n]+/, line_breaks: true, group: Lexer.SKIPPED });

/** `kernels` before `kernel`, which is its beginning. */
function longestFirst(tokens: Record<string, TokenType>): TokenType[] {
  return Object.values(tokens).sort((a, b) => b.name.length - a.name.length);
}

const { plusAssign, maxAssign, minAssign, ...otherMarks } = marks;

export const vocabulary: IMultiModeLexerDefinition = {
  modes: {
    main: [
      Space,
      plusAssign,
      maxAssign,
      minAssign,
      ...longestFirst(reserved),
      ...longestFirst(words),
      Name,
      Quoted,
      Float,
      Int,
      ...Object.values(otherMarks),
      Hash,
    ],
    location: [
      LocSpace,
      LocEnd,
      LocName,
      Quoted,
      marks.leftParen,
      marks.rightParen,
      marks.less,
      marks.greater,
      marks.colon,
      marks.semicolon,
    ],
  },
  defaultMode: 'main',
};

let lexer: Lexer | undefined;

/** The lexer, built when first asked for. */
export function spnLexer(): Lexer {
  lexer ??= new Lexer(vocabulary, { positionTracking: 'onlyOffset', ensureOptimizations: true });
  return lexer;
}
