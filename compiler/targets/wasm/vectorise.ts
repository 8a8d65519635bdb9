/**
 * Vector loops: four iterations at a time, the rest one by one. What the body accumulates is gathered in lanes, in several
 * independent copies of a short body (an addition takes three or four cycles, but two can begin in each), and combined
 * when the lanes are done.
 */
import type { Expr, Stmt } from '../../../ir/kernel.js';
import { F32, I32, op, simd, V128 } from './encode.js';
import type { Frame, Lanes, Scalar, Sum } from './frame.js';
import { printLaneStore } from './lane-memory.js';
import { type Accumulation, type LanePlan, planLanes } from './lane-support.js';
import { printTransposedStores } from './lane-transpose.js';
import { laneOp, printLanes, spread } from './lanes.js';
import { type Bound, bound, isKnown, printBound, printCounted, printEither, shifted } from './loops.js';
import { combine, printScalar } from './scalar.js';
import { sumOf } from './sums.js';

type For = Extract<Stmt, { kind: 'for' }>;

/** What leaves a sum, a maximum or a minimum as it is. Zero is negative: -0 + x = x for every x. */
function neutral(name: Accumulation, type: Scalar): number {
  if (name === 'add') return type === 'f32' ? -0 : 0;
  if (type === 'f32') return name === 'max' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  return name === 'max' ? -(2 ** 31) : 2 ** 31 - 1;
}

/** How many copies of the body run in turn. Only accumulation has a chain to break. */
function copiesOf(plan: LanePlan): number {
  if (plan.nested || plan.accumulated.size === 0) return 1;
  if (plan.size * plan.accumulated.size <= 16) return 4;
  return plan.size * plan.accumulated.size <= 60 ? 2 : 1;
}

/** Elements of a loop whose vectors are printed one behind the other, and what a body may hold for that. */
const MOST_UNROLLED = 16;
const UNROLLED_BODY = 24;

/** Prints a vector loop; false: it has no lanes, and nothing was printed. */
export function printVectorLoop(frame: Frame, s: For, serially: (body: readonly Stmt[]) => void): boolean {
  const plan = planLanes(frame, s.body, new Map([[s.var, 'i32']]));
  if (!plan || frame.lanes) return false;
  const { code } = frame;
  const { step } = s;
  const end = bound(frame, s.hi);
  printScalar(frame, s.lo);
  const variable = frame.keep(I32);
  const trips =
    s.lo.kind === 'const' && isKnown(end) ? Math.max(0, Math.ceil((end.value - s.lo.value) / step)) : undefined;
  const copies = Math.max(1, Math.min(copiesOf(plan), 2 ** Math.floor(Math.log2((trips ?? 64) / 4))));
  const whole = trips === undefined ? Number.POSITIVE_INFINITY : trips;

  const sums = [...plan.accumulated].map(([name, op]) => ({
    name,
    op,
    type: frame.name(name).type,
    locals: Array.from({ length: copies }, () => frame.newLocal(V128)),
  }));
  if (whole >= 4) {
    for (const sum of sums)
      for (const local of sum.locals) {
        spread(frame, sum.type, neutral(sum.op, sum.type));
        code.at(op.set, local);
      }
    const lanes = (copy: number): Lanes => ({
      variable: s.var,
      step,
      shifts: new Map([[s.var, copy * 4 * step]]),
      accumulators: new Map(sums.map((sum) => [sum.name, sum.locals[copy]])),
      conditional: false,
    });
    const several = (count: number, last: Bound): void =>
      printCounted(frame, variable, last, 4 * step * count, false, () => {
        frame.define(s.var, 'i32', { local: variable });
        for (let copy = 0; copy < count; copy++) printLaneBody(frame, s.body, lanes(copy));
      });
    const short = whole <= MOST_UNROLLED && sums.length === 0 && !plan.nested && plan.size <= UNROLLED_BODY;
    if (short) {
      const vectors = Math.floor(whole / 4);
      frame.define(s.var, 'i32', { local: variable });
      for (let copy = 0; copy < vectors; copy++) printLaneBody(frame, s.body, lanes(copy));
      code
        .at(op.get, variable)
        .i32(4 * step * vectors)
        .op(op.i32Add)
        .at(op.set, variable);
    } else {
      if (copies > 1) several(copies, shifted(frame, end, -(4 * copies - 1) * step));
      if (copies === 1 || trips === undefined || trips % (4 * copies) >= 4) several(1, shifted(frame, end, -3 * step));
    }
    for (const sum of sums) printReduction(frame, sum.name, sum.op, sum.type, sum.locals);
  }
  if (trips === undefined || trips % 4 !== 0)
    printCounted(frame, variable, end, step, false, () => {
      frame.define(s.var, 'i32', { local: variable });
      serially(s.body);
    });
  return true;
}

/** The body once, as lanes. */
export function printLaneBody(frame: Frame, body: readonly Stmt[], lanes: Lanes): void {
  frame.lanes = lanes;
  frame.enter();
  for (let i = 0; i < body.length; ) {
    const group = printTransposedStores(frame, body, i);
    if (group === 0) printLaneStatement(frame, body[i]);
    i += Math.max(1, group);
  }
  const inner = frame.leave();
  frame.code.append(inner);
  frame.lanes = undefined;
}

