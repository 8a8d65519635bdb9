/**
 * Reads a program from `.spn`. Names of buffers and kernels are left as they are; verify-program.ts says whether they exist.
 */
import type {
  Batch,
  Buffer,
  KernelInfo,
  Memory,
  Program,
  ProgramFunction,
  Requirement,
  Segment,
  Step,
} from '../program.js';
import type { TensorType } from '../types.js';
import { Grammar } from './grammar.js';
import { marks, Name, reserved, words } from './tokens.js';

const roles: readonly Buffer['role'][] = ['state', 'input', 'output', 'constant', 'transient', 'window'];
const accesses = ['read', 'readwrite'] as const;
const targets: readonly Program['target'][] = ['wasm', 'webgpu'];

type Port = ProgramFunction['inputs'][number];

class ProgramParser extends Grammar {
  constructor() {
    super();
    this.performSelfAnalysis();
  }

  private memory = this.RULE('memory', (): Memory => {
    const name = this.SUBRULE(this.name);
    this.CONSUME(marks.colon);
    const bytes = this.SUBRULE(this.int);
    this.CONSUME(words.bytes);
    return { name, bytes };
  });

  private buffer = this.RULE('buffer', (): Buffer => {
    const token = this.SUBRULE(this.nameToken);
    this.CONSUME(marks.colon);
    const type = this.SUBRULE(this.type);
    const role = this.CONSUME(Name);
    const memory = this.SUBRULE(this.name);
    this.CONSUME(marks.plus);
    const offset = this.SUBRULE(this.int);
    this.CONSUME(marks.comma);
    const bytes = this.SUBRULE1(this.int);
    this.CONSUME(words.bytes);
    return this.ACTION(() => ({
      name: this.nameOf(token),
      memory,
      offset,
      dtype: type.dtype,
      layout: type.layout,
      shape: sizes(type) ?? this.unexpected(token, 'a buffer whose dimensions are numbers'),
      bytes,
      role: this.oneOf(role, roles),
    }));
  });

  private names = this.RULE('names', (): string[] => {
    const list: string[] = [];
    this.CONSUME(marks.leftBracket);
    this.MANY_SEP({ SEP: marks.comma, DEF: () => list.push(this.SUBRULE(this.name)) });
    this.CONSUME(marks.rightBracket);
    return list;
  });

  private kernelInfo = this.RULE('kernelInfo', (): KernelInfo => {
    const name = this.SUBRULE(this.name);
    this.CONSUME(words.grid);
    this.CONSUME(marks.assign);
    const grid = this.SUBRULE(this.number);
    this.CONSUME(words.scratch);
    this.CONSUME1(marks.assign);
    const scratch = this.SUBRULE1(this.number);
    const dispatch = this.OPTION(() => this.SUBRULE(this.dispatch));
    const access = this.SUBRULE(this.access);
    this.CONSUME(words.flops);
    this.CONSUME2(marks.assign);
    const flops = this.SUBRULE2(this.number);
    this.CONSUME(words.bytes);
    this.CONSUME3(marks.assign);
    const bytes = this.SUBRULE3(this.number);
    this.CONSUME(words.cost);
    this.CONSUME4(marks.assign);
    const cost = this.SUBRULE4(this.number);
    const requires = this.SUBRULE(this.requirement);
    this.CONSUME(words.computes);
    const computes = this.SUBRULE(this.names);
    this.CONSUME(words.source);
    const source = this.SUBRULE(this.string);
    this.CONSUME(words.stopped);
    const stopped = this.SUBRULE1(this.string);
    return {
      ...{ name, grid, scratch, access, flops, bytes, cost, requires, computes, source, stopped },
      ...(dispatch && { dispatch }),
    };
  });

  private dispatch = this.RULE('dispatch', (): NonNullable<KernelInfo['dispatch']> => {
    this.CONSUME(words.dispatch);
    const x = this.SUBRULE(this.int);
    this.CONSUME(marks.comma);
    const y = this.SUBRULE1(this.int);
    return { workgroups: [x, y] };
  });

  private access = this.RULE('access', (): KernelInfo['access'] => {
    const access: (typeof accesses)[number][] = [];
    this.CONSUME(words.access);
    this.CONSUME(marks.leftBracket);
    this.MANY_SEP({
      SEP: marks.comma,
      DEF: () => {
        const token = this.CONSUME(Name);
        this.ACTION(() => access.push(this.oneOf(token, accesses)));
      },
    });
    this.CONSUME(marks.rightBracket);
    return access;
  });

  private port = this.RULE('port', (): Port => {
    const name = this.SUBRULE(this.label);
    this.CONSUME(marks.assign);
    return { name, buffer: this.SUBRULE(this.name) };
  });

  private ports = this.RULE('ports', (): Port[] => {
    const list: Port[] = [];
    this.CONSUME(marks.leftParen);
    this.MANY(() => list.push(this.SUBRULE(this.port)));
    this.CONSUME(marks.rightParen);
    return list;
  });

