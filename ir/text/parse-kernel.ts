/**
 * Reads kernels from `.spn`: parameters, loop nests, registers, memory and tiles.
 */
import type { IToken } from 'chevrotain';
import type { Binding, Expr, Kernel, KernelParam, KernelType, Stmt } from '../kernel.js';
import { ExpressionGrammar } from './parse-expression.js';
import { marks, Name, reserved, words } from './tokens.js';

const storage: readonly KernelType[] = ['f32', 'f16', 'i32', 'u8', 'bool'];
const registers = ['f32', 'i32', 'bool'] as const;
const floats = ['f32', 'f16'] as const;
const bindings: readonly Binding[] = ['grid', 'group', 'lane', 'vector', 'serial'];

class KernelParser extends ExpressionGrammar {
  constructor() {
    super();
    this.performSelfAnalysis();
  }

  private word<T extends string>(token: IToken, allowed: readonly T[]): T {
    return this.ACTION(() => this.oneOf(token, allowed));
  }

  private block = this.RULE('block', (): Stmt[] => {
    const body: Stmt[] = [];
    this.CONSUME(marks.leftBrace);
    this.MANY(() => body.push(this.SUBRULE(this.statement)));
    this.CONSUME(marks.rightBrace);
    return body;
  });

  private statement = this.RULE(
    'statement',
    (): Stmt =>
      this.OR([
        { ALT: () => this.SUBRULE(this.loop) },
        { ALT: () => this.SUBRULE(this.register) },
        { ALT: () => this.SUBRULE(this.branch) },
        { ALT: () => this.SUBRULE(this.alloc) },
        { ALT: () => this.SUBRULE(this.tile) },
        { ALT: () => this.SUBRULE(this.mma) },
        { ALT: () => this.SUBRULE(this.each) },
        { ALT: () => this.SUBRULE(this.assignment) },
      ]),
  );

  private loop = this.RULE('loop', (): Stmt => {
    this.CONSUME(reserved.for);
    const name = this.SUBRULE(this.name);
    this.CONSUME(words.in);
    const lo = this.SUBRULE(this.expr);
    this.CONSUME(marks.range);
    const hi = this.SUBRULE1(this.expr);
    const step = this.OPTION(() => {
      this.CONSUME(words.step);
      return this.SUBRULE(this.int);
    });
    const bind = this.SUBRULE(this.binding);
    return { kind: 'for', var: name, lo, hi, step: step ?? 1, bind, body: this.SUBRULE(this.block) };
  });

  /** `group` is a reserved word, the other bindings are not. */
  private binding = this.RULE('binding', (): Binding => {
    const token = this.OR([{ ALT: () => this.CONSUME(reserved.group) }, { ALT: () => this.CONSUME(Name) }]);
    return this.word(token, bindings);
  });

  private register = this.RULE('register', (): Stmt => {
    const kind = this.OR([
      { ALT: (): 'let' => this.CONSUME(reserved.let) && 'let' },
      { ALT: (): 'var' => this.CONSUME(reserved.var) && 'var' },
    ]);
    const name = this.SUBRULE(this.name);
    this.CONSUME(marks.colon);
    const type = this.word(this.CONSUME(Name), registers);
    this.CONSUME(marks.assign);
    return { kind, name, type, value: this.SUBRULE(this.expr) };
  });

  private branch = this.RULE('branch', (): Stmt => {
    this.CONSUME(reserved.if);
    const cond = this.SUBRULE(this.expr);
    const then = this.SUBRULE(this.block);
    const otherwise = this.OPTION(() => {
      this.CONSUME(reserved.else);
      return this.SUBRULE1(this.block);
    });
    return { kind: 'if', cond, then, else: otherwise ?? [] };
  });

  private alloc = this.RULE('alloc', (): Stmt => {
    const space = this.OR([
      { ALT: (): 'group' => this.CONSUME(reserved.group) && 'group' },
      { ALT: (): 'register' => this.CONSUME(reserved.register) && 'register' },
    ]);
    const name = this.SUBRULE(this.name);
    this.CONSUME(marks.colon);
    const type = this.word(this.CONSUME(Name), storage);
    this.CONSUME(marks.leftBracket);
    const size = this.SUBRULE(this.int);
    this.CONSUME(marks.rightBracket);
    return { kind: 'alloc', space, name, type, size };
  });

