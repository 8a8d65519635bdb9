/**
 * What a register tile can reach at most: the same 4 x 8 tile over panels that lie in the first-level cache, packed as the tile
 * reads them. Nothing is packed, stored but once, or fetched from further away. (A loop that only adds in registers is no
 * ceiling: it loads nothing.)
 */
import { add, i32, type Kernel, loop, mul, ref, type Stmt, store } from '../../ir/kernel.js';
import { passLoc } from '../../ir/loc.js';
import { instantiate, type Prepared } from './kernel.js';

/** 4 KiB and 8 KiB of panels: the depth of a tile's sum. */
const DEPTH = 256;
const REPEATS = 400;

export function tileCeiling(rows = 4, cols = 8): Prepared {
  const body: Stmt[] = [
    loop('grid', 'repeat', REPEATS, [
      { kind: 'tileZero', tile: 't', rows, cols, accumulator: 'f32' },
      {
        kind: 'tileMma',
        tile: 't',
        operand: 'f32',
        depth: i32(DEPTH),
        a: { memory: 'a', index: i32(0), row: 1, depth: rows },
        b: { memory: 'b', index: i32(0), depth: cols, col: 1 },
      },
      {
        kind: 'tileEach',
        tile: 't',
        row: 'i',
        col: 'j',
        element: 'x',
        rowLimit: i32(rows),
        colLimit: i32(cols),
        body: [store('c', add(mul(ref('i'), i32(cols)), ref('j')), ref('x'))],
      },
    ]),
  ];
  const kernel: Kernel = {
    name: 'ceiling',
    params: [
      { name: 'a', type: 'f32', access: 'read', length: rows * DEPTH },
      { name: 'b', type: 'f32', access: 'read', length: cols * DEPTH },
      { name: 'c', type: 'f32', access: 'write', length: rows * cols },
    ],
    body,
    workgroup: 1,
    flops: 2 * rows * cols * DEPTH * REPEATS,
    bytes: 0,
    loc: passLoc('bench'),
  };
  return instantiate(kernel, [rows * DEPTH, cols * DEPTH, rows * cols]);
}
