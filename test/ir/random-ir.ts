/**
 * Random modules, kernels and programs for the text form: any structure that the IR's types allow, sensible or not, with names
 * that try to break out of their quotes.
 */
import type { Attr, Attrs, Func, Module, Node, StateEntry, StateRole, Value } from '../../ir/graph.js';
import type { BinaryOp, Expr, Kernel, Stmt, UnaryOp } from '../../ir/kernel.js';
import type { Loc } from '../../ir/loc.js';
import { opNames } from '../../ir/ops/table.js';
import type { Buffer, Program, ProgramFunction } from '../../ir/program.js';
import { type Dim, dtypes, type TensorType } from '../../ir/types.js';
import type { Rng } from '../fuzz/rng.js';

const nasty = [
  '',
  ' ',
  'a b',
  '/layer1/0/Conv_output_0',
  'onnx::Gemm_12',
  'x.1',
  'y:1',
  'x:',
  'x:1y',
  'a..b',
  'a.',
  '.a',
  '1x',
  '784',
  '-1',
  '1e5',
  'when',
  'for',
  'return',
  'true',
  'nan',
  'inf',
  'state',
  'owner',
  'in',
  'step',
  'k',
  'say "hi"',
  'back\\slash',
  'new\nline',
  'tab\tab',
  'carriage\rreturn',
  '# not a location',
  '// nor a comment',
  'größe',
  '重み',
  '🧠',
  '\u2028',
  '\u0000',
  '\ud800',
  'f(x)',
  'due(a)',
  'due(when)',
  'due("a")',
  'a<b>',
  'a(b)',
  'a[0]',
  '{a}',
  'a, b',
  'a = b',
  '__proto__',
  'constructor',
  'max=',
  'loadIf',
];

export function name(r: Rng): string {
  return r.chance(0.4) ? `v${r.int(0, 9999)}` : r.pick(nasty) + (r.chance(0.5) ? String(r.int(0, 999)) : '');
}

const numbers = [
  0,
  -0,
  1,
  -1,
  0.1,
  -2.5,
  1e-7,
  1e21,
  -1e300,
  5e-324,
  Number.MAX_SAFE_INTEGER,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  Number.NaN,
  1 / 3,
];

const number = (r: Rng): number => (r.chance(0.5) ? r.pick(numbers) : (r.real() - 0.5) * 10 ** r.int(-20, 20));

export function loc(r: Rng, depth = 2): Loc {
  const kind = r.int(0, depth > 0 ? 2 : 1);
  if (kind === 0) return { kind: 'onnx', node: name(r), op: name(r) };
  if (kind === 1) return { kind: 'file', file: name(r), line: r.int(1, 9999), column: r.int(1, 200) };
  return r.chance(0.7)
    ? { kind: 'pass', pass: name(r), from: loc(r, depth - 1) }
    : { kind: 'pass', pass: name(r), from: undefined };
}

function type(r: Rng): TensorType {
  const dim = (): Dim =>
    r.chance(0.8) ? r.int(0, 4096) : { symbol: r.chance(0.7) ? 'N' : name(r), factor: r.int(1, 9) };
  const packed = r.chance(0.2);
  const shape = r.list(packed ? 1 : 0, 4, dim);
  return {
    dtype: r.pick(dtypes),
    shape: packed ? [...shape, shape[shape.length - 1]] : shape,
    layout: packed ? 'packed-lower' : 'dense',
    placement: r.chance(0.8) ? { kind: 'replicated' } : { kind: 'owner', rank: r.int(0, 64) },
  };
}

function attr(r: Rng): Attr {
  switch (r.int(0, 4)) {
    case 0:
      return number(r);
    case 1:
      return r.chance(0.5);
    case 2:
      return name(r);
    case 3:
      return r.list(0, 4, () => number(r));
    default:
      return r.list(0, 4, () => name(r));
  }
}

