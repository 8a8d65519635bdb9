/**
 * Ops that move elements: every parameter of theirs must be known, and the batch axis is only ever moved whole.
 */
import { definitions, type Value } from '../../../../ir/graph.js';
import { type Dim, dimMul, printShape, type Shape } from '../../../../ir/types.js';
import { axesOf, expandTarget, reshapeTarget, sliceForm, splitSizes } from '../forms.js';
import { type Item, isKnown, known, numbers } from '../known.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';
import { reversed } from './rows.js';

const times = (n: NodeImport, dims: Shape): Dim =>
  dims.reduce<Dim>((p, d) => dimMul(p, d) ?? n.unsupported('two batch axes in one'), 1);

function permutation(n: NodeImport, rank: number): readonly number[] {
  const perm = n.ints('perm') ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
  if (perm.length !== rank || new Set(perm).size < rank || perm.some((p) => !(p >= 0 && p < rank)))
    n.misfit(`perm = [${perm}] of a tensor of rank ${rank}`);
  return perm;
}

export function sliced(n: NodeImport, x: Value, starts: number[], ends: number[], steps: number[]): Value {
  const { shape } = x.type;
  if (starts.every((s, i) => s === 0 && steps[i] === 1 && (ends[i] === -1 || ends[i] === shape[i]))) return x;
  if (starts.some((s, i) => ends[i] !== -1 && s >= ends[i])) n.unsupported('an empty slice');
  return n.b.node('slice', [x], { attrs: { starts, ends, steps }, name: n.name });
}

/** x[.., start:end, ..] on one axis. */
function cut(n: NodeImport, x: Value, axis: number, start: number, end: number, name: string): Value {
  const { shape } = x.type;
  return shape[axis] === end - start ? x : n.b.sliceAxis(x, axis, start, end, name);
}

function split(n: NodeImport): Value[] {
  const x = n.value(0);
  const axis = n.axis(n.number('axis', 0), x.type.shape.length);
  const size = x.type.shape[axis];
  if (typeof size !== 'number') return n.unsupported('a split of the batch');
  let start = 0;
  return splitSizes(n, size).map((part, i) => {
    start += part;
    return cut(n, x, axis, start - part, start, i === 0 ? n.name : `${n.name}:${i}`);
  });
}

/** Where a fixed batch is read as any, what was repeated for each of its examples is repeated for all. */
function spreadOverBatch(n: NodeImport, parts: readonly Value[]): Value[] {
  const batch = parts.map((p) => p.type.shape[0]).find((d) => typeof d !== 'number');
  const { fixedBatch } = n.pass;
  return parts.map((part) => {
    if (batch === undefined || fixedBatch === undefined || part.type.shape[0] !== fixedBatch) return part;
    const def = definitions(n.b).get(part);
    const one = fixedBatch === 1 ? part : def?.op === 'broadcast' ? def.operands[0] : undefined;
    const shape = [batch, ...part.type.shape.slice(1)];
    const repeated = one && (one.type.shape.length < shape.length || one.type.shape[0] === 1);
    return repeated ? n.b.broadcast(one, shape, `${n.name}.each`) : part;
  });
}

/** Known indices that follow each other are a slice, one index is a slice without its axis; others are looked up. */
function gather(n: NodeImport): Value {
  const x = n.value(0);
  const { shape } = x.type;
  const axis = n.axis(n.number('axis', 0), shape.length);
  const size = shape[axis];
  if (typeof size !== 'number') return n.unsupported('indices of the batch axis');
  const places = n.item(1);
  const list = isKnown(places) ? numbers(places)?.map((i) => (i < 0 ? i + size : i)) : undefined;
  if (isKnown(places) && list) {
    if (list.some((i) => !Number.isInteger(i) || i < 0 || i >= size)) n.misfit(`indices outside an axis of ${size}`);
    const result = [...shape.slice(0, axis), ...places.shape, ...shape.slice(axis + 1)];
    if (list.length > 0 && list.every((v, i) => v === list[0] + i))
      return n.b.reshape(cut(n, x, axis, list[0], list[0] + list.length, `${n.name}.slice`), result, n.name);
    return n.result('gather', [x, n.materialize(known('i32', places.shape, list), `${n.node.outputs[0]}.indices`)], {
      axis,
    });
  }
  const indices = n.value(1);
  const index = indices.type.dtype === 'i32' ? indices : n.unsupported(`indices of type ${indices.type.dtype}`);
  // Negative indices count from the end.
  const wrapped = n.op('add', [index, n.scalar(size, 'i32')]);
  const positive = n.op('select', [n.op('less', [index, n.scalar(0, 'i32')]), wrapped, index]);
  return n.result('gather', [x, positive], { axis });
}

