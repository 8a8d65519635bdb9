/**
 * What the three parsers share: names, numbers, types, attributes, locations, and errors with line and column.
 * Chevrotain first records every rule with dummy tokens, so whatever looks at a token's text stands inside ACTION.
 */
import { EmbeddedActionsParser, EOF, type IParserErrorMessageProvider, type IToken, type TokenType } from 'chevrotain';
import { type Place, unexpectedText, unknownName, unreadableText } from '../diagnostics/text.js';
import type { Attr, Attrs } from '../graph.js';
import type { Loc } from '../loc.js';
import { type Dim, type DType, dtypes, replicated, type TensorType } from '../types.js';
import { Float, Hash, Int, LocName, marks, Name, Quoted, reserved, spnLexer, vocabulary, words } from './tokens.js';

const label = (t: TokenType): string => t.LABEL ?? t.name;
const found = (t: IToken): string => (t.tokenType === EOF ? 'the end of the text' : JSON.stringify(t.image));

/** Only `expected` is said here; place and token are added where the error is thrown. */
const messages: IParserErrorMessageProvider = {
  buildMismatchTokenMessage: ({ expected }) => label(expected),
  buildNotAllInputParsedMessage: () => 'the end of the text',
  buildNoViableAltMessage: ({ expectedPathsPerAlt }) => {
    const first = new Set(expectedPathsPerAlt.flatMap((paths) => paths.map((p) => label(p[0]))));
    return [...first].join(' or ');
  },
  buildEarlyExitMessage: ({ expectedIterationPaths }) =>
    [...new Set(expectedIterationPaths.map((p) => label(p[0])))].join(' or '),
};

export class Grammar extends EmbeddedActionsParser {
  private text = '';
  private file = '';
  private lineStarts: number[] = [];

  constructor() {
    super(vocabulary, { errorMessageProvider: messages, recoveryEnabled: false });
  }

