/**
 * Parameters that several ops share, or that moved from attributes to inputs in the course of the opsets: axes, slices,
 * paddings, sizes of parts, target shapes.
 */
import { type Dim, dimDiv, dimEquals, dimMul, printShape, type Shape } from '../../../ir/types.js';
import type { NodeImport } from './node-import.js';

/** Axes from the attribute (before `since`) or from input i; undefined where neither is there. */
export function axesOf(n: NodeImport, i: number, since: number, rank: number): number[] | undefined {
  const given = n.opset < since ? n.ints('axes') : n.has(i) ? n.knownNumbers(i, 'axes') : undefined;
  const axes = given?.map((a) => n.axis(a, rank));
  if (axes && new Set(axes).size < axes.length) n.misfit(`axes ${given} name an axis twice`);
  return axes;
}

export interface SliceForm {
  readonly starts: number[];
  /** Exclusive; -1 on an axis that is taken whole and depends on the batch. */
  readonly ends: number[];
  readonly steps: number[];
}

/**
 * Slice's parameters, normalised to one start, end and step for each axis. Opset 10 made them inputs.
 * @param backwards whether negative steps are allowed (their ends are >= -1)
 */
export function sliceForm(n: NodeImport, shape: Shape, backwards = false): SliceForm {
  const asInputs = n.opset >= 10;
  const list = (name: string, i: number): readonly Dim[] | undefined =>
    asInputs ? (n.has(i) ? n.known(i, name).data : undefined) : n.ints(name);
  const starts = list('starts', 1) ?? n.misfit('starts are missing');
  const ends = list('ends', 2) ?? n.misfit('ends are missing');
  const axes = (list('axes', 3) ?? starts.map((_, k) => k)) as readonly number[];
  const steps = (asInputs && n.has(4) ? n.knownNumbers(4, 'steps') : undefined) ?? starts.map(() => 1);
  if (ends.length !== starts.length || axes.length !== starts.length || steps.length !== starts.length)
    n.misfit('starts, ends, axes and steps differ in number');
  const form: SliceForm = {
    starts: shape.map(() => 0),
    ends: shape.map((d) => (typeof d === 'number' ? d : -1)),
    steps: shape.map(() => 1),
  };
  starts.forEach((start, k) => {
    const a = n.axis(axes[k], shape.length);
    const [size, end, step] = [shape[a], ends[k], steps[k]];
    if (typeof size !== 'number') {
      // The batch axis can only be taken whole.
      const whole = start === 0 && step === 1 && (typeof end === 'number' ? end >= 2 ** 31 - 1 : dimEquals(end, size));
      if (!whole) n.unsupported('a slice of the batch axis');
      return;
    }
    if (typeof start !== 'number' || typeof end !== 'number') {
      n.unsupported('a slice that depends on the batch size');
      return;
    }
    if (step === 0 || (step < 0 && !backwards) || !Number.isSafeInteger(step)) n.unsupported(`a step of ${step}`);
    const [least, most] = step > 0 ? [0, size] : [-1, size - 1];
    const clamp = (v: number): number => Math.min(Math.max(v < 0 ? v + size : v, least), most);
    form.starts[a] = clamp(start);
    form.ends[a] = clamp(end);
    form.steps[a] = step;
  });
  return form;
}

/** Sizes of Split's parts: attribute before opset 13, then an input, or `num_outputs` (18) equal parts, the last one smaller. */
export function splitSizes(n: NodeImport, size: number): readonly number[] {
  const given = n.opset < 13 ? n.ints('split') : n.has(1) ? n.knownNumbers(1, 'split') : undefined;
  const parts = n.opset >= 18 ? n.number('num_outputs', n.node.outputs.length) : n.node.outputs.length;
  const each = Math.ceil(size / parts);
  const sizes = given ?? n.node.outputs.map((_, i) => Math.min(each, size - i * each));
  if (
    sizes.length !== n.node.outputs.length ||
    sizes.some((s) => !(s > 0)) ||
    sizes.reduce((a, s) => a + s, 0) !== size
  )
    n.misfit(`parts of ${sizes} of an axis of ${size} for ${n.node.outputs.length} outputs`);
  return sizes;
}

const total = (shape: Shape): Dim | undefined =>
  shape.reduce<Dim | undefined>((p, d) => (p === undefined ? undefined : dimMul(p, d)), 1);