/** `name = name op (all lanes of all locals)`. */
function printReduction(frame: Frame, name: string, how: Accumulation, type: Scalar, locals: readonly number[]): void {
  const { code } = frame;
  const opcode = laneOp(how, type);
  code.at(op.get, locals[0]);
  for (const local of locals.slice(1)) code.at(op.get, local).simd(opcode);
  let lanes = frame.keep(V128);
  for (const order of [
    [2, 3, 0, 1],
    [1, 0, 3, 2],
  ]) {
    code.at(op.get, lanes).at(op.get, lanes).at(op.get, lanes);
    code.shuffle(...order).simd(opcode);
    lanes = frame.keep(V128);
  }
  const target = frame.name(name).local;
  code.at(op.get, target).at(op.get, lanes);
  code.lane(type === 'f32' ? simd.f32Extract : simd.i32Extract, 0);
  combine(frame, how, type);
  code.at(op.set, target);
}

/** Integer values whose lanes lie in a line keep their sum, as far as nothing in it can change. */
function stableSum(frame: Frame, e: Expr): Sum | undefined {
  const sum = sumOf(frame, e);
  const stable = sum.terms.every(
    (t) => t.atom.kind === 'ref' && !frame.name(t.atom.name).mutable && !frame.name(t.atom.name).lanes,
  );
  return stable ? sum : undefined;
}

function printLaneStatement(frame: Frame, s: Stmt): void {
  const { code } = frame;
  const lanes = frame.lanes!;
  switch (s.kind) {
    case 'let': {
      if (!frame.varies(s.value)) {
        printScalar(frame, s.value);
        const local = frame.keep(s.type === 'f32' ? F32 : I32);
        frame.define(s.name, s.type, { local });
        return;
      }
      const sum = s.type === 'i32' ? stableSum(frame, s.value) : undefined;
      printLanes(frame, s.value);
      const local = frame.keep(V128);
      frame.define(s.name, s.type, { local, lanes: true, sum });
      return;
    }
    case 'var': {
      printLanes(frame, s.value);
      const local = frame.keep(V128);
      frame.define(s.name, s.type, { local, lanes: true, mutable: true });
      return;
    }
    case 'set':
      printLanes(frame, s.value);
      assign(frame, frame.name(s.name).local);
      return;
    case 'accumulate': {
      const { type, local } = frame.name(s.name);
      const target = lanes.accumulators.get(s.name) ?? local;
      code.at(op.get, target);
      printLanes(frame, s.value);
      code.simd(laneOp(s.op, type));
      assign(frame, target);
      return;
    }
    case 'store':
      printLaneStore(frame, s.memory, s.index, s.value, lanes.mask);
      return;
    case 'if':
      printLaneIf(frame, s);
      return;
    case 'for': {
      const end = bound(frame, s.hi);
      printBound(frame, bound(frame, s.lo));
      const variable = frame.keep(I32);
      const surely = s.lo.kind === 'const' && isKnown(end) && s.lo.value < end.value;
      printCounted(frame, variable, end, s.step, surely, () => {
        frame.define(s.var, 'i32', { local: variable });
        inside(frame, lanes.mask, s.body);
      });
      return;
    }
    default:
      throw new Error(`${s.kind} has no lanes`);
  }
}

/** The lanes on the stack, into a local; lanes that do not run keep what they have. */
function assign(frame: Frame, target: number): void {
  const { mask } = frame.lanes!;
  if (mask !== undefined) frame.code.at(op.get, target).at(op.get, mask).simd(simd.bitselect);
  frame.code.at(op.set, target);
}

/** A block of the body that may run for some lanes, or not at all. */
function inside(frame: Frame, mask: number | undefined, body: readonly Stmt[]): void {
  const before = frame.lanes!;
  frame.lanes = { ...before, conditional: true, mask };
  for (const s of body) printLaneStatement(frame, s);
  frame.lanes = before;
}

function printLaneIf(frame: Frame, s: Extract<Stmt, { kind: 'if' }>): void {
  const { code } = frame;
  const { mask } = frame.lanes!;
  if (!frame.varies(s.cond)) {
    printScalar(frame, s.cond);
    printEither(
      frame,
      frame.keep(I32),
      () => inside(frame, mask, s.then),
      () => inside(frame, mask, s.else),
    );
    return;
  }
  printLanes(frame, s.cond);
  const cond = frame.keep(V128);
  for (const [body, opcode] of [
    [s.then, simd.and],
    [s.else, simd.andNot],
  ] as const) {
    if (body.length === 0) continue;
    if (mask !== undefined) code.at(op.get, mask).at(op.get, cond).simd(opcode);
    else {
      code.at(op.get, cond);
      if (opcode === simd.andNot) code.simd(simd.not);
    }
    const active = frame.keep(V128);
    code.at(op.get, active).simd(simd.anyTrue);
    printEither(
      frame,
      frame.keep(I32),
      () => inside(frame, active, body),
      () => {},
    );
  }
}
