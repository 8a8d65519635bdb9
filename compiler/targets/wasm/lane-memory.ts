/**
 * Memory accesses of four lanes. The index is read as a sum: contiguous elements move as one vector, equal ones are spread,
 * everything else goes lane by lane. Under a mask, lanes that do not run touch no memory of theirs.
 */
import type { Expr } from '../../../ir/kernel.js';
import { I32, op, simd, V128 } from './encode.js';
import { bytesOf, type Frame, held, type Sum } from './frame.js';
import { printLanes, spread } from './lanes.js';
import { loadAt, storeAt } from './scalar.js';
import { printAddress, sumOf } from './sums.js';

/** Elements from one lane to the next, or undefined where that differs. */
export function strideOf(frame: Frame, index: Sum): number | undefined {
  const { variable, step } = frame.lanes!;
  let stride = 0;
  for (let i = 0; i < index.terms.length; i++) {
    const { atom, factor } = index.terms[i];
    if (!frame.varies(atom)) continue;
    if (atom.kind !== 'ref' || atom.name !== variable) return undefined;
    stride += factor * step;
  }
  return stride;
}

/** Where the lanes of an access lie: `push` pushes an address to which the access adds the returned offset. */
interface LaneAddresses {
  readonly push: (lane: number) => number;
}

const constant = (value: number): Sum => ({ constant: value, terms: [] });

/** Addresses for moving lane by lane; under a mask an idle lane gets the memory's first element. */
function addresses(
  frame: Frame,
  memory: string,
  index: Expr,
  sum: Sum,
  stride: number | undefined,
  mask: number | undefined,
): LaneAddresses {
  const { code } = frame;
  const place = frame.memory(memory);
  const size = bytesOf[place.type];
  let push: LaneAddresses['push'];
  if (stride === undefined) {
    printLanes(frame, index);
    const indices = frame.keep(V128);
    push = (lane) => {
      code.at(op.get, indices).lane(simd.i32Extract, lane);
      if (size > 1) code.i32(Math.log2(size)).op(op.i32Shl);
      code.at(op.get, place.local).op(op.i32Add);
      return place.offset;
    };
  } else {
    const shift = printAddress(frame, memory, sum, mask !== undefined);
    const first = frame.keep(I32);
    push = (lane) => {
      const offset = shift + lane * stride * size;
      code.at(op.get, first);
      if (mask === undefined && offset >= 0) return offset;
      if (offset !== 0) code.i32(offset).op(op.i32Add);
      return 0;
    };
  }
  if (mask === undefined) return { push };
  return {
    push: (lane) => {
      const offset = push(lane);
      if (offset !== 0) code.i32(offset).op(op.i32Add);
      printAddress(frame, memory, constant(0));
      code.at(op.get, mask).lane(simd.i32Extract, lane).op(op.select);
      return 0;
    },
  };
}

/** Pushes `memory[index]` in the lanes of `mask` (all where undefined), and `otherwise` in the others. */
export function printLaneLoad(
  frame: Frame,
  memory: string,
  index: Expr,
  mask: number | undefined,
  otherwise: number,
): void {
  const { code } = frame;
  const { type } = frame.memory(memory);
  const sum = sumOf(frame, index);
  const stride = strideOf(frame, sum);
  const wide = bytesOf[type] === 4;
  if (stride === 1 || (stride === -1 && wide)) {
    const back = stride < 0 ? -3 : 0;
    const offset = printAddress(frame, memory, { ...sum, constant: sum.constant + back }, mask !== undefined);
    if (mask === undefined) {
      vectorLoad(frame, memory, offset, stride);
      return;
    }
    const address = frame.keep(I32);
    code.at(op.get, mask).simd(simd.i32AllTrue).op(op.if, V128).at(op.get, address);
    vectorLoad(frame, memory, offset, stride);
    code.op(op.else);
  } else if (mask !== undefined) {
    code.at(op.get, mask).simd(simd.anyTrue).op(op.if, V128);
  }
  if (stride === 0) {
    loadAt(frame, memory, printAddress(frame, memory, sum, true));
    spreadValue(frame, memory);
  } else if (stride === 2 && wide && mask === undefined) everySecond(frame, memory, sum);
  else gather(frame, memory, addresses(frame, memory, index, sum, stride, mask));
  if (mask === undefined) return;
  const split = stride !== 1 && !(stride === -1 && wide);
  spread(frame, held(type), otherwise);
  code.at(op.get, mask).simd(simd.bitselect);
  if (split) {
    code.op(op.else);
    spread(frame, held(type), otherwise);
  }
  code.op(op.end);
}