/** `target` with its -1 resolved, where it holds as many elements as `from`. */
function fitted(from: Shape, target: Shape): Shape | undefined {
  const all = total(from);
  const open = target.indexOf(-1);
  if (open < 0) {
    const t = total(target);
    return all !== undefined && t !== undefined && dimEquals(all, t) ? target : undefined;
  }
  const rest = total(target.filter((_, i) => i !== open));
  const d = all === undefined || rest === undefined ? undefined : dimDiv(all, rest);
  return d === undefined ? undefined : target.map((t, i) => (i === open ? d : t));
}

/** Elements from one step of the batch to the next are as many in both: what stands before it has the same size. */
function sameBefore(a: Shape, b: Shape): boolean {
  const before = (s: Shape): number => {
    const at = s.findIndex((d) => typeof d !== 'number');
    return at < 0 ? -1 : (s.slice(0, at) as number[]).reduce((p, d) => p * d, 1);
  };
  return before(a) === before(b);
}

/**
 * Reshape's target for an operand of shape `from`. Where the model was exported with a fixed batch B, constant targets hold B
 * (or B times something) where the symbolic batch belongs. Of the readings that fit, the first is taken that leaves the batch
 * behind what it was behind; else the first, which has it in front.
 */
export function reshapeTarget(n: NodeImport, from: Shape, given: readonly Dim[], allowZero: boolean): Shape {
  if (given.filter((d) => d === -1).length > 1) n.misfit(`target shape ${printShape(given)} has more than one -1`);
  const literal = given.map((d, i): Dim => {
    if (d !== 0 || allowZero) return d;
    return from[i] ?? n.misfit(`target shape ${printShape(given)} copies axis ${i} of ${printShape(from)}`);
  });
  if (literal.some((d) => typeof d === 'number' && (!Number.isSafeInteger(d) || d < -1)))
    n.misfit(`target shape ${printShape(given)}`);
  const plain = fitted(from, literal);
  const { fixedBatch } = n.pass;
  const symbol = from.find((d) => typeof d !== 'number');
  const readings: Shape[] = plain && (symbol === undefined || typeof plain[0] !== 'number') ? [plain] : [];
  for (let axis = 0; typeof symbol === 'object' && fixedBatch !== undefined && axis < literal.length; axis++) {
    const d = literal[axis];
    if (typeof d !== 'number' || d <= 0 || d % fixedBatch !== 0) continue;
    const batch: Dim = { symbol: symbol.symbol, factor: d / fixedBatch };
    const reading = fitted(
      from,
      literal.map((l, i) => (i === axis ? batch : l)),
    );
    if (reading) readings.push(reading);
  }
  if (plain) readings.push(plain);
  if (readings.length === 0) return n.misfit(`${printShape(from)} cannot be reshaped to ${printShape(given)}`);
  // Rows [T*N] may have the batch within: where one becomes an axis again, that axis is it.
  // The last axis are features, which hold no batch where they held none.
  const plainLast = (s: Shape): boolean => s.length < 2 || typeof s[s.length - 1] === 'number';
  const likely = plainLast(from) && readings.some(plainLast) ? readings.filter(plainLast) : readings;
  const alone = (s: Shape): boolean => s.some((d) => typeof d !== 'number' && d.factor === 1);
  const apart = alone(from) ? undefined : likely.find(alone);
  return apart ?? likely.find((r) => sameBefore(from, r)) ?? likely[0];
}

/** Expand's target: NumPy broadcasting of both shapes, with a fixed batch of the export read as the symbolic one. */
export function expandTarget(n: NodeImport, from: Shape, given: readonly Dim[]): Shape {
  const rank = Math.max(from.length, given.length);
  return Array.from({ length: rank }, (_, i): Dim => {
    const a = from[i - (rank - from.length)] ?? 1;
    const b = given[i - (rank - given.length)] ?? 1;
    if (typeof b === 'number' && (!Number.isSafeInteger(b) || b < 0)) n.misfit(`target shape ${printShape(given)}`);
    if (dimEquals(a, b) || b === 1) return a;
    if (a === 1) return b;
    if (typeof a !== 'number' && b === n.pass.fixedBatch) return a;
    return n.misfit(`${printShape(from)} does not broadcast to ${printShape(given)}`);
  });
}
