/**
 * Register tiles. Tiles with columns in fours and up to sixteen vectors live in v128 locals; others live in scratch memory
 * and their statements are rewritten as loops. An epilogue whose tile is whole runs on the locals themselves; at an edge
 * the tile is put in scratch memory first.
 */
import { add, type Expr, i32, load, loop, min, mul, ref, type Stmt, store } from '../../../ir/kernel.js';
import { I32, op, simd, V128 } from './encode.js';
import type { Frame } from './frame.js';
import { planLanes } from './lane-support.js';
import { spread } from './lanes.js';
import { bound, isKnown, printBound, printCounted, printEither } from './loops.js';
import { scalarLocal } from './scalar.js';
import { printAddress, sumOf } from './sums.js';
import { printLaneBody } from './vectorise.js';

type TileStmt = Extract<Stmt, { readonly tile: string }>;
type Mma = Extract<Stmt, { kind: 'tileMma' }>;
type Each = Extract<Stmt, { kind: 'tileEach' }>;

/** Vectors of a tile that are kept in locals; V8 has 15 vector registers to give. */
const MOST_VECTORS = 16;
/** Largest epilogue that is repeated for each vector of a tile. */
const UNROLLED_EPILOGUE = 64;

/** Names that no kernel can give, for what the printer adds. */
const own = (tile: string, what: string): string => `${tile}.${what}`;

export function printTileStatement(frame: Frame, s: TileStmt, block: (body: readonly Stmt[]) => void): void {
  if (s.kind === 'tileZero') {
    zero(frame, s, block);
    return;
  }
  const tile = frame.tile(s.tile);
  if (tile.locals.length === 0) {
    block(asLoops(s, tile.rows, tile.cols));
    return;
  }
  switch (s.kind) {
    case 'tileMma':
      multiply(frame, s);
      return;
    case 'tileLoad':
    case 'tileStore':
      move(frame, s);
      return;
    case 'tileEach':
      each(frame, s, block);
      return;
  }
}

function zero(frame: Frame, s: Extract<Stmt, { kind: 'tileZero' }>, block: (body: readonly Stmt[]) => void): void {
  const { rows, cols } = s;
  if (cols % 4 !== 0 || (rows * cols) / 4 > MOST_VECTORS) {
    frame.allocate(own(s.tile, 'memory'), 'f32', rows * cols);
    frame.defineTile(s.tile, { rows, cols, locals: [] });
    const at = own(s.tile, 'i');
    block([loop('vector', at, rows * cols, [store(own(s.tile, 'memory'), ref(at), zeroF32)])]);
    return;
  }
  const locals = Array.from({ length: (rows * cols) / 4 }, () => frame.newLocal(V128));
  for (const local of locals) {
    spread(frame, 'f32', 0);
    frame.code.at(op.set, local);
  }
  frame.defineTile(s.tile, { rows, cols, locals });
}

const zeroF32: Expr = { kind: 'const', type: 'f32', value: 0 };

/** The statement on a tile that lies in memory. Every element's sum keeps its order. */
function asLoops(s: Exclude<TileStmt, { kind: 'tileZero' }>, rows: number, cols: number): Stmt[] {
  const memory = own(s.tile, 'memory');
  const [i, j, k, sum] = ['i', 'j', 'k', 'sum'].map((n) => own(s.tile, n));
  const at = add(mul(ref(i), i32(cols)), ref(j));
  const nest = (body: Stmt[], vector: boolean): Stmt[] => [
    loop('serial', i, rows, [loop(vector ? 'vector' : 'serial', j, cols, body)]),
  ];
  switch (s.kind) {
    case 'tileMma': {
      const a = add(add(s.a.index, mul(ref(i), i32(s.a.row))), mul(ref(k), i32(s.a.depth)));
      const b = add(add(s.b.index, mul(ref(k), i32(s.b.depth))), mul(ref(j), i32(s.b.col)));
      const product = mul(load(s.a.memory, a), load(s.b.memory, b));
      return nest(
        [
          { kind: 'var', name: sum, type: 'f32', value: load(memory, at) },
          loop('serial', k, s.depth, [{ kind: 'set', name: sum, value: add(ref(sum), product) }]),
          store(memory, at, ref(sum)),
        ],
        true,
      );
    }
    case 'tileLoad':
    case 'tileStore': {
      const place = add(add(s.index, mul(ref(i), s.row)), mul(ref(j), i32(s.col)));
      return nest(
        [s.kind === 'tileLoad' ? store(memory, at, load(s.memory, place)) : store(s.memory, place, load(memory, at))],
        true,
      );
    }
    case 'tileEach':
      return eachInMemory(s, memory, rows, cols);
  }
}