  /** `row=EXPR, col=INTEGER` behind the index of a tile in memory. */
  private tileStrides = this.RULE('tileStrides', (): { row: Expr; col: number } => {
    this.CONSUME(marks.semicolon);
    this.CONSUME(words.row);
    this.CONSUME(marks.assign);
    const row = this.SUBRULE(this.expr);
    this.CONSUME(marks.comma);
    this.CONSUME(words.col);
    this.CONSUME1(marks.assign);
    return { row, col: this.SUBRULE(this.number) };
  });

  private tile = this.RULE('tile', (): Stmt => {
    this.CONSUME(reserved.tile);
    const tile = this.SUBRULE(this.name);
    return this.OR([
      {
        ALT: (): Stmt => {
          this.CONSUME(marks.colon);
          const accumulator = this.word(this.CONSUME(Name), floats);
          this.CONSUME(marks.leftBracket);
          const rows = this.SUBRULE(this.int);
          this.CONSUME(marks.comma);
          const cols = this.SUBRULE1(this.int);
          this.CONSUME(marks.rightBracket);
          return { kind: 'tileZero', tile, rows, cols, accumulator };
        },
      },
      {
        ALT: (): Stmt => {
          this.CONSUME(marks.assign);
          const memory = this.SUBRULE1(this.name);
          this.CONSUME1(marks.leftBracket);
          const index = this.SUBRULE(this.expr);
          const strides = this.SUBRULE(this.tileStrides);
          this.CONSUME1(marks.rightBracket);
          return this.ACTION((): Stmt => ({ kind: 'tileLoad', tile, memory, index, ...strides }));
        },
      },
    ]);
  });

  private mma = this.RULE('mma', (): Stmt => {
    this.CONSUME(reserved.mma);
    const tile = this.SUBRULE(this.name);
    this.CONSUME(marks.plusAssign);
    const aMemory = this.SUBRULE1(this.name);
    this.CONSUME(marks.leftBracket);
    const aIndex = this.SUBRULE(this.expr);
    this.CONSUME(marks.semicolon);
    this.CONSUME(words.row);
    this.CONSUME(marks.assign);
    const row = this.SUBRULE(this.number);
    this.CONSUME(marks.comma);
    this.CONSUME(words.k);
    this.CONSUME1(marks.assign);
    const aDepth = this.SUBRULE1(this.number);
    this.CONSUME(marks.rightBracket);
    this.CONSUME(marks.star);
    const bMemory = this.SUBRULE2(this.name);
    this.CONSUME1(marks.leftBracket);
    const bIndex = this.SUBRULE1(this.expr);
    this.CONSUME1(marks.semicolon);
    this.CONSUME1(words.k);
    this.CONSUME2(marks.assign);
    const bDepth = this.SUBRULE2(this.number);
    this.CONSUME1(marks.comma);
    this.CONSUME(words.col);
    this.CONSUME3(marks.assign);
    const col = this.SUBRULE3(this.number);
    this.CONSUME1(marks.rightBracket);
    this.CONSUME2(marks.comma);
    this.CONSUME2(words.k);
    this.CONSUME(marks.less);
    const depth = this.SUBRULE2(this.expr);
    this.CONSUME3(marks.comma);
    const operand = this.word(this.CONSUME(Name), floats);
    const a = { memory: aMemory, index: aIndex, row, depth: aDepth };
    return { kind: 'tileMma', tile, operand, depth, a, b: { memory: bMemory, index: bIndex, depth: bDepth, col } };
  });

  private each = this.RULE('each', (): Stmt => {
    this.CONSUME(reserved.each);
    const tile = this.SUBRULE(this.name);
    this.CONSUME(marks.leftParen);
    const row = this.SUBRULE1(this.name);
    this.CONSUME(marks.less);
    const rowLimit = this.SUBRULE(this.expr);
    this.CONSUME(marks.comma);
    const col = this.SUBRULE2(this.name);
    this.CONSUME1(marks.less);
    const colLimit = this.SUBRULE1(this.expr);
    this.CONSUME(marks.rightParen);
    this.CONSUME(words.as);
    const element = this.SUBRULE3(this.name);
    return { kind: 'tileEach', tile, row, col, element, rowLimit, colLimit, body: this.SUBRULE(this.block) };
  });

