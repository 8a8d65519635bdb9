/**
 * Reductions that look at positions: argmax (the first maximum along an axis) and the trace of packed symmetric matrices.
 * Both walk their axis in order, one result after another.
 */
import { add, binary, type Expr, i32, loop, lt, mul, ref, type Stmt } from '../../ir/kernel.js';
import { axisOf } from '../../ir/ops/declare.js';
import { concrete, product } from '../../ir/types.js';
import { Elements, epilogueOf } from './elements.js';
import type { Frame } from './frame.js';
import { flatten } from './indices.js';
import { gridLoops, spanning } from './nest.js';
import type { Region } from './region.js';

export function selectionNest(frame: Frame, region: Region): Stmt[] {
  return region.anchor!.op === 'argmax' ? argmaxNest(frame, region) : traceNest(frame, region);
}

function argmaxNest(frame: Frame, region: Region): Stmt[] {
  const anchor = region.anchor!;
  const [x] = anchor.operands;
  const shape = concrete(x.type.shape);
  const axis = axisOf(anchor.attrs, shape.length);
  const elements = new Elements(region, frame.parameters);
  const { index, dims } = spanning(frame, concrete(anchor.results[0].type.shape));
  const at = (k: Expr): Expr => elements.at(x, [...index.slice(0, axis), k, ...index.slice(axis)]);
  const [best, place, k, v] = ['m', 'w', 'k', 'v'].map((n) => frame.fresh(n));
  const type = x.type.dtype === 'i32' ? 'i32' : 'f32';
  return gridLoops(frame, dims, [
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
  ]);
}

/** Element (i, i) of a packed lower triangle lies at i (i + 3) / 2. */
function traceNest(frame: Frame, region: Region): Stmt[] {
  const anchor = region.anchor!;
  const [x] = anchor.operands;
  const shape = concrete(x.type.shape);
  const n = shape[shape.length - 1];
  const batch = shape.slice(0, -2);
  const elements = new Elements(region, frame.parameters);
  const { index, dims } = spanning(frame, batch);
  const matrix = product(batch) === 1 ? i32(0) : mul(flatten(index, batch), i32((n * (n + 1)) / 2));
  const [sum, i] = ['a', 'k'].map((name) => frame.fresh(name));
  const diagonal = binary('div', mul(ref(i), add(ref(i), i32(3))), i32(2));
  return gridLoops(frame, dims, [
    { kind: 'var', name: sum, type: 'f32', value: { kind: 'const', type: 'f32', value: 0 } },
    loop('serial', i, n, [{ kind: 'set', name: sum, value: add(ref(sum), elements.at(x, [add(matrix, diagonal)])) }]),
    ...epilogueOf(region, elements)(index, ref(sum)),
  ]);
}