  /** Parses the whole text by one rule. */
  run<T>(text: string, file: string, rule: () => T): T {
    this.text = text;
    this.file = file;
    this.lineStarts = [0];
    for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) this.lineStarts.push(i + 1);
    const { tokens, errors } = spnLexer().tokenize(text);
    if (errors.length > 0) {
      const { offset, length } = errors[0];
      throw unreadableText(this.place(offset), JSON.stringify(text.slice(offset, offset + Math.min(length, 20))));
    }
    this.input = tokens;
    const result = rule.call(this);
    const error = this.errors[0];
    if (error) throw unexpectedText(this.placeOf(error.token), error.message, found(error.token));
    return result;
  }

  private place(offset: number): Place {
    let lo = 0;
    let hi = this.lineStarts.length - 1;
    while (lo < hi) {
      const mid = (lo + hi + 1) >> 1;
      if (this.lineStarts[mid] <= offset) lo = mid;
      else hi = mid - 1;
    }
    return { file: this.file, line: lo + 1, column: offset - this.lineStarts[lo] + 1 };
  }

  protected placeOf(token: IToken): Place {
    // The end of the text has no offset of its own.
    return this.place(Number.isNaN(token.startOffset) ? this.text.length : token.startOffset);
  }

  protected unexpected(token: IToken, expected: string): never {
    throw unexpectedText(this.placeOf(token), expected, found(token));
  }

  protected unknown(token: IToken, what: string): never {
    throw unknownName(this.placeOf(token), what, this.nameOf(token));
  }

  /** `token`'s text as one of `allowed`. */
  protected oneOf<T extends string>(token: IToken, allowed: readonly T[]): T {
    const text = this.nameOf(token);
    return allowed.find((a) => a === text) ?? this.unexpected(token, allowed.join(' or '));
  }

  protected nameOf(token: IToken): string {
    if (token.tokenType !== Quoted) return token.image;
    try {
      return JSON.parse(token.image) as string;
    } catch {
      return this.unexpected(token, 'a string with JSON escapes');
    }
  }

  /** Where there is no `#`: the line of the text itself. */
  protected locOfToken(token: IToken): Loc {
    return { kind: 'file', ...this.placeOf(token) };
  }

  protected nameToken = this.RULE(
    'nameToken',
    (): IToken => this.OR([{ ALT: () => this.CONSUME(Name) }, { ALT: () => this.CONSUME(Quoted) }]),
  );

  protected name = this.RULE('name', (): string => {
    const token = this.SUBRULE(this.nameToken);
    return this.ACTION(() => this.nameOf(token));
  });

  protected string = this.RULE('string', (): string => {
    const token = this.CONSUME(Quoted);
    return this.ACTION(() => this.nameOf(token));
  });

  /** A name, or a call of one name on another: `due(conv1.weight.A)`. */
  protected label = this.RULE('label', (): string => {
    let text = this.SUBRULE(this.name);
    this.OPTION(() => {
      this.CONSUME(marks.leftParen);
      const argument = this.SUBRULE1(this.name);
      this.CONSUME(marks.rightParen);
      text = `${text}(${argument})`;
    });
    return text;
  });

  protected guard = this.RULE('guard', (): string => {
    this.CONSUME(reserved.when);
    return this.SUBRULE(this.label);
  });

  protected int = this.RULE('int', (): number => Number(this.CONSUME(Int).image));

  protected number = this.RULE('number', (): number => {
    const negative = this.OPTION(() => this.CONSUME(marks.minus)) !== undefined;
    const value = this.OR([
      { ALT: () => Number(this.CONSUME(Int).image) },
      { ALT: () => Number(this.CONSUME(Float).image) },
      {
        ALT: () => {
          this.CONSUME(reserved.inf);
          return Number.POSITIVE_INFINITY;
        },
      },
      {
        ALT: () => {
          this.CONSUME(reserved.nan);
          return Number.NaN;
        },
      },
    ]);
    return negative ? -value : value;
  });

  protected boolean = this.RULE('boolean', (): boolean =>
    this.OR([
      { ALT: () => this.CONSUME(reserved.true) !== undefined },
      { ALT: () => this.CONSUME(reserved.false) === undefined },
    ]),
  );

  protected dim = this.RULE(
    'dim',
    (): Dim =>
      this.OR([
        {
          ALT: () => {
            const n = this.SUBRULE(this.int);
            const symbol = this.OPTION(() => {
              this.CONSUME(marks.star);
              return this.SUBRULE1(this.name);
            });
            return symbol === undefined ? n : { symbol, factor: n };
          },
        },
        { ALT: () => ({ symbol: this.SUBRULE2(this.name), factor: 1 }) },
      ]),
  );

  protected type = this.RULE('type', (): TensorType => {
    const kind = this.CONSUME(Name);
    const dims: Dim[] = [];
    this.CONSUME(marks.leftBracket);
    this.MANY_SEP({ SEP: marks.comma, DEF: () => dims.push(this.SUBRULE(this.dim)) });
    this.CONSUME(marks.rightBracket);
    const rank = this.OPTION(() => {
      this.CONSUME(marks.at);
      this.CONSUME(words.owner);
      this.CONSUME(marks.leftParen);
      const r = this.SUBRULE(this.int);
      this.CONSUME(marks.rightParen);
      return r;
    });
    return this.ACTION((): TensorType => {
      const packed = /^sym(?:\.(\w+))?$/.exec(kind.image);
      const dtype = packed ? (packed[1] ?? 'f32') : kind.image;
      if (!(dtypes as readonly string[]).includes(dtype)) this.unexpected(kind, `${dtypes.join(' or ')} or sym`);
      if (packed && dims.length === 0) this.unexpected(kind, 'sym with the size of the matrix');
      return {
        dtype: dtype as DType,
        shape: packed ? [...dims, dims[dims.length - 1]] : dims,
        layout: packed ? 'packed-lower' : 'dense',
        placement: rank === undefined ? replicated : { kind: 'owner', rank },
      };
    });
  });

  private scalar = this.RULE('scalar', (): number | string | boolean =>
    this.OR([
      { ALT: () => this.SUBRULE(this.number) },
      { ALT: () => this.SUBRULE(this.boolean) },
      { ALT: () => this.SUBRULE(this.name) },
    ]),
  );

  private attr = this.RULE(
    'attr',
    (): Attr =>
      this.OR([
        { ALT: () => this.SUBRULE(this.scalar) },
        {
          ALT: () => {
            const list: (number | string | boolean)[] = [];
            this.CONSUME(marks.leftBracket);
            this.MANY_SEP({ SEP: marks.comma, DEF: () => list.push(this.SUBRULE1(this.scalar)) });
            this.CONSUME(marks.rightBracket);
            return list as readonly number[] | readonly string[];
          },
        },
      ]),
  );

  protected attrs = this.RULE('attrs', (): Attrs => {
    const entries: [string, Attr][] = [];
    this.CONSUME(marks.leftBrace);
    this.MANY_SEP({
      SEP: marks.comma,
      DEF: () => {
        const key = this.SUBRULE(this.name);
        this.CONSUME(marks.assign);
        entries.push([key, this.SUBRULE(this.attr)]);
      },
    });
    this.CONSUME(marks.rightBrace);
    return this.ACTION(() => Object.fromEntries(entries));
  });

  private locName = this.RULE(
    'locName',
    (): IToken => this.OR([{ ALT: () => this.CONSUME(LocName) }, { ALT: () => this.CONSUME(Quoted) }]),
  );

  private locNumber(token: IToken): number {
    return /^\d+$/.test(token.image) ? Number(token.image) : this.unexpected(token, 'an integer');
  }

  /** `onnx:NODE(OP)`, `FILE:LINE:COLUMN` or `PASS<LOCATION>`. */
  protected loc = this.RULE('loc', (): Loc => {
    const head = this.SUBRULE(this.locName);
    return this.OR([
      {
        ALT: (): Loc => {
          this.CONSUME(marks.less);
          const from = this.OPTION(() => this.SUBRULE(this.loc));
          this.CONSUME(marks.greater);
          return this.ACTION(() => {
            const pass = this.nameOf(head);
            return from ? { kind: 'pass', pass, from } : { kind: 'pass', pass };
          });
        },
      },
      {
        ALT: (): Loc => {
          this.CONSUME(marks.colon);
          const second = this.SUBRULE1(this.locName);
          return this.OR1([
            {
              ALT: (): Loc => {
                this.CONSUME(marks.leftParen);
                const op = this.SUBRULE2(this.locName);
                this.CONSUME(marks.rightParen);
                return this.ACTION(() => {
                  if (head.image !== 'onnx') this.unexpected(head, '"onnx"');
                  return { kind: 'onnx', node: this.nameOf(second), op: this.nameOf(op) };
                });
              },
            },
            {
              ALT: (): Loc => {
                this.CONSUME1(marks.colon);
                const third = this.SUBRULE3(this.locName);
                return this.ACTION(() => ({
                  kind: 'file',
                  file: this.nameOf(head),
                  line: this.locNumber(second),
                  column: this.locNumber(third),
                }));
              },
            },
          ]);
        },
      },
    ]);
  });

  /** All locations behind a `#`; none where there is no `#`. */
  protected locs = this.RULE('locs', (): Loc[] => {
    const list: Loc[] = [];
    this.OPTION(() => {
      this.CONSUME(Hash);
      this.AT_LEAST_ONE_SEP({ SEP: marks.semicolon, DEF: () => list.push(this.SUBRULE(this.loc)) });
    });
    return list;
  });
}
