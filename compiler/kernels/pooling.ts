/**
 * Pooling over NCHW images. Forward: one output after another, small windows unrolled into one expression. Gradients: the
 * grid runs over planes, each of which is accumulated in group memory window by window, then stored with its epilogue; so
 * overlapping windows never race.
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
  letF,
  load,
  loop,
  lt,
  max,
  min,
  mul,
  ref,
  type Stmt,
  select,
  store,
  sub,
  unary,
} from '../../ir/kernel.js';
import { type Window, windowOf } from '../../ir/ops/contractions.js';
import { flagOf } from '../../ir/ops/declare.js';
import { concrete } from '../../ir/types.js';
import { when } from './contraction-tile.js';
import { Elements, epilogueOf } from './elements.js';
import { Frame, finishKernel } from './frame.js';
import type { Index } from './indices.js';
import { gridLoops, spanning, storeNest } from './nest.js';
import type { Nest } from './pointwise.js';
import type { Region } from './region.js';
import type { Selection } from './selection.js';

/** Windows of at most this many taps are unrolled, so that outputs run along vector lanes. */
const UNROLLED = 16;

export interface Plane {
  readonly window: Window;
  readonly image: readonly [number, number];
  readonly output: readonly [number, number];
}

/** First tap's coordinate along axis d for output coordinate o. */
const origin = (p: Plane, d: 0 | 1, o: Expr): Expr => sub(mul(o, i32(p.window.strides[d])), i32(p.window.pads[d]));

/** Whether coordinate `i` lies in the image, given the values it can take; undefined where it always does. */
function within(i: Expr, least: number, most: number, size: number): Expr | undefined {
  const low = least < 0 ? lt(i32(-1), i) : undefined;
  const high = most >= size ? lt(i, i32(size)) : undefined;
  return low && high ? and(low, high) : (low ?? high);
}

/** Coordinate of tap k, and the condition under which it lies in the image. */
function tap(p: Plane, d: 0 | 1, o: Expr, k: number): { at: Expr; inside: Expr | undefined } {
  const { strides, pads, dilations } = p.window;
  const least = k * dilations[d] - pads[d];
  const at = add(mul(o, i32(strides[d])), i32(least));
  return { at, inside: within(at, least, least + (p.output[d] - 1) * strides[d], p.image[d]) };
}

const both = (a: Expr | undefined, b: Expr | undefined): Expr | undefined => (a && b ? and(a, b) : (a ?? b));

/** Calls `visit` for every tap of the window, unrolled. */
function taps(p: Plane, oy: Expr, ox: Expr, visit: (iy: Expr, ix: Expr, inside: Expr | undefined) => void): void {
  for (let ky = 0; ky < p.window.kernel[0]; ky++)
    for (let kx = 0; kx < p.window.kernel[1]; kx++) {
      const y = tap(p, 0, oy, ky);
      const x = tap(p, 1, ox, kx);
      visit(y.at, x.at, both(y.inside, x.inside));
    }
}

/** Number of elements along axis d that an average over output coordinate `o` divides by (ops/pooling.ts, `divisors`). */
function counted(p: Plane, d: 0 | 1, o: Expr, padded: boolean): Expr {
  const { strides, pads, kernel } = p.window;
  const shift = padded ? 0 : pads[d];
  const size = p.image[d] + (padded ? pads[d] + pads[d + 2] : 0);
  if (shift === 0 && (p.output[d] - 1) * strides[d] + kernel[d] <= size) return i32(kernel[d]);
  const start = sub(mul(o, i32(strides[d])), i32(shift));
  return sub(min(add(start, i32(kernel[d])), i32(size)), max(start, i32(0)));
}

export function divisor(p: Plane, oy: Expr, ox: Expr, padded: boolean): Expr {
  const n = mul(counted(p, 0, oy, padded), counted(p, 1, ox, padded));
  return n.kind === 'const' ? f32(n.value) : unary('toF32', n);
}