/** Tile: [d] -> [1, d] -> [r, d] -> [r d], on every axis. */
function tile(n: NodeImport): Value {
  const x = n.value(0);
  const repeats = n.knownNumbers(1, 'repeats');
  const { shape } = x.type;
  if (repeats.length !== shape.length || repeats.some((r) => !Number.isSafeInteger(r) || r < 1))
    n.misfit(`repeats [${repeats}]`);
  if (shape.some((d, i) => typeof d !== 'number' && repeats[i] !== 1)) n.unsupported('a repetition of the batch');
  if (repeats.every((r) => r === 1)) return x;
  const apart = n.reshape(
    x,
    shape.flatMap((d) => [1, d]),
  );
  const repeated = n.op('broadcast', [apart], { shape: dimsAttr(shape.flatMap((d, i) => [repeats[i], d])) });
  return n.reshape(
    repeated,
    shape.map((d, i) => dimMul(d, repeats[i])!),
  );
}

const dimsAttr = (shape: Shape): readonly number[] | readonly string[] =>
  shape.every((d) => typeof d === 'number')
    ? (shape as readonly number[])
    : shape.map((d) => printShape([d]).slice(1, -1));

/** Blocks of space and depth: [N, C, H, W] as six axes, transposed. */
function blocks(n: NodeImport, toDepth: boolean): Value {
  const x = n.value(0);
  const [batch, c, h, w] = x.type.shape as readonly number[];
  const s = n.number('blocksize') ?? n.misfit('blocksize is missing');
  const ok =
    x.type.shape.length === 4 &&
    Number.isInteger(s) &&
    s >= 1 &&
    (toDepth ? h % s === 0 && w % s === 0 : c % (s * s) === 0);
  if (!ok) n.misfit(`blocks of ${s} in ${printShape(x.type.shape)}`);
  if (toDepth) {
    const apart = n.reshape(x, [batch, c, h / s, s, w / s, s]);
    return n.reshape(n.b.transpose(apart, [0, 3, 5, 1, 2, 4]), [batch, c * s * s, h / s, w / s]);
  }
  const depthFirst = n.text('mode', 'DCR') === 'DCR';
  const apart = n.reshape(x, depthFirst ? [batch, s, s, c / s / s, h, w] : [batch, c / s / s, s, s, h, w]);
  return n.reshape(n.b.transpose(apart, depthFirst ? [0, 3, 4, 1, 5, 2] : [0, 1, 4, 2, 5, 3]), [
    batch,
    c / s / s,
    h * s,
    w * s,
  ]);
}

/** Constant's value, in any of its forms. */
function constant(n: NodeImport): Item {
  const tensor = n.tensor('value');
  if (tensor) return tensor;
  const float = n.number('value_float');
  if (float !== undefined) return known('f32', [], [float]);
  const int = n.number('value_int');
  if (int !== undefined) return known('i64', [], [int]);
  const floats = n.ints('value_floats');
  if (floats) return known('f32', [floats.length], floats);
  const ints = n.ints('value_ints');
  if (ints) return known('i64', [ints.length], ints);
  return n.unsupported('a value that is no dense tensor of numbers');
}

/** One triangle of the last two axes, the other zero; the diagonal moved k to the right. */
function triangle(n: NodeImport): Value {
  const x = n.value(0);
  const [rows, columns] = x.type.shape.slice(-2);
  if (typeof rows !== 'number' || typeof columns !== 'number') n.misfit(`data of shape ${printShape(x.type.shape)}`);
  const k = n.has(1) ? n.knownScalar(1, 'k') : 0;
  const index = (shape: number[], axis: number): Value => n.op('iota', [], { shape, axis, dtype: 'i32' });
  const diagonal = n.op('add', [index([rows, 1], 0), n.scalar(k, 'i32')]);
  const column = index([1, columns], 1);
  const away = n.flag('upper', true) ? [column, diagonal] : [diagonal, column];
  return n.result('select', [n.op('less', away), n.scalar(0, x.type.dtype), x]);
}