function spreadValue(frame: Frame, memory: string): void {
  const type = held(frame.memory(memory).type);
  frame.code.simd(type === 'f32' ? simd.f32Splat : simd.i32Splat);
  if (type === 'bool') toMask(frame);
}

/** Zero and non-zero lanes to a mask. */
function toMask(frame: Frame): void {
  frame.code.lanes([0, 0, 0, 0]).simd(simd.i32Ne);
}

function vectorLoad(frame: Frame, memory: string, offset: number, stride: number): void {
  const { code } = frame;
  const { type } = frame.memory(memory);
  if (bytesOf[type] === 4) {
    code.simdMemory(simd.load, 2, offset);
    if (stride >= 0) return;
    const v = frame.keep(V128);
    code.at(op.get, v).at(op.get, v).shuffle(3, 2, 1, 0);
    return;
  }
  code.simdMemory(simd.load32Zero, 0, offset).simd(simd.i16ExtendLow8U, simd.i32ExtendLow16U);
  if (type === 'bool') toMask(frame);
}

/** Elements 0, 2, 4, 6 from two vectors that end with the last of them. */
function everySecond(frame: Frame, memory: string, sum: Sum): void {
  const { code } = frame;
  const offset = printAddress(frame, memory, sum);
  const first = frame.keep(I32);
  code.at(op.get, first).simdMemory(simd.load, 2, offset);
  code.at(op.get, first).simdMemory(simd.load, 2, offset + 12);
  code.shuffle(0, 2, 5, 7);
}

function gather(frame: Frame, memory: string, at: LaneAddresses): void {
  const { code } = frame;
  const { type } = frame.memory(memory);
  const lanes = frame.newLocal(V128);
  for (let lane = 0; lane < 4; lane++) {
    if (bytesOf[type] === 4) {
      const offset = at.push(lane);
      if (lane === 0) code.simdMemory(simd.load32Zero, 2, offset);
      else code.at(op.get, lanes).simdMemory(simd.load32Lane, 2, offset, lane);
    } else {
      if (lane > 0) code.at(op.get, lanes);
      loadAt(frame, memory, at.push(lane));
      if (lane === 0) code.simd(simd.i32Splat);
      else code.lane(simd.i32Replace, lane);
    }
    code.at(op.set, lanes);
  }
  code.at(op.get, lanes);
  if (type === 'bool') toMask(frame);
}

/** `memory[index] = value` in the lanes of `mask`, in the order of the lanes. */
export function printLaneStore(frame: Frame, memory: string, index: Expr, value: Expr, mask: number | undefined): void {
  const { code } = frame;
  const { type } = frame.memory(memory);
  const wide = bytesOf[type] === 4;
  const sum = sumOf(frame, index);
  const stride = strideOf(frame, sum);
  printLanes(frame, value);
  // A true lane is stored as one.
  if (type === 'bool') code.simd(simd.i32Neg);
  const lanes = frame.keep(V128);
  if (stride === 1) {
    if (mask !== undefined) code.at(op.get, mask).simd(simd.i32AllTrue).op(op.if, 0x40);
    const offset = printAddress(frame, memory, sum, mask !== undefined);
    code.at(op.get, lanes);
    if (wide) code.simdMemory(simd.store, 2, offset);
    else {
      // Narrowing saturates, so only the low eight bits may be left.
      code.lanes([255, 255, 255, 255]).simd(simd.and);
      const bytes = frame.keep(V128);
      code.at(op.get, bytes).at(op.get, bytes).simd(simd.i16Narrow32U);
      const shorts = frame.keep(V128);
      code.at(op.get, shorts).at(op.get, shorts).simd(simd.i8Narrow16U);
      code.simdMemory(simd.store32Lane, 0, offset, 0);
    }
    if (mask === undefined) return;
    code.op(op.else);
  }
  const at = addresses(frame, memory, index, sum, stride, undefined);
  for (let lane = 0; lane < 4; lane++) {
    if (mask !== undefined) code.at(op.get, mask).lane(simd.i32Extract, lane).op(op.if, 0x40);
    const offset = at.push(lane);
    code.at(op.get, lanes);
    if (wide) code.simdMemory(simd.store32Lane, 2, offset, lane);
    else {
      code.lane(simd.i32Extract, lane);
      storeAt(frame, memory, offset);
    }
    if (mask !== undefined) code.op(op.end);
  }
  if (stride === 1 && mask !== undefined) code.op(op.end);
}