  /** `requires simd, memory >= 65536`, or nothing. */
  private requirement = this.RULE('requirement', (): Requirement => {
    const features: string[] = [];
    const limits: [string, number][] = [];
    this.OPTION(() => {
      this.CONSUME(words.requires);
      this.AT_LEAST_ONE_SEP({
        SEP: marks.comma,
        DEF: () => {
          const name = this.SUBRULE(this.name);
          const least = this.OPTION1(() => {
            this.CONSUME(marks.ge);
            return this.SUBRULE1(this.number);
          });
          if (least === undefined) features.push(name);
          else limits.push([name, least]);
        },
      });
    });
    return this.ACTION(() => ({ features, limits: Object.fromEntries(limits) }));
  });

  private step = this.RULE('step', (): Step => {
    const slot = this.SUBRULE(this.name);
    this.CONSUME(marks.colon);
    const variants: string[] = [];
    this.AT_LEAST_ONE_SEP({ SEP: reserved.else, DEF: () => variants.push(this.SUBRULE1(this.name)) });
    const args = this.SUBRULE(this.names);
    this.CONSUME(words.source);
    const source = this.SUBRULE(this.string);
    return { slot, variants, args, source };
  });

  private segment = this.RULE('segment', (): Segment => {
    this.CONSUME(words.segment);
    const name = this.SUBRULE(this.name);
    const guard = this.OPTION(() => this.SUBRULE(this.guard));
    const repeat = this.OPTION1(() => {
      this.CONSUME(words.repeat);
      return this.SUBRULE(this.int);
    });
    const steps: Step[] = [];
    this.CONSUME(marks.leftBrace);
    this.MANY(() => steps.push(this.SUBRULE(this.step)));
    this.CONSUME(marks.rightBrace);
    return { name, ...(guard !== undefined && { guard }), ...(repeat !== undefined && { repeat }), steps };
  });

  private batch = this.RULE('batch', (): Batch => {
    this.CONSUME(words.batch);
    const guard = this.SUBRULE(this.label);
    this.CONSUME(marks.assign);
    const buffer = this.SUBRULE(this.name);
    const of: string[] = [];
    this.CONSUME(marks.leftBracket);
    this.MANY_SEP({ SEP: marks.comma, DEF: () => of.push(this.SUBRULE1(this.label)) });
    this.CONSUME(marks.rightBracket);
    return { guard, of, buffer };
  });

  private func = this.RULE('func', (): ProgramFunction => {
    this.CONSUME(words.function);
    this.CONSUME(marks.at);
    const name = this.SUBRULE(this.name);
    const waves = this.OPTION(() => {
      this.CONSUME(words.waves);
      this.CONSUME(marks.assign);
      return this.SUBRULE(this.int);
    });
    const inputs = this.SUBRULE(this.ports);
    this.CONSUME(marks.arrow);
    const outputs = this.SUBRULE1(this.ports);
    const batches: Batch[] = [];
    const segments: Segment[] = [];
    this.CONSUME(marks.leftBrace);
    this.MANY1(() => batches.push(this.SUBRULE(this.batch)));
    this.MANY(() => segments.push(this.SUBRULE(this.segment)));
    this.CONSUME(marks.rightBrace);
    return {
      name,
      ...(waves !== undefined && { waves }),
      inputs,
      outputs,
      ...(batches.length > 0 && { batches }),
      segments,
    };
  });

  program = this.RULE('program', (): Program => {
    const memories: Memory[] = [];
    const buffers: Buffer[] = [];
    const kernels: KernelInfo[] = [];
    const functions: ProgramFunction[] = [];
    this.CONSUME(words.program);
    const name = this.SUBRULE(this.name);
    this.CONSUME(words.target);
    const targetToken = this.CONSUME(Name);
    const target = this.ACTION(() => this.oneOf(targetToken, targets));
    this.CONSUME(words.peak);
    this.CONSUME(marks.assign);
    const peak = this.SUBRULE(this.int);
    this.CONSUME(words.liveBound);
    this.CONSUME1(marks.assign);
    const liveBound = this.SUBRULE1(this.int);
    this.CONSUME(words.memories);
    this.CONSUME(marks.leftBrace);
    this.MANY(() => memories.push(this.SUBRULE(this.memory)));
    this.CONSUME(marks.rightBrace);
    this.CONSUME(words.buffers);
    this.CONSUME1(marks.leftBrace);
    this.MANY1(() => buffers.push(this.SUBRULE(this.buffer)));
    this.CONSUME1(marks.rightBrace);
    this.CONSUME(words.kernels);
    this.CONSUME2(marks.leftBrace);
    this.MANY2(() => kernels.push(this.SUBRULE(this.kernelInfo)));
    this.CONSUME2(marks.rightBrace);
    this.MANY3(() => functions.push(this.SUBRULE(this.func)));
    return { name, target, memories, buffers, kernels, functions, plan: { peak, liveBound } };
  });
}

function sizes(type: TensorType): readonly number[] | undefined {
  return type.shape.every((d) => typeof d === 'number') ? (type.shape as readonly number[]) : undefined;
}

let parser: ProgramParser | undefined;

/** @param file name of the text, for errors */
export function parseProgram(text: string, file = 'program.spn'): Program {
  parser ??= new ProgramParser();
  const { program } = parser;
  return parser.run(text, file, program);
}
