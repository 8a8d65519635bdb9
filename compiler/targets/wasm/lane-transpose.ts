/**
 * Four stores side by side, each of which would put its lanes at a distance: the 4 x 4 block is transposed in registers, and every
 * lane's four elements are stored as one vector. This is how rows are packed into panels and images are turned channel-last.
 */
import type { Expr, Stmt } from '../../../ir/kernel.js';
import { operandsOf } from '../../kernels/walk.js';
import { I32, op, simd, V128 } from './encode.js';
import { bytesOf, type Frame, type Sum } from './frame.js';
import { strideOf } from './lane-memory.js';
import { printLanes } from './lanes.js';
import { printAddress, sumOf } from './sums.js';

type Store = Extract<Stmt, { kind: 'store' }>;

const reads = (e: Expr, memory: string): boolean =>
  ('memory' in e && e.memory === memory) || operandsOf(e).some((o) => reads(o, memory));

const sameTerms = (a: Sum, b: Sum): boolean =>
  a.terms.length === b.terms.length &&
  a.terms.every((t) => b.terms.some((u) => u.key === t.key && u.factor === t.factor));

/** The four stores from `body[at]` on, with where the first one goes; undefined: they are no such block. */
function blockAt(
  frame: Frame,
  body: readonly Stmt[],
  at: number,
): { stores: Store[]; first: Sum; stride: number } | undefined {
  const stores = body.slice(at, at + 4).filter((s) => s.kind === 'store');
  if (stores.length < 4 || frame.lanes!.mask !== undefined || frame.lanes!.conditional) return undefined;
  const { memory } = stores[0];
  if (!frame.isOwn(memory) || bytesOf[frame.memory(memory).type] !== 4) return undefined;
  if (stores.some((s) => s.memory !== memory || reads(s.value, memory))) return undefined;
  const [first, ...rest] = stores.map((s) => sumOf(frame, s.index));
  if (!rest.every((s, i) => s.constant === first.constant + i + 1 && sameTerms(s, first))) return undefined;
  const stride = strideOf(frame, first);
  return stride !== undefined && stride >= 4 ? { stores, first, stride } : undefined;
}

/** How many statements from `body[at]` on it has printed: 4 or none. */
export function printTransposedStores(frame: Frame, body: readonly Stmt[], at: number): number {
  const block = blockAt(frame, body, at);
  if (!block) return 0;
  const { code } = frame;
  const { stores, first, stride } = block;
  const columns = stores.map((s) => {
    printLanes(frame, s.value);
    return frame.keep(V128);
  });
  const mix = (a: number, b: number, ...lanes: readonly number[]): number => {
    code
      .at(op.get, a)
      .at(op.get, b)
      .shuffle(...lanes);
    return frame.keep(V128);
  };
  const [low, high] = [[0, 4, 1, 5] as const, [2, 6, 3, 7] as const];
  const halves = [low, high].map((part) => [
    mix(columns[0], columns[1], ...part),
    mix(columns[2], columns[3], ...part),
  ]);
  const rows = halves.flatMap(([a, b]) => [mix(a, b, 0, 1, 4, 5), mix(a, b, 2, 3, 6, 7)]);
  const offset = printAddress(frame, stores[0].memory, first);
  const address = frame.keep(I32);
  rows.forEach((row, lane) => {
    code
      .at(op.get, address)
      .at(op.get, row)
      .simdMemory(simd.store, 2, offset + 4 * lane * stride);
  });
  return 4;
}