export const views: Readonly<Record<string, Handler>> = {
  Trilu: handler(14, triangle),
  // Folded where all of it is known.
  ScatterND: handler(11, (n) => n.unsupported('data that are replaced while the model runs')),
  Identity: handler(1, (n) => n.item(0)),
  Constant: handler(1, constant),
  ConstantOfShape: handler(9, (n) => {
    const shape = n.known(0, 'the shape').data;
    const value = n.tensor('value');
    const dtype = value?.dtype ?? 'f32';
    if (shape.some((d) => typeof d === 'number' && !(d > 0 && Number.isSafeInteger(d))))
      n.unsupported(`the shape ${printShape(shape)}`);
    return n.b.fill((value?.data[0] as number | undefined) ?? 0, shape, dtype === 'i64' ? 'i32' : dtype, n.name);
  }),
  Reshape: handler(5, (n) => {
    const x = n.value(0);
    const target = n.known(1, 'the target shape').data;
    return n.b.reshape(x, reshapeTarget(n, x.type.shape, target, n.flag('allowzero', false)), n.name);
  }),
  Flatten: handler(1, (n) => {
    const x = n.value(0);
    const { shape } = x.type;
    const axis = n.number('axis', 1);
    const at = axis < 0 ? axis + shape.length : axis;
    if (!(at >= 0 && at <= shape.length)) n.misfit(`axis ${axis} of a tensor of rank ${shape.length}`);
    return n.b.reshape(x, [times(n, shape.slice(0, at)), times(n, shape.slice(at))], n.name);
  }),
  Transpose: handler(1, (n) => {
    const x = n.value(0);
    return n.b.transpose(x, permutation(n, x.type.shape.length), n.name);
  }),
  Squeeze: handler(1, (n) => {
    const x = n.value(0);
    const { shape } = x.type;
    const axes = axesOf(n, 1, 13, shape.length) ?? shape.flatMap((d, i) => (d === 1 ? [i] : []));
    if (axes.some((a) => shape[a] !== 1)) n.misfit(`axes [${axes}] of ${printShape(shape)} are not all 1`);
    return n.b.reshape(
      x,
      shape.filter((_, i) => !axes.includes(i)),
      n.name,
    );
  }),
  Unsqueeze: handler(1, (n) => {
    const x = n.value(0);
    const count = (n.opset < 13 ? n.ints('axes') : n.knownNumbers(1, 'axes'))?.length ?? 0;
    const axes = axesOf(n, 1, 13, x.type.shape.length + count) ?? n.misfit('axes are missing');
    const rest = [...x.type.shape];
    const shape = Array.from(
      { length: rest.length + axes.length },
      (_, i): Dim => (axes.includes(i) ? 1 : rest.shift()!),
    );
    return n.b.reshape(x, shape, n.name);
  }),
  Concat: handler(4, (n) => {
    const given = n.values();
    const axis = n.axis(n.number('axis') ?? n.misfit('axis is missing'), given[0]?.type.shape.length ?? 0);
    const parts = axis === 0 ? given : spreadOverBatch(n, given);
    return parts.length === 1 ? parts[0] : n.result('concat', parts, { axis });
  }),
  Slice: handler(1, (n) => {
    const x = n.value(0);
    const { starts, ends, steps } = sliceForm(n, x.type.shape, true);
    // A negative step takes the elements from the other end.
    const turned = steps.reduce((v, step, a) => (step < 0 ? reversed(n, v, a) : v), x);
    const size = (a: number): number => x.type.shape[a] as number;
    return sliced(
      n,
      turned,
      starts.map((s, a) => (steps[a] < 0 ? size(a) - 1 - s : s)),
      ends.map((e, a) => (steps[a] < 0 ? size(a) - 1 - e : e)),
      steps.map(Math.abs),
    );
  }),
  Split: handler(2, split),
  Gather: handler(1, gather),
  Expand: handler(8, (n) => {
    const x = n.value(0);
    return n.b.broadcast(x, expandTarget(n, x.type.shape, n.known(1, 'the shape').data), n.name);
  }),
  Tile: handler(6, tile),
  DepthToSpace: handler(1, (n) => blocks(n, false)),
  SpaceToDepth: handler(1, (n) => blocks(n, true)),
  // Folded wherever the type of their input is known, which it always is.
  Shape: handler(1, (n) => n.unsupported('a shape that is not understood')),
  Size: handler(1, (n) => n.unsupported('a size that is not understood')),
  Range: handler(11, (n) => n.unsupported('a range that is computed from data')),
};