function eachInMemory(s: Each, memory: string, rows: number, cols: number): Stmt[] {
  const at = add(mul(ref(s.row), i32(cols)), ref(s.col));
  const body: Stmt[] = [{ kind: 'let', name: s.element, type: 'f32', value: load(memory, at) }, ...s.body];
  return [loop('serial', s.row, min(i32(rows), s.rowLimit), [loop('vector', s.col, min(i32(cols), s.colLimit), body)])];
}

/**
 * The depth loop: rows of b as vectors, elements of a spread over a vector. Two pointers move; all else is in the offsets
 * of the loads.
 */
function multiply(frame: Frame, s: Mma): void {
  const { rows, cols, locals } = frame.tile(s.tile);
  const vectors = cols / 4;
  const pointer = (memory: string, index: Expr, low: number): number => {
    const sum = sumOf(frame, index);
    const offset = printAddress(frame, memory, { ...sum, constant: (sum.constant + low) | 0 }, true);
    if (offset !== 0) throw new Error('a conditional address has no offset');
    return frame.keep(I32);
  };
  // Offsets of loads are not negative: with negative strides the pointer stands at the lowest element.
  const lowA = Math.min(0, (rows - 1) * s.a.row);
  const lowB = Math.min(0, (cols - 1) * s.b.col);
  const depth = bound(frame, s.depth);
  const a = pointer(s.a.memory, s.a.index, lowA);
  const b = pointer(s.b.memory, s.b.index, lowB);
  const row = frame.newLocal(V128);
  const right = Array.from({ length: vectors }, () => frame.newLocal(V128));

  frame.code.i32(0);
  const counter = frame.keep(I32);
  // V8 unrolls this loop itself. Unrolled here it is half as fast: all loads are scheduled first, and registers run out.
  printCounted(frame, counter, depth, 1, isKnown(depth) && depth.value > 0, () => {
    const { code } = frame;
    for (let c = 0; c < vectors; c++) {
      const at = (j: number): number => 4 * ((4 * c + j) * s.b.col - lowB);
      code.at(op.get, b);
      if (s.b.col === 1) code.simdMemory(simd.load, 2, at(0));
      else {
        code.simdMemory(simd.load32Zero, 2, at(0)).at(op.set, right[c]);
        for (let j = 1; j < 4; j++) {
          code.at(op.get, b).at(op.get, right[c]).simdMemory(simd.load32Lane, 2, at(j), j);
          if (j < 3) code.at(op.set, right[c]);
        }
      }
      code.at(op.set, right[c]);
    }
    for (let i = 0; i < rows; i++) {
      code.at(op.get, a).simdMemory(simd.load32Splat, 2, 4 * (i * s.a.row - lowA));
      code.at(op.set, row);
      for (let c = 0; c < vectors; c++) {
        const sum = locals[i * vectors + c];
        if (frame.relaxed) code.at(op.get, row).at(op.get, right[c]).at(op.get, sum).simd(simd.f32RelaxedMadd);
        else code.at(op.get, sum).at(op.get, row).at(op.get, right[c]).simd(simd.f32Mul, simd.f32Add);
        code.at(op.set, sum);
      }
    }
    code
      .at(op.get, a)
      .i32(4 * s.a.depth)
      .op(op.i32Add)
      .at(op.set, a);
    code
      .at(op.get, b)
      .i32(4 * s.b.depth)
      .op(op.i32Add)
      .at(op.set, b);
  });
}