function func(r: Rng, state: readonly StateEntry[]): Func {
  const known: Value[] = [];
  const reads: Value[] = [];
  const taken = new Set<string>();
  const value = (): Value => {
    let n = name(r);
    while (taken.has(n)) n += r.int(0, 9);
    taken.add(n);
    const v = { name: n, type: type(r), loc: loc(r) };
    known.push(v);
    return v;
  };
  const inputs = r.list(1, 4, value);
  /** A value that there is, or state that is read for the first time. */
  const used = (): Value => {
    const entry = state.length > 0 && r.chance(0.3) ? r.pick(state) : undefined;
    if (!entry || taken.has(entry.name)) return r.pick(known);
    const v = { name: entry.name, type: entry.type, loc: entry.loc };
    taken.add(v.name);
    known.push(v);
    reads.push(v);
    return v;
  };
  const nodes = r.list(0, 12, (): Node => {
    const operands = r.list(0, 4, used);
    const attrs = Object.fromEntries(r.list(0, 4, () => [name(r), attr(r)])) as Attrs;
    const at = loc(r);
    const results = r.list(1, 3, value).map((v) => {
      // Mostly, a value comes from where its node comes from.
      if (r.chance(0.7)) Object.assign(v, { loc: at });
      return v;
    });
    const guard = r.chance(0.3) ? r.pick([name(r), `due(${name(r)})`]) : undefined;
    return { op: r.pick(opNames), operands, attrs, results, loc: at, guard };
  });
  return {
    name: name(r),
    inputs,
    reads,
    nodes,
    outputs: r.list(0, 3, () => ({ name: r.pick([name(r), `gradient(${name(r)})`]), value: used() })),
    updates: r.list(0, 3, () => ({ state: name(r), value: used() })),
  };
}

const roles: readonly StateRole[] = [
  'parameter',
  'constant',
  'velocity',
  'running-statistic',
  'factor',
  'inverse',
  'history',
  'schedule',
  'counter',
];

export function randomModule(r: Rng): Module {
  const state = r.list(
    0,
    6,
    (i): StateEntry => ({
      name: `${name(r)}.${i}`,
      type: type(r),
      role: r.pick(roles),
      owner: r.chance(0.7) ? 'all' : r.int(0, 63),
      lifetime: r.pick(['artifact', 'training']),
      checkpoint: r.chance(0.5),
      init: r.chance(0.5) ? { kind: 'weights' } : { kind: 'fill', value: number(r) },
      of: r.chance(0.5) ? name(r) : undefined,
      loc: loc(r),
    }),
  );
  return {
    name: name(r),
    level: r.pick(['model', 'train', 'placed']),
    state,
    functions: r.list(0, 3, () => func(r, state)),
    weights: new Map(),
    parameters: r.list(0, 4, () => ({ name: name(r), trainable: r.chance(0.5), rule: name(r), why: name(r) })),
  };
}