/** Statements that visit every tap in the image in order, for windows too large to unroll. */
function tapLoops(
  frame: Frame,
  p: Plane,
  oy: Expr,
  ox: Expr,
  body: (iy: Expr, ix: Expr) => Stmt[],
  bind: 'serial' | 'vector',
): Stmt[] {
  const { kernel, dilations } = p.window;
  const [ky, kx] = [frame.fresh('k'), frame.fresh('k')];
  if (dilations[0] === 1 && dilations[1] === 1) {
    const bounds = (d: 0 | 1, o: Expr): [Expr, Expr] => {
      const start = origin(p, d, o);
      return [max(start, i32(0)), min(add(start, i32(kernel[d])), i32(p.image[d]))];
    };
    const [yLo, yHi] = bounds(0, oy);
    const [xLo, xHi] = bounds(1, ox);
    return [loop('serial', ky, yHi, [loop(bind, kx, xHi, body(ref(ky), ref(kx)), xLo)], yLo)];
  }
  const iy = add(origin(p, 0, oy), mul(ref(ky), i32(dilations[0])));
  const ix = add(origin(p, 1, ox), mul(ref(kx), i32(dilations[1])));
  const inside = (i: Expr, size: number): Expr => and(lt(i32(-1), i), lt(i, i32(size)));
  return [
    loop('serial', ky, kernel[0], [
      loop('serial', kx, kernel[1], [
        {
          kind: 'if',
          cond: and(inside(iy, p.image[0]), inside(ix, p.image[1])),
          // biome-ignore lint/suspicious/noThenProperty: the statement's own field
          then: body(iy, ix),
          else: [],
        },
      ]),
    ]),
  ];
}

/** The same for lanes that are not outputs of a row: small windows are unrolled, and what they ask is the same for all lanes. */
export function eachTap(frame: Frame, p: Plane, oy: Expr, ox: Expr, body: (iy: Expr, ix: Expr) => Stmt[]): Stmt[] {
  if (p.window.kernel[0] * p.window.kernel[1] > UNROLLED) return tapLoops(frame, p, oy, ox, body, 'serial');
  const out: Stmt[] = [];
  taps(p, oy, ox, (iy, ix, inside) => out.push(...(inside ? [when(inside, body(iy, ix))] : body(iy, ix))));
  return out;
}

export function lowerPool(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  const pool = poolOf(frame);
  const body = 'stores' in pool ? storeNest(frame, pool.dims, pool.stores) : gridLoops(frame, pool.dims, pool.body);
  return finishKernel(frame, name, body);
}

/** What makes one output, over the space that `dims` span: plain stores where the window is small. */
export function poolOf(frame: Frame): Nest | Selection {
  const { region } = frame;
  const anchor = region.anchor!;
  const [x] = anchor.operands;
  const [, , height, width] = concrete(x.type.shape);
  const shape = concrete(anchor.results[0].type.shape);
  const p: Plane = { window: windowOf(anchor.attrs), image: [height, width], output: [shape[2], shape[3]] };
  const maximum = anchor.op === 'max_pool';
  const elements = new Elements(region, frame.parameters);
  const { index, dims } = spanning(frame, shape);
  const [n, c, oy, ox] = index;
  const first = maximum ? Number.NEGATIVE_INFINITY : 0;
  const finish = (e: Expr): Expr =>
    maximum ? e : div(e, divisor(p, oy, ox, flagOf(anchor.attrs, 'count_include_pad')));
  const epilogue = epilogueOf(region, elements);

  if (p.window.kernel[0] * p.window.kernel[1] <= UNROLLED) {
    let all: Expr | undefined;
    taps(p, oy, ox, (iy, ix, inside) => {
      const at: Index = [n, c, iy, ix];
      const e = inside ? elements.guarded(x, at, inside, undefined, first) : elements.at(x, at);
      all = all ? (maximum ? max(all, e) : add(all, e)) : e;
    });
    return { dims, stores: epilogue(index, finish(all!)) };
  }
  const a = frame.fresh('a');
  const body = tapLoops(
    frame,
    p,
    oy,
    ox,
    (iy, ix) => [{ kind: 'accumulate', name: a, op: maximum ? 'max' : 'add', value: elements.at(x, [n, c, iy, ix]) }],
    'vector',
  );
  return {
    dims,
    body: [{ kind: 'var', name: a, type: 'f32', value: f32(first) }, ...body, ...epilogue(index, finish(ref(a)))],
  };
}

