/**
 * Reads a module from `.spn`. Values are made as they are declared, and every later mention of a name is that same value. A name
 * that is not declared is state: its value is made where the function first reads it.
 */
import type { IToken } from 'chevrotain';
import { repeatedName } from '../diagnostics/text.js';
import {
  type Func,
  graphLevels,
  type Module,
  type Node,
  type Output,
  type ParameterReport,
  type StateEntry,
  type StateRole,
  type StateUpdate,
  type Value,
} from '../graph.js';
import type { Loc } from '../loc.js';
import { isOpName, type OpName } from '../ops/table.js';
import type { TensorType } from '../types.js';
import { Grammar } from './grammar.js';
import { marks, Name, reserved, words } from './tokens.js';

const roles = Object.keys({
  parameter: 0,
  constant: 0,
  velocity: 0,
  'running-statistic': 0,
  factor: 0,
  inverse: 0,
  history: 0,
  accumulator: 0,
  schedule: 0,
  counter: 0,
} satisfies Record<StateRole, 0>) as readonly StateRole[];

interface Declaration {
  readonly token: IToken;
  readonly type: TensorType;
}

class GraphParser extends Grammar {
  private state = new Map<string, StateEntry>();
  private scope = new Map<string, Value>();
  private reads: Value[] = [];

  constructor() {
    super();
    this.performSelfAnalysis();
  }

  private define(token: IToken, type: TensorType, loc: Loc): Value {
    const name = this.nameOf(token);
    if (this.scope.has(name)) throw repeatedName(this.placeOf(token), name);
    const value: Value = { name, type, loc };
    this.scope.set(name, value);
    return value;
  }

  private read(token: IToken): Value | undefined {
    const entry = this.state.get(this.nameOf(token));
    if (!entry) return undefined;
    const value = this.define(token, entry.type, entry.loc);
    this.reads.push(value);
    return value;
  }

  /** A name that must be defined already. */
  private value = this.RULE('value', (): Value => {
    const token = this.SUBRULE(this.nameToken);
    return this.ACTION(
      () => this.scope.get(this.nameOf(token)) ?? this.read(token) ?? this.unknown(token, 'value before this line'),
    );
  });

  private declaration = this.RULE('declaration', (): Declaration => {
    const token = this.SUBRULE(this.nameToken);
    this.CONSUME(marks.colon);
    return { token, type: this.SUBRULE(this.type) };
  });

  private role = this.RULE('role', (): StateRole => {
    const first = this.CONSUME(Name);
    const second = this.OPTION(() => {
      this.CONSUME(marks.minus);
      return this.CONSUME1(Name);
    });
    return this.ACTION(() => {
      const image = second ? `${first.image}-${second.image}` : first.image;
      return roles.find((r) => r === image) ?? this.unexpected(first, roles.join(' or '));
    });
  });

  private init = this.RULE('init', (): StateEntry['init'] =>
    this.OR([
      { ALT: () => ({ kind: 'fill' as const, value: this.SUBRULE(this.number) }) },
      {
        ALT: () => {
          const word = this.CONSUME(Name);
          this.ACTION(() => this.oneOf(word, ['weights']));
          return { kind: 'weights' as const };
        },
      },
    ]),
  );

  private entry = this.RULE('entry', (): StateEntry => {
    const { token, type } = this.SUBRULE(this.declaration);
    const role = this.SUBRULE(this.role);
    this.CONSUME(words.owner);
    this.CONSUME(marks.assign);
    const owner = this.OR<number | 'all'>([
      { ALT: () => this.SUBRULE(this.int) },
      {
        ALT: (): 'all' => {
          const word = this.CONSUME(Name);
          return this.ACTION(() => this.oneOf(word, ['all']));
        },
      },
    ]);
    this.CONSUME(words.lifetime);
    this.CONSUME1(marks.assign);
    const lifetimeWord = this.CONSUME1(Name);
    const lifetime = this.ACTION(() => this.oneOf<StateEntry['lifetime']>(lifetimeWord, ['artifact', 'training']));
    this.CONSUME(words.checkpoint);
    this.CONSUME2(marks.assign);
    const checkpoint = this.SUBRULE(this.boolean);
    this.CONSUME(words.init);
    this.CONSUME3(marks.assign);
    const init = this.SUBRULE(this.init);
    const of = this.OPTION(() => {
      this.CONSUME(words.of);
      this.CONSUME4(marks.assign);
      return this.SUBRULE(this.name);
    });
    const locs = this.SUBRULE(this.locs);
    return this.ACTION(
      (): StateEntry => ({
        name: this.nameOf(token),
        type,
        role,
        owner,
        lifetime,
        checkpoint,
        init,
        ...(of === undefined ? {} : { of }),
        loc: locs[0] ?? this.locOfToken(token),
      }),
    );
  });