const unaries: readonly UnaryOp[] = [
  'neg',
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
const binaries: readonly BinaryOp[] = [
  'add',
  'sub',
  'mul',
  'div',
  'rem',
  'min',
  'max',
  'eq',
  'lt',
  'le',
  'and',
  'or',
  'xor',
  'shl',
  'shrU',
  'mulHiU',
];

export function expr(r: Rng, depth: number): Expr {
  const leaf = depth <= 0 || r.chance(0.2);
  switch (leaf ? r.int(0, 3) : r.int(4, 9)) {
    case 0:
      return { kind: 'const', type: 'f32', value: Math.fround(number(r)) };
    case 1:
      return { kind: 'const', type: 'i32', value: r.pick([0, 1, -1, 2147483647, -2147483648, r.int(-999, 999)]) };
    case 2:
      return { kind: 'const', type: 'bool', value: r.int(0, 1) };
    case 3:
      return { kind: 'ref', name: name(r) };
    case 4:
      return { kind: 'load', memory: name(r), index: expr(r, depth - 1) };
    case 5:
      return { kind: 'unary', op: r.chance(0.5) ? 'neg' : r.pick(unaries), a: expr(r, depth - 1) };
    case 6:
      return { kind: 'select', cond: expr(r, depth - 1), a: expr(r, depth - 1), b: expr(r, depth - 1) };
    case 7:
      return {
        kind: 'loadIf',
        cond: expr(r, depth - 1),
        memory: name(r),
        index: expr(r, depth - 1),
        otherwise: number(r),
      };
    default:
      return { kind: 'binary', op: r.pick(binaries), a: expr(r, depth - 1), b: expr(r, depth - 1) };
  }
}

function stmt(r: Rng, depth: number): Stmt {
  const e = (): Expr => expr(r, 3);
  const body = (): Stmt[] => r.list(0, depth > 0 ? 4 : 0, () => stmt(r, depth - 1));
  const register = r.pick(['f32', 'i32', 'bool'] as const);
  switch (r.int(0, 12)) {
    case 0:
      return { kind: 'let', name: name(r), type: register, value: e() };
    case 1:
      return { kind: 'var', name: name(r), type: register, value: e() };
    case 2:
      return { kind: 'set', name: name(r), value: e() };
    case 3:
      return { kind: 'accumulate', name: name(r), op: r.pick(['add', 'max', 'min']), value: e() };
    case 4:
      return { kind: 'store', memory: name(r), index: e(), value: e() };
    case 5: {
      const then = body();
      return { kind: 'if', cond: e(), then, else: body() };
    }
    case 6:
      return {
        kind: 'alloc',
        name: name(r),
        space: r.pick(['group', 'register']),
        type: r.pick(['f32', 'f16', 'i32', 'u8', 'bool']),
        size: r.int(1, 9999),
      };
    case 7:
      return {
        kind: 'tileZero',
        tile: name(r),
        rows: r.int(1, 8),
        cols: r.int(1, 64),
        accumulator: r.pick(['f32', 'f16']),
      };
    case 8:
      return { kind: 'tileLoad', tile: name(r), memory: name(r), index: e(), row: e(), col: r.int(-4, 4) };
    case 9:
      return { kind: 'tileStore', tile: name(r), memory: name(r), index: e(), row: e(), col: r.int(-4, 4) };
    case 10:
      return {
        kind: 'tileMma',
        tile: name(r),
        operand: r.pick(['f32', 'f16']),
        depth: e(),
        a: { memory: name(r), index: e(), row: r.int(-9, 9), depth: r.int(-9, 9) },
        b: { memory: name(r), index: e(), depth: r.int(-9, 9), col: r.int(-9, 9) },
      };
    case 11:
      return {
        kind: 'tileEach',
        tile: name(r),
        row: name(r),
        col: name(r),
        element: name(r),
        rowLimit: e(),
        colLimit: e(),
        body: body(),
      };
    default:
      return {
        kind: 'for',
        var: name(r),
        lo: e(),
        hi: e(),
        step: r.pick([1, 1, 4]),
        bind: r.pick(['grid', 'group', 'lane', 'vector', 'serial']),
        body: body(),
      };
  }
}

export function randomKernel(r: Rng): Kernel {
  return {
    name: name(r),
    params: r.list(0, 4, () => ({
      name: name(r),
      type: r.pick(['f32', 'f16', 'i32', 'u8', 'bool'] as const),
      access: r.pick(['read', 'write', 'readwrite'] as const),
      length: r.int(1, 1e6),
    })),
    body: r.list(0, 5, () => stmt(r, 3)),
    workgroup: r.int(1, 256),
    flops: r.int(0, 1e9),
    bytes: number(r),
    loc: loc(r),
  };
}

export function randomProgram(r: Rng): Program {
  const ports = (): ProgramFunction['inputs'] =>
    r.list(0, 3, () => ({ name: r.pick([name(r), `gradient(${name(r)})`]), buffer: name(r) }));
  return {
    name: name(r),
    target: r.pick(['wasm', 'webgpu']),
    memories: r.list(0, 3, () => ({ name: name(r), bytes: r.int(0, 1e9) })),
    buffers: r.list(0, 6, (): Buffer => {
      const { dtype, layout, shape } = type(r);
      const sizes = shape.map((d) => (typeof d === 'number' ? d : 7));
      return {
        name: name(r),
        memory: name(r),
        offset: r.int(0, 1e6) * 256,
        dtype,
        layout,
        shape: sizes,
        bytes: r.int(0, 1e9),
        role: r.pick(['state', 'input', 'output', 'constant', 'transient', 'window']),
      };
    }),
    kernels: r.list(0, 4, () => ({
      name: name(r),
      grid: r.int(1, 1e6),
      scratch: r.int(0, 1e6),
      access: r.list(0, 3, () => r.pick(['read', 'readwrite'] as const)),
      flops: number(r),
      bytes: number(r),
      cost: number(r),
      requires: {
        features: r.list(0, 2, () => name(r)),
        limits: Object.fromEntries(r.list(0, 2, () => [name(r), number(r)])),
      },
      computes: r.list(0, 3, () => name(r)),
      source: name(r),
      stopped: name(r),
      ...(r.chance(0.5) && {
        dispatch: {
          workgroups: [r.int(1, 65535), r.int(1, 99)] as const,
        },
      }),
    })),
    functions: r.list(0, 3, () => ({
      name: name(r),
      ...(r.chance(0.5) && { waves: r.int(0, 99) }),
      inputs: ports(),
      outputs: ports(),
      ...(r.chance(0.3) && {
        batches: r.list(1, 3, () => ({
          guard: `due(${name(r)})`,
          of: r.list(1, 3, () => `due(${name(r)})`),
          buffer: name(r),
        })),
      }),
      segments: r.list(0, 3, () => ({
        name: name(r),
        guard: r.chance(0.5) ? `due(${name(r)})` : undefined,
        ...(r.chance(0.3) && { repeat: r.int(1, 99) }),
        steps: r.list(0, 4, (i) => ({
          slot: `s${i}`,
          variants: r.list(1, 3, () => name(r)),
          args: r.list(0, 4, () => name(r)),
          source: name(r),
        })),
      })),
    })),
    plan: { peak: r.int(0, 1e9), liveBound: r.int(0, 1e9) },
  };
}
