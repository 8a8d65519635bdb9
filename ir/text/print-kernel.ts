/**
 * A kernel as `.spn`: indented loop nests, infix expressions with as few parentheses as the grammar needs.
 */
import type { BinaryOp, Expr, Kernel, Stmt } from '../kernel.js';
import { writeF32, writeLoc, writeName, writeNumber } from './write.js';

/** Infix operators and how tightly they bind. What is not here is written as a call. */
export const infix: Partial<Record<BinaryOp, { readonly mark: string; readonly binds: number }>> = {
  mul: { mark: '*', binds: 7 },
  div: { mark: '/', binds: 7 },
  rem: { mark: '%', binds: 7 },
  add: { mark: '+', binds: 6 },
  sub: { mark: '-', binds: 6 },
  shl: { mark: '<<', binds: 5 },
  shrU: { mark: '>>', binds: 5 },
  and: { mark: '&', binds: 4 },
  xor: { mark: '^', binds: 3 },
  or: { mark: '|', binds: 2 },
  eq: { mark: '==', binds: 1 },
  lt: { mark: '<', binds: 1 },
  le: { mark: '<=', binds: 1 },
};

const PREFIX = 8;
const PRIMARY = 9;

const call = (name: string, ...args: readonly Expr[]): string => `${name}(${args.map((a) => writeExpr(a)).join(', ')})`;

function writeConst(e: Extract<Expr, { kind: 'const' }>): string {
  if (e.type === 'f32') return writeF32(e.value);
  return e.type === 'i32' ? String(e.value) : e.value ? 'true' : 'false';
}

function bare(e: Expr): { text: string; binds: number } {
  switch (e.kind) {
    case 'const': {
      const text = writeConst(e);
      // Behind a minus a literal would be read as part of a negative constant.
      return { text, binds: PREFIX };
    }
    case 'ref':
      return { text: writeName(e.name), binds: PRIMARY };
    case 'load':
      return { text: `${writeName(e.memory)}[${writeExpr(e.index)}]`, binds: PRIMARY };
    case 'loadIf': {
      const from = `${writeName(e.memory)}[${writeExpr(e.index)}]`;
      return { text: `loadIf(${writeExpr(e.cond)}, ${from}, ${writeNumber(e.otherwise)})`, binds: PRIMARY };
    }
    case 'select':
      return { text: call('select', e.cond, e.a, e.b), binds: PRIMARY };
    case 'unary':
      if (e.op === 'neg') return { text: `-${writeExpr(e.a, PRIMARY)}`, binds: PREFIX };
      return { text: call(e.op, e.a), binds: PRIMARY };
    case 'binary': {
      const op = infix[e.op];
      if (!op) return { text: call(e.op, e.a, e.b), binds: PRIMARY };
      const { mark, binds } = op;
      const space = binds === 7 ? '' : ' ';
      // A chain of comparisons reads as something else than it is: parentheses on both sides.
      const left = writeExpr(e.a, binds === 1 ? 2 : binds);
      return { text: `${left}${space}${mark}${space}${writeExpr(e.b, binds + 1)}`, binds };
    }
  }
}

/** `e`, in parentheses where it binds less than `least`. */
export function writeExpr(e: Expr, least = 0): string {
  const { text, binds } = bare(e);
  return binds < least ? `(${text})` : text;
}

const assign = { add: '+=', max: 'max=', min: 'min=' } as const;

function block(lines: string[], head: string, body: readonly Stmt[], indent: string, tail = '}'): void {
  lines.push(`${indent}${head} {`);
  for (const s of body) statement(lines, s, `${indent}  `);
  lines.push(`${indent}${tail}`);
}

function statement(lines: string[], s: Stmt, indent: string): void {
  const line = (text: string): void => {
    lines.push(`${indent}${text}`);
  };
  switch (s.kind) {
    case 'for': {
      const step = s.step === 1 ? '' : ` step ${s.step}`;
      block(
        lines,
        `for ${writeName(s.var)} in ${writeExpr(s.lo)}..${writeExpr(s.hi)}${step} ${s.bind}`,
        s.body,
        indent,
      );
      return;
    }
    case 'let':
    case 'var':
      line(`${s.kind} ${writeName(s.name)}: ${s.type} = ${writeExpr(s.value)}`);
      return;
    case 'set':
      line(`${writeName(s.name)} = ${writeExpr(s.value)}`);
      return;
    case 'accumulate':
      line(`${writeName(s.name)} ${assign[s.op]} ${writeExpr(s.value)}`);
      return;
    case 'store':
      line(`${writeName(s.memory)}[${writeExpr(s.index)}] = ${writeExpr(s.value)}`);
      return;
    case 'if':
      if (s.else.length === 0) block(lines, `if ${writeExpr(s.cond)}`, s.then, indent);
      else {
        block(lines, `if ${writeExpr(s.cond)}`, s.then, indent, '} else {');
        for (const t of s.else) statement(lines, t, `${indent}  `);
        line('}');
      }
      return;
    case 'alloc':
      line(`${s.space} ${writeName(s.name)}: ${s.type}[${s.size}]`);
      return;
    case 'tileZero':
      line(`tile ${writeName(s.tile)}: ${s.accumulator}[${s.rows},${s.cols}]`);
      return;
    case 'tileLoad':
      line(`tile ${writeName(s.tile)} = ${place(s)}`);
      return;
    case 'tileStore':
      line(`${place(s)} = tile ${writeName(s.tile)}`);
      return;
    case 'tileMma': {
      const a = `${writeName(s.a.memory)}[${writeExpr(s.a.index)}; row=${s.a.row}, k=${s.a.depth}]`;
      const b = `${writeName(s.b.memory)}[${writeExpr(s.b.index)}; k=${s.b.depth}, col=${s.b.col}]`;
      line(`mma ${writeName(s.tile)} += ${a} * ${b}, k < ${writeExpr(s.depth)}, ${s.operand}`);
      return;
    }
    case 'tileEach': {
      const [row, col, element] = [s.row, s.col, s.element].map(writeName);
      const bounds = `${row} < ${writeExpr(s.rowLimit)}, ${col} < ${writeExpr(s.colLimit)}`;
      block(lines, `each ${writeName(s.tile)} (${bounds}) as ${element}`, s.body, indent);
      return;
    }
  }
}

function place(s: Extract<Stmt, { kind: 'tileLoad' | 'tileStore' }>): string {
  return `${writeName(s.memory)}[${writeExpr(s.index)}; row=${writeExpr(s.row)}, col=${s.col}]`;
}

export function printKernel(kernel: Kernel): string {
  const params = kernel.params.map((p) => `${writeName(p.name)}: ${p.type}[${p.length}] ${p.access}`);
  const { workgroup, flops, bytes } = kernel;
  const lines = [
    `kernel ${writeName(kernel.name)} (${params.join(', ')}) # ${writeLoc(kernel.loc)}`,
    `workgroup=${writeNumber(workgroup)} flops=${writeNumber(flops)} bytes=${writeNumber(bytes)} {`,
  ];
  for (const s of kernel.body) statement(lines, s, '  ');
  lines.push('}');
  return `${lines.join('\n')}\n`;
}