export function lowerPoolGrad(region: Region, name: string): Kernel {
  const frame = new Frame(region);
  const anchor = region.anchor!;
  const maximum = anchor.op === 'max_pool_grad';
  const dy = anchor.operands[maximum ? 1 : 0];
  const [, , outHeight, outWidth] = concrete(dy.type.shape);
  const [n, c, height, width] = concrete(anchor.results[0].type.shape);
  const p: Plane = { window: windowOf(anchor.attrs), image: [height, width], output: [outHeight, outWidth] };
  const elements = new Elements(region, frame.parameters);
  const { index, dims } = spanning(frame, [n, c]);
  const plane = frame.fresh('s');
  const cell = (iy: Expr, ix: Expr): Expr => add(mul(iy, i32(width)), ix);
  const [z, oy, ox] = ['z', 'y', 'x'].map((v) => frame.fresh(v));
  const gradient = elements.at(dy, [...index, ref(oy), ref(ox)]);

  const apart = maximum && areApart(p);
  const scatter: Stmt[] = apart
    ? scatterApart(frame, p, elements.at.bind(elements, anchor.operands[0]), index, ref(oy), ref(ox), plane, gradient)
    : maximum
      ? scatterToMaximum(frame, p, elements, region, index, ref(oy), ref(ox), plane, gradient)
      : scatterEvenly(
          frame,
          p,
          ref(oy),
          ref(ox),
          plane,
          div(gradient, divisor(p, ref(oy), ref(ox), flagOf(anchor.attrs, 'count_include_pad'))),
        );
  const finished = spanning(frame, [height, width]);
  const all = [...index, ...finished.index];
  const e = frame.fresh('r');
  const stores: Stmt[] = [
    letF(e, load(plane, cell(finished.index[0], finished.index[1]))),
    ...epilogueOf(region, elements)(all, ref(e)),
  ];
  const last = finished.dims[finished.dims.length - 1];
  const rows = finished.dims.slice(0, -1);
  const write = last
    ? rows.reduceRight<Stmt[]>(
        (b, d) => [loop('serial', d.name, d.extent, b)],
        [loop('vector', last.name, last.extent, stores)],
      )
    : stores;
  const body = gridLoops(frame, dims, [
    { kind: 'alloc', name: plane, space: 'group', type: 'f32', size: height * width },
    ...(apart && coversAll(p) ? [] : [loop('vector', z, height * width, [store(plane, ref(z), f32(0))])]),
    loop('serial', oy, outHeight, [loop(apart ? 'vector' : 'serial', ox, outWidth, scatter)]),
    ...write,
  ]);
  return finishKernel(frame, name, body);
}

/**
 * Registers `best` and `place`: the first maximum of the window in row-major order; `place` is -1 where the window is empty.
 * @param walk visits the taps
 */
export function findMaximum(
  frame: Frame,
  p: Plane,
  oy: Expr,
  ox: Expr,
  at: (iy: Expr, ix: Expr) => Expr,
  walk: typeof eachTap = (...args) => tapLoops(...args, 'serial'),
): { readonly place: string; readonly body: Stmt[] } {
  const [best, place] = ['m', 'w'].map((n) => frame.fresh(n));
  const or = (a: Expr, b: Expr): Expr => ({ kind: 'binary', op: 'or', a, b });
  const body = (iy: Expr, ix: Expr): Stmt[] => {
    const [v, larger] = ['v', 'l'].map((n) => frame.fresh(n));
    return [
      letF(v, at(iy, ix)),
      { kind: 'let', name: larger, type: 'bool', value: or(lt(ref(place), i32(0)), lt(ref(best), ref(v))) },
      { kind: 'set', name: best, value: select(ref(larger), ref(v), ref(best)) },
      { kind: 'set', name: place, value: select(ref(larger), add(mul(iy, i32(p.image[1])), ix), ref(place)) },
    ];
  };
  return {
    place,
    body: [
      { kind: 'var', name: best, type: 'f32', value: f32(Number.NEGATIVE_INFINITY) },
      { kind: 'var', name: place, type: 'i32', value: i32(-1) },
      ...walk(frame, p, oy, ox, body),
    ],
  };
}