function move(frame: Frame, s: Extract<Stmt, { kind: 'tileLoad' | 'tileStore' }>): void {
  const { rows, cols, locals } = frame.tile(s.tile);
  const { code } = frame;
  const vectors = cols / 4;
  const low = Math.min(0, (cols - 1) * s.col);
  const sum = sumOf(frame, s.index);
  printAddress(frame, s.memory, { ...sum, constant: (sum.constant + low) | 0 }, true);
  const at = frame.keep(I32);
  printBound(frame, bound(frame, mul(s.row, i32(4))));
  const stride = frame.keep(I32);
  for (let i = 0; i < rows; i++) {
    for (let c = 0; c < vectors; c++) {
      const local = locals[i * vectors + c];
      const offset = (j: number): number => 4 * ((4 * c + j) * s.col - low);
      if (s.col === 1) {
        code.at(op.get, at);
        if (s.kind === 'tileLoad') code.simdMemory(simd.load, 2, offset(0)).at(op.set, local);
        else code.at(op.get, local).simdMemory(simd.store, 2, offset(0));
        continue;
      }
      for (let j = 0; j < 4; j++) {
        code.at(op.get, at).at(op.get, local);
        if (s.kind === 'tileLoad') code.simdMemory(simd.load32Lane, 2, offset(j), j).at(op.set, local);
        else code.simdMemory(simd.store32Lane, 2, offset(j), j);
      }
    }
    if (i < rows - 1) code.at(op.get, at).at(op.get, stride).op(op.i32Add).at(op.set, at);
  }
}

function each(frame: Frame, s: Each, block: (body: readonly Stmt[]) => void): void {
  const { rows, cols } = frame.tile(s.tile);
  const plan = planLanes(
    frame,
    s.body,
    new Map([
      [s.element, 'f32'],
      [s.col, 'i32'],
    ]),
  );
  const direct = plan && !plan.nested && plan.accumulated.size === 0 && plan.size <= UNROLLED_EPILOGUE;
  if (!direct) {
    spilled(frame, s, block);
    return;
  }
  const limits = [
    { limit: s.rowLimit, extent: rows },
    { limit: s.colLimit, extent: cols },
  ].filter(({ limit, extent }) => !(limit.kind === 'const' && limit.value >= extent));
  if (limits.length === 0) {
    whole(frame, s);
    return;
  }
  limits.forEach(({ limit, extent }, n) => {
    const local = scalarLocal(frame, limit);
    frame.code.at(op.get, local).i32(extent).op(op.i32GeS);
    if (n > 0) frame.code.op(op.i32And);
  });
  printEither(
    frame,
    frame.keep(I32),
    () => whole(frame, s),
    () => spilled(frame, s, block),
  );
}

/** The body for each vector of the tile. */
function whole(frame: Frame, s: Each): void {
  const { rows, cols, locals } = frame.tile(s.tile);
  // Two locals, though both are zero: sums tell names apart by them.
  const [firstRow, firstCol] = [frame.newLocal(I32), frame.newLocal(I32)];
  frame.code.i32(0).at(op.set, firstRow).i32(0).at(op.set, firstCol);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j += 4) {
      frame.define(s.row, 'i32', { local: firstRow });
      frame.define(s.col, 'i32', { local: firstCol });
      frame.define(s.element, 'f32', { local: locals[(i * cols + j) / 4], lanes: true });
      printLaneBody(frame, s.body, {
        variable: s.col,
        step: 1,
        shifts: new Map([
          [s.row, i],
          [s.col, j],
        ]),
        accumulators: new Map(),
        conditional: false,
      });
    }
}

/** The same by way of scratch memory. */
function spilled(frame: Frame, s: Each, block: (body: readonly Stmt[]) => void): void {
  const { rows, cols, locals } = frame.tile(s.tile);
  const memory = own(s.tile, 'spilled');
  frame.enter();
  frame.allocate(memory, 'f32', rows * cols);
  locals.forEach((local, n) => {
    const offset = printAddress(frame, memory, { constant: 4 * n, terms: [] });
    frame.code.at(op.get, local).simdMemory(simd.store, 2, offset);
  });
  block(eachInMemory(s, memory, rows, cols));
  const inner = frame.leave();
  frame.code.append(inner);
}
