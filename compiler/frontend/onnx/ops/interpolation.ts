/**
 * Resize and Upsample, axis by axis. What takes one element for each (nearest) is a repetition or a look-up at known places;
 * what mixes elements (linear, cubic, with antialiasing or not) is a product with a known matrix of weights [out, in].
 */
import type { Value } from '../../../../ir/graph.js';
import { type Dim, dimEquals, printShape } from '../../../../ir/types.js';
import { known } from '../known.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';
import { at, axisRows } from './rows.js';

interface Form {
  readonly mode: string;
  readonly coordinates: string;
  readonly nearest: string;
  readonly cubicA: number;
  readonly excludeOutside: boolean;
  readonly antialias: boolean;
}

/** An axis of `size` elements that gets `out`; `scale` is what the model states, or out / size. */
interface AxisForm {
  readonly axis: number;
  readonly size: number;
  readonly out: number;
  readonly scale: number;
}

/** The place of output element i among the inputs. */
function coordinate(n: NodeImport, form: Form, a: AxisForm, i: number): number {
  const { size, out, scale } = a;
  const centred = (i + 0.5) / scale - 0.5;
  switch (form.coordinates) {
    case 'half_pixel':
      return centred;
    case 'pytorch_half_pixel':
      return out > 1 ? centred : 0;
    case 'asymmetric':
      return i / scale;
    case 'align_corners': {
      const length = scale * size;
      return length === 1 ? 0 : (i * (size - 1)) / (length - 1);
    }
    case 'half_pixel_symmetric': {
      const middle = size / 2;
      return middle * (1 - out / (scale * size)) + centred;
    }
    case 'tf_half_pixel_for_nn':
      return (i + 0.5) / scale;
    default:
      return n.unsupported(`coordinate_transformation_mode = "${form.coordinates}"`);
  }
}

function nearestIndex(n: NodeImport, form: Form, a: AxisForm, i: number): number {
  const x = coordinate(n, form, a, i);
  const rounded = {
    floor: Math.floor(x),
    ceil: Math.ceil(x),
    round_prefer_floor: Math.ceil(x - 0.5),
    round_prefer_ceil: Math.floor(x + 0.5),
  }[form.nearest];
  if (rounded === undefined) n.unsupported(`nearest_mode = "${form.nearest}"`);
  return Math.min(Math.max(rounded, 0), a.size - 1);
}

/** Keys' kernel (1981) of width two. */
function cubic(d: number, A: number): number {
  const t = Math.abs(d);
  if (t <= 1) return ((A + 2) * t - (A + 3)) * t * t + 1;
  return t < 2 ? ((A * t - 5 * A) * t + 8 * A) * t - 4 * A : 0;
}

/** Weights of the inputs for output element i. Elements beyond an end have that end's value. */
function weightsAt(n: NodeImport, form: Form, a: AxisForm, i: number): Float64Array {
  const x = coordinate(n, form, a, i);
  const squeeze = form.antialias ? Math.min(a.scale, 1) : 1;
  const support = (form.mode === 'cubic' ? 2 : 1) / squeeze;
  const kernel =
    form.mode === 'cubic' ? (d: number) => cubic(d, form.cubicA) : (d: number) => Math.max(0, 1 - Math.abs(d));
  const row = new Float64Array(a.size);
  let sum = 0;
  for (let k = Math.floor(x - support); k <= Math.ceil(x + support); k++) {
    if (form.excludeOutside && (k < 0 || k >= a.size)) continue;
    const w = kernel((k - x) * squeeze);
    row[Math.min(Math.max(k, 0), a.size - 1)] += w;
    sum += w;
  }
  return row.map((w) => w / sum);
}

function resizedAxis(n: NodeImport, x: Value, form: Form, a: AxisForm): Value {
  const { shape } = x.type;
  if (form.mode === 'nearest') {
    const from = Array.from({ length: a.out }, (_, i) => nearestIndex(n, form, a, i));
    if (a.out === a.size && from.every((f, i) => f === i)) return x;
    const each = a.out / a.size;
    if (Number.isInteger(each) && from.every((f, i) => f === Math.floor(i / each))) {
      const apart = n.reshape(x, [...shape.slice(0, a.axis + 1), 1, ...shape.slice(a.axis + 1)]);
      const spread = n.b.broadcast(apart, [...shape.slice(0, a.axis + 1), each, ...shape.slice(a.axis + 1)]);
      return n.reshape(
        spread,
        shape.map((d, i): Dim => (i === a.axis ? a.out : d)),
      );
    }
    return at(n, x, a.axis, from);
  }
  const rows = Array.from({ length: a.out }, (_, i) => weightsAt(n, form, a, i));
  if (a.out === a.size && rows.every((r, i) => r.every((w, j) => w === Number(i === j)))) return x;
  const weights = known(
    'f32',
    [a.out, a.size],
    rows.flatMap((r) => [...r]),
  );
  const matrix = n.materialize(weights, `${n.node.outputs[0]}.weights.${a.axis}`);
  return axisRows(n, x, a.axis, (lines) => n.b.matmul(lines, matrix, false, true, `${n.name}.mixed`), a.out);
}