/** Whether a window may lie in the padding as a whole. */
export const maybeEmpty = (p: Plane): boolean =>
  ([0, 1] as const).some((d) => {
    const { kernel, strides, pads, dilations } = p.window;
    return dilations[d] > 1 || pads[d] >= kernel[d] || (p.output[d] - 1) * strides[d] - pads[d] >= p.image[d];
  });

/** Whether no two windows share an element, all taps are in the image, and there are few of them. */
export const areApart = (p: Plane): boolean =>
  p.window.kernel[0] * p.window.kernel[1] <= UNROLLED &&
  ([0, 1] as const).every((d) => {
    const extent = (p.window.kernel[d] - 1) * p.window.dilations[d] + 1;
    const last = (p.output[d] - 1) * p.window.strides[d] + extent;
    return p.window.pads[d] === 0 && last <= p.image[d] && extent <= p.window.strides[d];
  });

/** Whether windows that are apart leave no element out. */
const coversAll = (p: Plane): boolean =>
  ([0, 1] as const).every(
    (d) => p.window.kernel[d] === p.window.strides[d] && p.output[d] * p.window.strides[d] === p.image[d],
  );

/** The same for windows that are apart: each writes all of its elements, so that windows can be lanes of a vector. */
function scatterApart(
  frame: Frame,
  p: Plane,
  at: (index: Index) => Expr,
  index: Index,
  oy: Expr,
  ox: Expr,
  plane: string,
  gradient: Expr,
): Stmt[] {
  const elements: { readonly iy: Expr; readonly ix: Expr; readonly name: string }[] = [];
  taps(p, oy, ox, (iy, ix) => elements.push({ iy, ix, name: frame.fresh('v') }));
  const [g, best, place] = ['g', 'm', 'w'].map((n) => frame.fresh(n));
  const [{ name: first }, ...others] = elements;
  return [
    letF(g, gradient),
    ...elements.map(({ iy, ix, name }) => letF(name, at([...index, iy, ix]))),
    { kind: 'var', name: best, type: 'f32', value: ref(first) },
    { kind: 'var', name: place, type: 'i32', value: i32(0) },
    ...others.flatMap(({ name }, k): Stmt[] => [
      { kind: 'set', name: place, value: select(lt(ref(best), ref(name)), i32(k + 1), ref(place)) },
      { kind: 'set', name: best, value: select(lt(ref(best), ref(name)), ref(name), ref(best)) },
    ]),
    ...elements.map(({ iy, ix }, k) =>
      store(plane, add(mul(iy, i32(p.image[1])), ix), select(eq(ref(place), i32(k)), ref(g), f32(0))),
    ),
  ];
}

/** The first maximum of the window takes all of the gradient. */
function scatterToMaximum(
  frame: Frame,
  p: Plane,
  elements: Elements,
  region: Region,
  index: Index,
  oy: Expr,
  ox: Expr,
  plane: string,
  gradient: Expr,
): Stmt[] {
  const [x] = region.anchor!.operands;
  const { place, body } = findMaximum(frame, p, oy, ox, (iy, ix) => elements.at(x, [...index, iy, ix]));
  return [...body, when(lt(i32(-1), ref(place)), [store(plane, ref(place), add(load(plane, ref(place)), gradient))])];
}

function scatterEvenly(frame: Frame, p: Plane, oy: Expr, ox: Expr, plane: string, share: Expr): Stmt[] {
  const s = frame.fresh('v');
  const addShare = (iy: Expr, ix: Expr): Stmt[] => {
    const at = add(mul(iy, i32(p.image[1])), ix);
    return [store(plane, at, add(load(plane, at), ref(s)))];
  };
  return [{ kind: 'let', name: s, type: 'f32', value: share }, ...tapLoops(frame, p, oy, ox, addShare, 'vector')];
}
