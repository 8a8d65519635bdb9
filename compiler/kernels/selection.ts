/**
 * Reductions that look at positions: argmax (the first maximum along an axis) and the trace of packed symmetric matrices.
 * Both walk their axis in order, one result after another.
 */
import { add, binary, type Expr, i32, loop, lt, mul, ref, type Stmt } from '../../ir/kernel.js';
import { axisOf } from '../../ir/ops/declare.js';
import { concrete, product } from '../../ir/types.js';
import type { Dimension } from './affine.js';
import { Elements, epilogueOf } from './elements.js';
import type { Frame } from './frame.js';
import { flatten } from './indices.js';
import { gridLoops, spanning } from './nest.js';
import type { Region } from './region.js';

export function selectionNest(frame: Frame, region: Region): Stmt[] {
  const { dims, body } = region.anchor!.op === 'argmax' ? argmaxOf(frame, region) : traceOf(frame, region);
  return gridLoops(frame, dims, body);
}

/** What finds one result, over the space that `dims` span. */
export interface Selection {
  readonly dims: readonly Dimension[];
  readonly body: readonly Stmt[];
}

export function argmaxOf(frame: Frame, region: Region): Selection {
  const anchor = region.anchor!;
  const [x] = anchor.operands;
  const shape = concrete(x.type.shape);
  const axis = axisOf(anchor.attrs, shape.length);
  const elements = new Elements(region, frame.parameters);
  const { index, dims } = spanning(frame, concrete(anchor.results[0].type.shape));
  const at = (k: Expr): Expr => elements.at(x, [...index.slice(0, axis), k, ...index.slice(axis)]);
  const [best, place, k, v] = ['m', 'w', 'k', 'v'].map((n) => frame.fresh(n));
  const type = x.type.dtype === 'i32' ? 'i32' : 'f32';
  const body: Stmt[] = [
    { kind: 'var', name: best, type, value: at(i32(0)) },
    { kind: 'var', name: place, type: 'i32', value: i32(0) },
    loop(
      'serial',
      k,
      shape[axis],
      [
        { kind: 'let', name: v, type, value: at(ref(k)) },
        {
          kind: 'if',
          cond: lt(ref(best), ref(v)),
          // biome-ignore lint/suspicious/noThenProperty: the statement's own field
          then: [
            { kind: 'set', name: best, value: ref(v) },
            { kind: 'set', name: place, value: ref(k) },
          ],
          else: [],
        },
      ],
      1,
    ),
    ...epilogueOf(region, elements)(index, ref(place)),
  ];
  return { dims, body };
}

/** Element (i, i) of a packed lower triangle lies at i (i + 3) / 2. */
export const diagonalOffset = (i: Expr): Expr => binary('div', mul(i, add(i, i32(3))), i32(2));

function traceOf(frame: Frame, region: Region): Selection {
  const anchor = region.anchor!;
  const [x] = anchor.operands;
  const shape = concrete(x.type.shape);
  const n = shape[shape.length - 1];
  const batch = shape.slice(0, -2);
  const elements = new Elements(region, frame.parameters);
  const { index, dims } = spanning(frame, batch);
  const matrix = product(batch) === 1 ? i32(0) : mul(flatten(index, batch), i32((n * (n + 1)) / 2));
  const [sum, i] = ['a', 'k'].map((name) => frame.fresh(name));
  const diagonal = diagonalOffset(ref(i));
  const body: Stmt[] = [
    { kind: 'var', name: sum, type: 'f32', value: { kind: 'const', type: 'f32', value: 0 } },
    loop('serial', i, n, [{ kind: 'set', name: sum, value: add(ref(sum), elements.at(x, [add(matrix, diagonal)])) }]),
    ...epilogueOf(region, elements)(index, ref(sum)),
  ];
  return { dims, body };
}
