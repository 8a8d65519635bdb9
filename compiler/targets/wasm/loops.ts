/**
 * The control flow that statements share: counted loops and conditions. The inner code is printed into a scope of its own
 * first, so that what it keeps in outer scopes comes to stand before it.
 */
import type { Expr } from '../../../ir/kernel.js';
import { I32, op } from './encode.js';
import type { Frame } from './frame.js';
import { printScalar } from './scalar.js';

/** An integer that is known now or lies in a local. */
export type Bound = Known | { readonly local: number };
interface Known {
  readonly value: number;
}

export const isKnown = (b: Bound): b is Known => 'value' in b;

/** The value of `e`, computed here. */
export function bound(frame: Frame, e: Expr): Bound {
  if (e.kind === 'const') return { value: e.value };
  printScalar(frame, e);
  return { local: frame.keep(I32) };
}

export function printBound(frame: Frame, b: Bound): void {
  if (isKnown(b)) frame.code.i32(b.value);
  else frame.code.at(op.get, b.local);
}

/** `b + by`, computed here. */
export function shifted(frame: Frame, b: Bound, by: number): Bound {
  if (isKnown(b)) return { value: b.value + by };
  frame.code.at(op.get, b.local).i32(by).op(op.i32Add);
  return { local: frame.keep(I32) };
}

/** Runs `body` while the local `variable` < `end`, adding `step` each time. It goes on from where the local stands. */
export function printCounted(
  frame: Frame,
  variable: number,
  end: Bound,
  step: number,
  surely: boolean,
  body: () => void,
): void {
  frame.enter();
  body();
  const inner = frame.leave();
  const { code } = frame;
  if (!surely) {
    code.op(op.block, 0x40).at(op.get, variable);
    printBound(frame, end);
    code.op(op.i32GeS).at(op.brIf, 0);
  }
  code.op(op.loop, 0x40).append(inner);
  code.at(op.get, variable).i32(step).op(op.i32Add).at(op.tee, variable);
  printBound(frame, end);
  code.op(op.i32LtS).at(op.brIf, 0).op(op.end);
  if (!surely) code.op(op.end);
}

/** Runs `body` where the local `condition` is not zero. */
export function printIf(frame: Frame, condition: number, body: () => void): void {
  frame.enter();
  body();
  const inner = frame.leave();
  if (inner.length === 0) return;
  frame.code.at(op.get, condition).op(op.if, 0x40).append(inner).op(op.end);
}

/** Either `body` or `other`, by the local `condition`. */
export function printEither(frame: Frame, condition: number, body: () => void, other: () => void): void {
  const print = (emit: () => void) => {
    frame.enter();
    emit();
    return frame.leave();
  };
  const then = print(body);
  const otherwise = print(other);
  if (then.length + otherwise.length === 0) return;
  frame.code.at(op.get, condition).op(op.if, 0x40).append(then);
  if (otherwise.length > 0) frame.code.op(op.else).append(otherwise);
  frame.code.op(op.end);
}