  private store = this.RULE('store', (memory: string): Stmt => {
    this.CONSUME(marks.leftBracket);
    const index = this.SUBRULE(this.expr);
    const strides = this.OPTION(() => this.SUBRULE(this.tileStrides));
    this.CONSUME(marks.rightBracket);
    const equals = this.CONSUME(marks.assign);
    const tile = this.OR([
      {
        ALT: () => {
          this.CONSUME(reserved.tile);
          return { tile: this.SUBRULE(this.name) };
        },
      },
      { ALT: () => ({ value: this.SUBRULE1(this.expr) }) },
    ]);
    return this.ACTION((): Stmt => {
      if ('value' in tile && !strides) return { kind: 'store', memory, index, value: tile.value };
      if ('tile' in tile && strides) return { kind: 'tileStore', tile: tile.tile, memory, index, ...strides };
      return this.unexpected(equals, 'a tile where row and col are given, an expression where not');
    });
  });

  private assignment = this.RULE('assignment', (): Stmt => {
    const name = this.SUBRULE(this.name);
    const accumulate = (op: 'add' | 'max' | 'min', value: Expr): Stmt => ({ kind: 'accumulate', name, op, value });
    return this.OR([
      { ALT: () => this.SUBRULE(this.store, { ARGS: [name] }) },
      {
        ALT: (): Stmt => {
          this.CONSUME(marks.assign);
          return { kind: 'set', name, value: this.SUBRULE(this.expr) };
        },
      },
      {
        ALT: () => {
          this.CONSUME(marks.plusAssign);
          return accumulate('add', this.SUBRULE1(this.expr));
        },
      },
      {
        ALT: () => {
          this.CONSUME(marks.maxAssign);
          return accumulate('max', this.SUBRULE2(this.expr));
        },
      },
      {
        ALT: () => {
          this.CONSUME(marks.minAssign);
          return accumulate('min', this.SUBRULE3(this.expr));
        },
      },
    ]);
  });

  private param = this.RULE('param', (): KernelParam => {
    const name = this.SUBRULE(this.name);
    this.CONSUME(marks.colon);
    const type = this.word(this.CONSUME(Name), storage);
    this.CONSUME(marks.leftBracket);
    const length = this.SUBRULE(this.int);
    this.CONSUME(marks.rightBracket);
    const access = this.word<KernelParam['access']>(this.CONSUME1(Name), ['read', 'write', 'readwrite']);
    return { name, type, access, length };
  });

  private kernel = this.RULE('kernel', (): Kernel => {
    const head = this.CONSUME(words.kernel);
    const name = this.SUBRULE(this.name);
    const params: KernelParam[] = [];
    this.CONSUME(marks.leftParen);
    this.MANY_SEP({ SEP: marks.comma, DEF: () => params.push(this.SUBRULE(this.param)) });
    this.CONSUME(marks.rightParen);
    const locs = this.SUBRULE(this.locs);
    this.CONSUME(words.workgroup);
    this.CONSUME(marks.assign);
    const workgroup = this.SUBRULE(this.number);
    this.CONSUME(words.flops);
    this.CONSUME1(marks.assign);
    const flops = this.SUBRULE1(this.number);
    this.CONSUME(words.bytes);
    this.CONSUME2(marks.assign);
    const bytes = this.SUBRULE2(this.number);
    const body = this.SUBRULE(this.block);
    const loc = this.ACTION(() => locs[0] ?? this.locOfToken(head));
    return { name, params, body, workgroup, flops, bytes, loc };
  });

  kernels = this.RULE('kernels', (): Kernel[] => {
    const list: Kernel[] = [];
    this.MANY(() => list.push(this.SUBRULE(this.kernel)));
    return list;
  });
}

let parser: KernelParser | undefined;

/** All kernels of a text. */
export function parseKernels(text: string, file = 'text.spn'): Kernel[] {
  parser ??= new KernelParser();
  const { kernels } = parser;
  return parser.run(text, file, kernels);
}