  private parameter = this.RULE('parameter', (): ParameterReport => {
    const name = this.SUBRULE(this.name);
    this.CONSUME(marks.colon);
    const word = this.CONSUME(Name);
    this.CONSUME(words.rule);
    const rule = this.SUBRULE(this.string);
    this.CONSUME(words.why);
    const why = this.SUBRULE1(this.string);
    return this.ACTION(() => ({
      name,
      trainable: this.oneOf(word, ['trainable', 'frozen']) === 'trainable',
      rule,
      why,
    }));
  });

  private values = this.RULE('values', (): Value[] => {
    const list: Value[] = [];
    this.CONSUME(marks.leftParen);
    this.MANY(() => {
      const { token, type } = this.SUBRULE(this.declaration);
      const locs = this.SUBRULE(this.locs);
      this.ACTION(() => list.push(this.define(token, type, locs[0] ?? this.locOfToken(token))));
    });
    this.CONSUME(marks.rightParen);
    return list;
  });

  private node = this.RULE('node', (): Node => {
    const results: Declaration[] = [];
    this.AT_LEAST_ONE_SEP({ SEP: marks.comma, DEF: () => results.push(this.SUBRULE(this.declaration)) });
    this.CONSUME(marks.assign);
    const opToken = this.CONSUME(Name);
    const operands: Value[] = [];
    this.MANY_SEP({ SEP: marks.comma, DEF: () => operands.push(this.SUBRULE(this.value)) });
    const attrs = this.OPTION1(() => this.SUBRULE(this.attrs)) ?? {};
    const guard = this.OPTION2(() => this.SUBRULE(this.guard));
    const locs = this.SUBRULE(this.locs);
    return this.ACTION(() => {
      const op: OpName = isOpName(opToken.image) ? opToken.image : this.unknown(opToken, 'op');
      const loc = locs[0] ?? this.locOfToken(results[0].token);
      return {
        op,
        operands,
        attrs,
        results: results.map((r, i) => this.define(r.token, r.type, locs[i + 1] ?? loc)),
        loc,
        ...(guard === undefined ? {} : { guard }),
      };
    });
  });

  private output = this.RULE('output', (): Output => {
    this.CONSUME(reserved.return);
    const name = this.SUBRULE(this.label);
    this.CONSUME(marks.assign);
    return { name, value: this.SUBRULE(this.value) };
  });

  private update = this.RULE('update', (): StateUpdate => {
    this.CONSUME(reserved.update);
    const state = this.SUBRULE(this.name);
    this.CONSUME(marks.assign);
    return { state, value: this.SUBRULE(this.value) };
  });

  private func = this.RULE('func', (level: string): Func => {
    const word = this.CONSUME(Name);
    this.ACTION(() => {
      this.oneOf(word, [level]);
      this.scope = new Map();
      this.reads = [];
    });
    this.CONSUME(marks.at);
    const name = this.SUBRULE(this.name);
    const inputs = this.SUBRULE(this.values);
    this.CONSUME(marks.leftBrace);
    const nodes: Node[] = [];
    const outputs: Output[] = [];
    const updates: StateUpdate[] = [];
    this.MANY(() => nodes.push(this.SUBRULE(this.node)));
    this.MANY1(() => outputs.push(this.SUBRULE(this.output)));
    this.MANY2(() => updates.push(this.SUBRULE(this.update)));
    this.CONSUME(marks.rightBrace);
    return { name, inputs, reads: this.reads, nodes, outputs, updates };
  });

  module = this.RULE('module', (): Module => {
    this.CONSUME(words.module);
    const name = this.SUBRULE(this.name);
    this.CONSUME(words.level);
    const levelToken = this.CONSUME(Name);
    const level = this.ACTION(() => this.oneOf(levelToken, graphLevels));
    const state: StateEntry[] = [];
    const parameters: ParameterReport[] = [];
    const functions: Func[] = [];
    this.CONSUME(words.state);
    this.CONSUME(marks.leftBrace);
    this.MANY(() => state.push(this.SUBRULE(this.entry)));
    this.CONSUME(marks.rightBrace);
    this.ACTION(() => {
      this.state = new Map(state.map((e) => [e.name, e]));
    });
    this.CONSUME(words.parameters);
    this.CONSUME1(marks.leftBrace);
    this.MANY1(() => parameters.push(this.SUBRULE(this.parameter)));
    this.CONSUME1(marks.rightBrace);
    this.MANY2(() => functions.push(this.SUBRULE(this.func, { ARGS: [level] })));
    return { name, level, state, functions, weights: new Map(), parameters };
  });
}

let parser: GraphParser | undefined;

/** @param file name of the text, for errors and for lines that carry no location of their own */
export function parseModule(text: string, file = 'text.spn'): Module {
  parser ??= new GraphParser();
  const { module } = parser;
  return parser.run(text, file, module);
}