/** What is stated for an axis: its scale or its size. Undefined: it is the batch, and stays. */
type Stated = readonly (number | undefined)[];

/** The axes that have sizes, with their new ones. */
function axesFrom(
  n: NodeImport,
  x: Value,
  kind: 'scales' | 'sizes',
  stated: Stated,
  axes: readonly number[],
): AxisForm[] {
  const { shape } = x.type;
  if (stated.length !== axes.length || stated.some((v) => v !== undefined && !(v > 0 && Number.isFinite(v))))
    n.misfit(`${kind} [${stated}] of ${printShape(shape)}`);
  const all = axes.flatMap((axis, k) => {
    const [size, v] = [shape[axis], stated[k]];
    const whole = v === undefined || (kind === 'scales' ? v === 1 : v === n.pass.fixedBatch);
    if (typeof size === 'number' && v !== undefined) return [{ axis, size, v }];
    return whole ? [] : n.unsupported('resizing the batch');
  });
  const policy = n.text('keep_aspect_ratio_policy', 'stretch');
  if (kind === 'scales') return all.map(({ axis, size, v }) => ({ axis, size, out: Math.floor(size * v), scale: v }));
  if (policy === 'stretch') return all.map(({ axis, size, v }) => ({ axis, size, out: v, scale: v / size }));
  const ratios = all.map(({ size, v }) => v / size);
  const scale = policy === 'not_larger' ? Math.min(...ratios) : Math.max(...ratios);
  return all.map(({ axis, size }) => ({ axis, size, out: Math.floor(size * scale + 0.5), scale }));
}

function resized(n: NodeImport, x: Value, form: Form, axes: readonly AxisForm[]): Value {
  if (!['nearest', 'linear', 'cubic'].includes(form.mode)) n.unsupported(`mode = "${form.mode}"`);
  if (axes.some((a) => !Number.isSafeInteger(a.out) || a.out < 1 || a.out * a.size > 2 ** 26))
    n.misfit(`a size of ${axes.map((a) => a.out)}`);
  return axes.reduce((v, a) => resizedAxis(n, v, form, a), x);
}

function resize(n: NodeImport): Value {
  const x = n.float(0);
  const rank = x.type.shape.length;
  const late = n.opset >= 11;
  const form: Form = {
    mode: n.text('mode', 'nearest'),
    coordinates: late ? n.text('coordinate_transformation_mode', 'half_pixel') : 'asymmetric',
    nearest: late ? n.text('nearest_mode', 'round_prefer_floor') : 'floor',
    cubicA: n.number('cubic_coeff_a', -0.75),
    excludeOutside: n.flag('exclude_outside', false),
    antialias: n.flag('antialias', false),
  };
  // Of use to tf_crop_and_resize alone.
  n.ignoreAttributes('extrapolation_value');
  const list = (i: number, what: string): readonly number[] | undefined => {
    if (!n.has(i)) return undefined;
    const all = n.knownNumbers(i, what);
    return all.length > 0 ? all : undefined;
  };
  if (late) n.ignore(1);
  const axes = n.ints('axes')?.map((a) => n.axis(a, rank)) ?? Array.from({ length: rank }, (_, i) => i);
  const scales = list(late ? 2 : 1, 'the scales');
  if (scales) {
    n.ignore(3);
    return resized(n, x, form, axesFrom(n, x, 'scales', scales, axes));
  }
  if (!late || !n.has(3)) return n.misfit('neither scales nor sizes are given');
  return resized(n, x, form, axesFrom(n, x, 'sizes', sizesOf(n, x, axes), axes));
}

/** Sizes, of which the batch's must be the batch. */
function sizesOf(n: NodeImport, x: Value, axes: readonly number[]): Stated {
  return n.known(3, 'the sizes').data.map((d, k) => {
    if (typeof d === 'number') return d;
    const own = x.type.shape[axes[k]];
    const same = own !== undefined && dimEquals(own, d);
    return same ? undefined : n.unsupported('sizes that depend on the batch size');
  });
}

/** Before Resize: scales as an attribute (7) or an input (9). */
function upsample(n: NodeImport): Value {
  const x = n.float(0);
  const mode = n.text('mode', 'nearest');
  const given = n.opset < 9 ? n.ints('scales') : n.knownNumbers(1, 'the scales');
  const form: Form = {
    mode: mode === 'bilinear' ? 'linear' : mode,
    coordinates: 'asymmetric',
    nearest: 'floor',
    cubicA: -0.75,
    excludeOutside: false,
    antialias: false,
  };
  const axes = x.type.shape.map((_, i) => i);
  return resized(n, x, form, axesFrom(n, x, 'scales', given ?? n.misfit('scales are missing'), axes));
}

export const interpolation: Readonly<Record<string, Handler>> = {
  Resize: handler(10, resize),
  Upsample: handler(7, upsample, 9),
};
