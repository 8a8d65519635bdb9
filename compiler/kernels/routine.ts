/**
 * Routines: algorithms with a control flow of their own. There is one, the damped inverse: (X + shift I)^-1 of packed
 * symmetric matrices. An attempt that meets a bad pivot, or gives a value that is not finite, is repeated with ten times the
 * shift; when all have failed, the previous inverse stays. Nothing is written before an attempt has succeeded.
 */
import type { Value } from '../../ir/graph.js';
import {
  add,
  and,
  bool,
  div,
  type Expr,
  f32,
  i32,
  type Kernel,
  load,
  loop,
  lt,
  mul,
  ref,
  type Stmt,
  store,
  unary,
} from '../../ir/kernel.js';
import { numberOf } from '../../ir/ops/declare.js';
import { concrete, product } from '../../ir/types.js';
import { when } from './contraction-tile.js';
import { Elements } from './elements.js';
import { Frame, finishKernel } from './frame.js';
import { unflatten } from './indices.js';
import type { Region } from './region.js';
import { inversion } from './routine-inverse.js';

const finite = (e: Expr): Expr => lt(unary('abs', e), f32(Number.POSITIVE_INFINITY));

/**
 * @param blockSize columns eliminated at once, a multiple of 8; default by size
 * @returns parameters `p0..pn`: the region's inputs, then its outputs
 */
export function lowerRoutine(region: Region, name: string, blockSize?: number): Kernel {
  const anchor = region.anchor;
  if (anchor?.op !== 'damped_inverse') throw new Error(`${name}: ${anchor?.op} has no routine`);
  const frame = new Frame(region);
  const elements = new Elements(region, frame.parameters);
  const [x, shift, previous] = anchor.operands;
  const [inverse, failures] = anchor.results;
  const shape = concrete(x.type.shape);
  const batch = product(shape.slice(0, -2));
  const n = shape[shape.length - 1];
  const size = (n * (n + 1)) / 2;
  const retries = numberOf(anchor.attrs, 'retries');
  const written = (v: Value): string | undefined => (region.outputs.includes(v) ? elements.memory(v) : undefined);

  const [matrix, row, col] = ['matrix', 'row', 'col'].map(ref);
  const offset = (i: Expr, j: Expr): Expr => add(add(mul(matrix, i32(size)), div(mul(i, add(i, i32(1))), i32(2))), j);
  const work = inversion(n, blockSize);

  const fill = work.fill((i, j) => elements.at(x, [offset(i, j)]), ref('damping'));
  const attempt: Stmt[] = [
    { kind: 'set', name: 'good', value: finite(ref('damping')) },
    ...fill,
    ...work.invert('good'),
    { kind: 'var', name: 'largest', type: 'f32', value: f32(0) },
    loop('group', 'row', n, [
      loop('vector', 'col', add(row, i32(1)), [
        { kind: 'accumulate', name: 'largest', op: 'max', value: unary('abs', load(work.memory, work.at(row, col))) },
      ]),
    ]),
    when(
      and(ref('good'), lt(ref('largest'), f32(Number.POSITIVE_INFINITY))),
      [{ kind: 'set', name: 'solved', value: bool(true) }],
      [
        { kind: 'set', name: 'failed', value: add(ref('failed'), f32(1)) },
        { kind: 'set', name: 'damping', value: mul(ref('damping'), f32(10)) },
      ],
    ),
  ];
  const out = written(inverse);
  const rows = (value: Expr): Stmt[] =>
    out === undefined
      ? []
      : [loop('group', 'row', n, [loop('vector', 'col', add(row, i32(1)), [store(out, offset(row, col), value)])])];
  const failed = written(failures);
  const body: Stmt[] = [
    ...work.allocs,
    { kind: 'var', name: 'solved', type: 'bool', value: bool(false) },
    { kind: 'var', name: 'good', type: 'bool', value: bool(true) },
    { kind: 'var', name: 'failed', type: 'f32', value: f32(0) },
    { kind: 'var', name: 'damping', type: 'f32', value: elements.at(shift, unflatten(matrix, shape.slice(0, -2))) },
    loop('serial', 'attempt', retries + 1, [when(unary('not', ref('solved')), attempt)]),
    when(ref('solved'), rows(load(work.memory, work.at(row, col))), rows(elements.at(previous, [offset(row, col)]))),
    ...(failed === undefined ? [] : [store(failed, matrix, ref('failed'))]),
  ];
  return finishKernel(frame, name, [loop('grid', 'matrix', batch, body)]);
}
