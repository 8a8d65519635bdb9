/**
 * Expressions of kernels: read as a flat chain of operands and operators, then grouped by how tightly the operators bind; all
 * group to the left.
 */
import type { IToken, TokenType } from 'chevrotain';
import type { BinaryOp, Expr, UnaryOp } from '../kernel.js';
import { Grammar } from './grammar.js';
import { infix } from './print-kernel.js';
import { Float, Int, marks, reserved } from './tokens.js';

const unaryCalls: readonly UnaryOp[] = [
  'abs',
  'sqrt',
  'floor',
  'nearest',
  'not',
  'toF32',
  'toI32',
  'uToF32',
  'bitsToF32',
  'bitsToI32',
  'exp',
  'log',
  'tanh',
  'erf',
];
const binaryCalls: readonly BinaryOp[] = ['min', 'max', 'mulHiU'];

const operators = new Map(Object.entries(infix).map(([op, { mark, binds }]) => [mark, { op: op as BinaryOp, binds }]));
const infixMarks: readonly TokenType[] = Object.values(marks).filter((m) => operators.has(m.PATTERN as string));

/** Groups `operands[0] ops[0] operands[1] ops[1] ...` to the left, tightest first. */
function group(operands: readonly Expr[], ops: readonly IToken[]): Expr {
  let at = 0;
  const climb = (least: number): Expr => {
    let a = operands[at];
    while (at < ops.length) {
      const { op, binds } = operators.get(ops[at].image)!;
      if (binds < least) break;
      at++;
      a = { kind: 'binary', op, a, b: climb(binds + 1) };
    }
    return a;
  };
  return climb(0);
}

export class ExpressionGrammar extends Grammar {
  protected expr = this.RULE('expr', (): Expr => {
    const operands = [this.SUBRULE(this.prefixed)];
    const ops: IToken[] = [];
    this.MANY(() => {
      ops.push(this.OR(infixMarks.map((m) => ({ ALT: () => this.CONSUME(m) }))));
      operands.push(this.SUBRULE1(this.prefixed));
    });
    return this.ACTION(() => group(operands, ops));
  });

  /** A minus before a number is part of the constant; before anything else it negates. */
  private prefixed = this.RULE(
    'prefixed',
    (): Expr =>
      this.OR([
        {
          ALT: () => {
            this.CONSUME(marks.minus);
            return this.OR1([
              { ALT: () => this.SUBRULE(this.literal, { ARGS: [-1] }) },
              { ALT: (): Expr => ({ kind: 'unary', op: 'neg', a: this.SUBRULE(this.primary) }) },
            ]);
          },
        },
        { ALT: () => this.SUBRULE1(this.literal, { ARGS: [1] }) },
        { ALT: () => this.SUBRULE1(this.primary) },
      ]),
  );

  private literal = this.RULE('literal', (sign: number): Expr => {
    const f32 = (value: number): Expr => ({ kind: 'const', type: 'f32', value: Math.fround(value) });
    return this.OR([
      { ALT: () => f32(sign * Number(this.CONSUME(Float).image)) },
      {
        ALT: () => {
          const token = this.CONSUME(Int);
          return this.ACTION((): Expr => {
            const value = sign * Number(token.image);
            if ((value | 0) !== value) this.unexpected(token, 'an integer of 32 bits');
            return { kind: 'const', type: 'i32', value: value | 0 };
          });
        },
      },
      {
        ALT: () => {
          this.CONSUME(reserved.inf);
          return f32(sign * Number.POSITIVE_INFINITY);
        },
      },
      {
        ALT: () => {
          this.CONSUME(reserved.nan);
          return f32(Number.NaN);
        },
      },
    ]);
  });

  private primary = this.RULE(
    'primary',
    (): Expr =>
      this.OR([
        { ALT: (): Expr => ({ kind: 'const', type: 'bool', value: this.SUBRULE(this.boolean) ? 1 : 0 }) },
        {
          ALT: () => {
            this.CONSUME(marks.leftParen);
            const e = this.SUBRULE(this.expr);
            this.CONSUME(marks.rightParen);
            return e;
          },
        },
        { ALT: () => this.SUBRULE(this.guardedLoad) },
        { ALT: () => this.SUBRULE(this.named) },
      ]),
  );

  private guardedLoad = this.RULE('guardedLoad', (): Expr => {
    this.CONSUME(reserved.loadIf);
    this.CONSUME(marks.leftParen);
    const cond = this.SUBRULE(this.expr);
    this.CONSUME(marks.comma);
    const memory = this.SUBRULE(this.name);
    this.CONSUME(marks.leftBracket);
    const index = this.SUBRULE1(this.expr);
    this.CONSUME(marks.rightBracket);
    this.CONSUME1(marks.comma);
    const otherwise = this.SUBRULE(this.number);
    this.CONSUME(marks.rightParen);
    return { kind: 'loadIf', cond, memory, index, otherwise };
  });

  /** A register, a load, or a function applied to arguments. */
  private named = this.RULE('named', (): Expr => {
    const token = this.SUBRULE(this.nameToken);
    const rest = this.OPTION(() =>
      this.OR([
        {
          ALT: (): { index?: Expr; args?: Expr[] } => {
            this.CONSUME(marks.leftBracket);
            const index = this.SUBRULE(this.expr);
            this.CONSUME(marks.rightBracket);
            return { index };
          },
        },
        {
          ALT: () => {
            const args: Expr[] = [];
            this.CONSUME(marks.leftParen);
            this.MANY_SEP({ SEP: marks.comma, DEF: () => args.push(this.SUBRULE1(this.expr)) });
            this.CONSUME(marks.rightParen);
            return { args };
          },
        },
      ]),
    );
    return this.ACTION((): Expr => {
      if (!rest) return { kind: 'ref', name: this.nameOf(token) };
      if (rest.index) return { kind: 'load', memory: this.nameOf(token), index: rest.index };
      return this.called(token, rest.args ?? []);
    });
  });

  private called(token: IToken, args: readonly Expr[]): Expr {
    const [a, b, c] = args;
    const name = token.image;
    const takes = (n: number): void => {
      if (args.length !== n) this.unexpected(token, `${n} argument${n > 1 ? 's' : ''} of ${name}`);
    };
    const one = unaryCalls.find((o) => o === name);
    if (one) {
      takes(1);
      return { kind: 'unary', op: one, a };
    }
    const two = binaryCalls.find((o) => o === name);
    if (two) {
      takes(2);
      return { kind: 'binary', op: two, a, b };
    }
    if (name !== 'select') return this.unknown(token, 'function');
    takes(3);
    return { kind: 'select', cond: a, a: b, b: c };
  }
}
