/**
 * Pooling for a GPU: a thread makes one output, and one input's gradient. A gradient looks at the windows that cover its input
 * and takes its share of each, so that no two threads write to the same place; a maximum is searched again in each window.
 */
import {
  add,
  and,
  div,
  type Expr,
  eq,
  f32,
  i32,
  type Kernel,
  le,
  letI,
  loop,
  lt,
  max,
  min,
  mul,
  ref,
  rem,
  type Stmt,
  sub,
} from '../../../ir/kernel.js';
import { windowOf } from '../../../ir/ops/contractions.js';
import { flagOf } from '../../../ir/ops/declare.js';
import { concrete, product } from '../../../ir/types.js';
import { when } from '../contraction-tile.js';
import { Elements, epilogueOf } from '../elements.js';
import { Frame, finishKernel } from '../frame.js';
import { spanning } from '../nest.js';
import { divisor, findMaximum, type Plane, poolOf } from '../pooling.js';
import type { Region } from '../region.js';
import { elementShare, gridOf, type Share, split } from './shares.js';

export function lowerPool(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  const pool = poolOf(frame);
  if ('stores' in pool) return finishKernel(frame, name, gridOf(frame, [elementShare(pool)]));
  const share: Share = {
    count: product(pool.dims.map((d) => d.extent)),
    body: (at) => [...split(at, pool.dims), ...pool.body],
  };
  return finishKernel(frame, name, gridOf(frame, [share]));
}

export function lowerPoolGrad(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  const anchor = region.anchor!;
  const maximum = anchor.op === 'max_pool_grad';
  const [x, dy] = maximum ? anchor.operands : [undefined, anchor.operands[0]];
  const shape = concrete(anchor.results[0].type.shape);
  const [outHeight, outWidth] = concrete(dy.type.shape).slice(2);
  const p: Plane = { window: windowOf(anchor.attrs), image: [shape[2], shape[3]], output: [outHeight, outWidth] };
  const elements = new Elements(region, frame.parameters);
  const { index, dims } = spanning(frame, shape);
  const [n, c, iy, ix] = index;
  const total = frame.fresh('a');
  const take = (value: Expr): Stmt => ({ kind: 'accumulate', name: total, op: 'add', value });
  const body = coveringWindows(frame, p, iy, ix, (oy, ox) => {
    const gradient = elements.at(dy, [n, c, oy, ox]);
    if (!x) return [take(div(gradient, divisor(p, oy, ox, flagOf(anchor.attrs, 'count_include_pad'))))];
    const found = findMaximum(frame, p, oy, ox, (y, xx) => elements.at(x, [n, c, y, xx]));
    return [...found.body, when(eq(ref(found.place), add(mul(iy, i32(p.image[1])), ix)), [take(gradient)])];
  });
  const share: Share = {
    count: product(shape),
    body: (at) => [
      ...split(at, dims),
      { kind: 'var', name: total, type: 'f32', value: f32(0) },
      ...body,
      ...epilogueOf(region, elements)(index, ref(total)),
    ],
  };
  return finishKernel(frame, name, gridOf(frame, [share]));
}

/** Visits, in order, the output positions whose windows hold input (iy, ix). */
function coveringWindows(frame: Frame, p: Plane, iy: Expr, ix: Expr, visit: (oy: Expr, ox: Expr) => Stmt[]): Stmt[] {
  const { kernel, strides, pads, dilations } = p.window;
  const axis = (d: 0 | 1, i: Expr, body: (o: Expr) => Stmt[]): Stmt[] => {
    const o = frame.fresh('o');
    if (dilations[d] === 1) {
      // o * stride - pad <= i < o * stride - pad + kernel
      const low = add(i, i32(pads[d] - kernel[d] + strides[d]));
      const first = div(max(low, i32(0)), i32(strides[d]));
      const end = min(add(div(add(i, i32(pads[d])), i32(strides[d])), i32(1)), i32(p.output[d]));
      return [loop('serial', o, end, body(ref(o)), first)];
    }
    const k = frame.fresh('k');
    const from = sub(add(i, i32(pads[d])), mul(ref(k), i32(dilations[d])));
    const positive = max(from, i32(0));
    const fits = and(
      and(le(i32(0), from), eq(rem(positive, i32(strides[d])), i32(0))),
      lt(div(positive, i32(strides[d])), i32(p.output[d])),
    );
    return [loop('serial', k, kernel[d], [when(fits, [letI(o, div(positive, i32(strides[d]))), ...body(ref(o))])])];
  };
  return axis(0, iy, (oy) => axis(1, ix, (ox) => visit(oy, ox)));
}
