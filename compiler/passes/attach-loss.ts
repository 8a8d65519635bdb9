/**
 * Puts the loss behind the model: `train` gets inputs `target` and `valid` and the outputs loss (mean over valid examples),
 * correct, count, and for the Fisher of one Monte-Carlo sample a second loss, against labels that are drawn from the model. A new
 * function `eval` is predict's graph with loss_sum, correct, count and, of more than five classes, top5; `predict` is untouched. A
 * Softmax or LogSoftmax head is stripped for cross-entropy: the loss works on the logits, whose log_softmax cannot overflow.
 */
import { CARRY, scheduledInputs } from '../../ir/artifact.js';
import type { Builder } from '../../ir/builder.js';
import {
  lossDoesNotFit,
  noDefaultLoss,
  noSuchOutput,
  nothingToDraw,
  reservedName,
  severalOutputs,
} from '../../ir/diagnostics/compile.js';
import { type Fisher, SAMPLED_LOSS } from '../../ir/fisher.js';
import { definitions, type Func, findFunction, type Module, type Output, type Value } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { shapeAttr } from '../../ir/ops/views.js';
import { extend, type NewInput } from '../../ir/rewrite.js';
import { type Dim, type DType, dimEquals, product, type Shape, tensor } from '../../ir/types.js';

export const lossKinds = ['softmax-cross-entropy', 'mean-squared-error', 'output'] as const;
export type LossKind = (typeof lossKinds)[number];

export interface LossOptions {
  /** Default: cross-entropy for [N, C] and [N, T, C] with C > 1; squared error for [N, 1] and after a sigmoid; a scalar output is the loss itself. */
  readonly loss?: LossKind;
  /** Name of the model output that the loss reads; needed where there are several of floats. */
  readonly output?: string;
  /** Targets of cross-entropy: class indices i32[N] (default) or one distribution for each example, f32[N, C]; for sequences [N, T] and [N, T, C]. */
  readonly labels?: 'index' | 'soft';
  /** '1mc': `train` gets the output `sampled_loss` as well. Default 'empirical'. */
  readonly fisher?: Fisher;
}

/** What the host must know about the loss; the shape's first axis is the (symbolic) batch. */
export interface LossDescription {
  readonly kind: LossKind;
  readonly output: string;
  /** Absent where the model computes its own loss. */
  readonly target?: { readonly dtype: DType; readonly shape: Shape; readonly classes?: number };
}

/** Sum of the valid examples' losses, number of valid examples whose class is right, and of those where it is among the first five. */
interface Terms {
  readonly sum: Value;
  readonly correct?: Value;
  readonly top5?: Value;
}

/** Classes from which on the first five say something. */
const FIVE = 5;

const PASS = 'attach-loss';

/** The loop writes these to whatever function has an input of the name: data must not have it, needed or not. */
const scalars: readonly string[] = [...scheduledInputs, CARRY];

/** @throws UserError E201-E204 where the output or the loss must be chosen or does not fit, E206 on a name clash. */
export function attachLoss(
  module: Module,
  options: LossOptions = {},
): { readonly module: Module; readonly loss: LossDescription } {
  const train = findFunction(module, 'train');
  const predict = findFunction(module, 'predict');
  const taken = train.inputs.find((i) => scalars.includes(i.name) || i.name === 'target');
  if (taken) throw reservedName(taken.name, taken.loc);
  const output = chooseOutput(train, options.output);
  const loss = describe(train, output, options);
  if (options.fisher === '1mc' && loss.kind === 'output') throw nothingToDraw(output.name, output.value.loc);
  const functions = module.functions.flatMap((f) => {
    if (f === train) return [attach(train, loss, 'train', options.fisher)];
    if (f === predict) return [predict, { ...attach(predict, loss, 'eval'), name: 'eval' }];
    return [f];
  });
  return { module: { ...module, functions }, loss };
}

function chooseOutput(func: Func, name: string | undefined): Output {
  const names = func.outputs.map((o) => o.name);
  // Beside scores, classifiers may give the class: a number that no gradient passes.
  const real = func.outputs.filter((o) => o.value.type.dtype === 'f32');
  const only = func.outputs.length === 1 ? func.outputs[0] : real.length === 1 ? real[0] : undefined;
  if (name === undefined && !only) throw severalOutputs(names);
  const found = name === undefined ? only : func.outputs.find((o) => o.name === name);
  if (!found) throw noSuchOutput(name ?? '', names);
  return found;
}

/**
 * [N, C] of an output [N, C] or [N, C, 1, ...]; [N, T, C] of a sequence, each position of which is classified; undefined for
 * another shape: in [N, C, H, W] and [N, H, W, C] the classes cannot be told.
 */
function logitsShape(shape: Shape): readonly [Dim, ...number[]] | undefined {
  const [n, ...own] = shape;
  if (n === undefined || !own.every((d): d is number => typeof d === 'number')) return undefined;
  const [c, ...rest] = own;
  if (c !== undefined && rest.every((d) => d === 1)) return [n, c];
  return own.length === 2 ? (own[0] === 1 ? [n, own[1]] : [n, ...own]) : undefined;
}

function isScalar(shape: Shape): boolean {
  return shape.every((d) => d === 1);
}

function defaultLoss(func: Func, output: Output): LossKind {
  const { value } = output;
  const shape = value.type.shape;
  if (value.type.dtype === 'f32') {
    if (isScalar(shape)) return 'output';
    const classes = logitsShape(shape)?.at(-1);
    if (definitions(func).get(value)?.op === 'sigmoid' || classes === 1) return 'mean-squared-error';
    if (classes !== undefined) return 'softmax-cross-entropy';
  }
  throw noDefaultLoss(output.name, value.type, value.loc);
}

function describe(func: Func, output: Output, options: LossOptions): LossDescription {
  const kind = options.loss ?? defaultLoss(func, output);
  const { type, loc } = output.value;
  const misfit = (wants: string) => lossDoesNotFit(kind, output.name, type, wants, loc);
  if (type.dtype !== 'f32') throw misfit('a float output');
  switch (kind) {
    case 'softmax-cross-entropy': {
      const shape = logitsShape(type.shape);
      const classes = shape?.at(-1);
      if (!shape || typeof classes !== 'number' || classes < 2)
        throw misfit('an output [N, C], or [N, T, C] for sequences, with at least two classes');
      const target =
        options.labels === 'soft'
          ? { dtype: 'f32' as const, shape, classes }
          : { dtype: 'i32' as const, shape: shape.slice(0, -1), classes };
      return { kind, output: output.name, target };
    }
    case 'mean-squared-error':
      if (isScalar(type.shape)) throw misfit('an output with a batch axis');
      return { kind, output: output.name, target: { dtype: 'f32', shape: type.shape } };
    case 'output':
      if (!isScalar(type.shape)) throw misfit('a scalar output');
      return { kind, output: output.name };
  }
}

/** The batch: that of the loss's output, or of the data where the output is a scalar. */
function batchOf(func: Func, loss: LossDescription): Dim {
  if (loss.target) return loss.target.shape[0];
  const data = func.inputs.filter((i) => i.name !== 'valid' && i.name !== 'rng' && i.type.shape.length > 0);
  const symbolic = data.map((i) => i.type.shape[0]).find((d) => typeof d !== 'number');
  return symbolic ?? data[0]?.type.shape[0] ?? 1;
}

function attach(func: Func, loss: LossDescription, role: 'train' | 'eval', fisher?: Fisher): Func {
  const draws = role === 'train' && fisher === '1mc';
  const inputs: NewInput[] = [{ name: 'valid', type: tensor('f32', [batchOf(func, loss)]) }];
  if (loss.target) inputs.push({ name: 'target', type: tensor(loss.target.dtype, loss.target.shape) });
  if (draws) inputs.push({ name: 'rng', type: tensor('i32', [3]) });
  const { b, given } = extend(func, PASS, inputs);
  const [valid, target] = given;
  const output = b.outputs.find((o) => o.name === loss.output)!.value;
  b.outputs.length = 0;
  b.loc = passLoc(PASS, output.loc);
  const count = b.sumAll(valid, 'count');
  const terms = lossTerms(b, loss.kind, output, valid, target, count, role);
  if (role === 'train') b.output('loss', b.div(terms.sum, count, 'loss'));
  else b.output('loss_sum', terms.sum);
  if (draws) b.output(SAMPLED_LOSS, b.div(sampledSum(b, loss.kind, output, valid), count));
  if (terms.correct) b.output('correct', terms.correct);
  if (terms.top5) b.output('top5', terms.top5);
  b.output('count', count);
  return b.finish();
}

function lossTerms(
  b: Builder,
  kind: LossKind,
  output: Value,
  valid: Value,
  target: Value | undefined,
  count: Value,
  role: 'train' | 'eval',
): Terms {
  switch (kind) {
    case 'softmax-cross-entropy':
      return crossEntropy(b, logitsOf(b, output), valid, target!, role);
    case 'mean-squared-error':
      return { sum: squaredError(b, output, valid, target!) };
    case 'output':
      // The model's own scalar is taken as a mean over the batch; padding rows are its own business.
      return { sum: b.mul(b.reshape(output, []), count, 'loss_sum') };
  }
}

/**
 * -log p(target), with p = softmax(logits): for soft targets -sum_c t_c log p_c. logits: [N, C], or [N, T, C], where an
 * example's loss and its share of right classes are means over its positions.
 */
function crossEntropy(b: Builder, logits: Value, valid: Value, target: Value, role: 'train' | 'eval'): Terms {
  const { shape } = logits.type;
  const axis = shape.length - 1;
  const logp = b.node('log_softmax', [logits], { attrs: { axis }, name: 'log_probabilities' });
  const soft = target.type.dtype === 'f32';
  const picked = soft ? b.mul(target, logp) : b.select(isClass(b, logits, target), logp, b.fill(0));
  const positions = shape.slice(1, -1) as number[];
  const perExample = (v: Value): Value =>
    positions.length === 0 ? v : b.mul(b.sum(v, [1]), b.fill(1 / product(positions)));
  const total = b.sumAll(b.mul(perExample(b.sum(picked, [axis])), valid));
  const argmax = (x: Value) => b.node('argmax', [x], { attrs: { axis } });
  const label = soft ? argmax(target) : target;
  const counted = (right: Value, name: string) => b.sumAll(b.mul(perExample(b.cast(right, 'f32')), valid), name);
  const correct = counted(b.node('equal', [argmax(logits), label]), 'correct');
  const top5 =
    role === 'eval' && (shape[axis] as number) > FIVE ? counted(amongFive(b, logits, label), 'top5') : undefined;
  return { sum: b.neg(total, 'loss_sum'), correct, top5 };
}

/** Class numbers along the last axis of logits, and the label's column beside them. */
function classesAndLabel(b: Builder, logits: Value, label: Value): readonly [Value, Value] {
  const { shape } = logits.type;
  const axis = shape.length - 1;
  const across = shape.map((d, i): number => (i === axis ? (d as number) : 1));
  const iota = b.node('iota', [], { attrs: { shape: across, axis, dtype: 'i32' }, name: 'classes' });
  return [iota, b.reshape(label, [...shape.slice(0, -1), 1])];
}

/** Where in the logits the class is, bool of their shape. */
const isClass = (b: Builder, logits: Value, label: Value): Value => b.node('equal', classesAndLabel(b, logits, label));

/**
 * Whether fewer than five classes are ahead of the label's, bool[N] or bool[N, T]. Of equal logits the first is ahead, as for argmax: a net
 * that answers the same to everything is not right. What is not a number is never among them, and ahead of all others.
 */
function amongFive(b: Builder, logits: Value, label: Value): Value {
  const axis = logits.type.shape.length - 1;
  const own = b.sum(b.select(isClass(b, logits, label), logits, b.fill(0)), [axis], true);
  const tie = b.node('equal', [logits, own]);
  const first = b.node('less', classesAndLabel(b, logits, label));
  const above = b.node('not', [b.node('less', [logits, own])]);
  const ahead = b.node('or', [b.node('and', [tie, first]), b.node('and', [above, b.node('not', [tie])])]);
  return b.node('less', [b.sum(b.cast(ahead, 'f32'), [axis]), b.fill(FIVE)]);
}

/** Mean over an example's elements, summed over the valid examples. */
function squaredError(b: Builder, output: Value, valid: Value, target: Value): Value {
  const error = b.sub(output, target);
  const shape = output.type.shape;
  const squares = b.sum(b.mul(error, error), shape.map((_, i) => i).slice(1));
  const sum = b.sumAll(b.mul(squares, valid));
  const elements = product(shape.slice(1) as number[]);
  return elements === 1 ? sum : b.mul(sum, b.fill(1 / elements), 'loss_sum');
}

/** Keys of the draws among all of a step's; those of dropout come from names. */
const DRAW = 0x1abe1;

/**
 * Sum of the valid examples' losses against labels drawn from the model's own distribution (SP-NGD 3.2, one sample an example).
 * Where labels are numbers, that is a normal distribution around the output whose variance makes the loss its negative log
 * likelihood: E/2 for a mean over E elements. Only second moments of the noise count, and a fair sign has those of a normal one; with
 * t = y + sqrt(E/2) sign held fixed, sum (y - t)^2 / E has the gradient of -sqrt(2/E) sum y sign, which needs no t.
 */
function sampledSum(b: Builder, kind: LossKind, output: Value, valid: Value): Value {
  const rng = b.inputs.find((v) => v.name === 'rng')!;
  const uniform = (shape: Shape): Value =>
    b.node('random_uniform', [rng], { attrs: { shape: shapeAttr(shape), key: DRAW }, name: 'draw' });
  if (kind === 'mean-squared-error') {
    const { shape } = output.type;
    const scale = Math.sqrt(2 / product(shape.slice(1) as number[]));
    const sign = b.select(b.node('less', [uniform(shape), b.fill(0.5)]), b.fill(-scale), b.fill(scale));
    const perExample = b.sum(b.mul(output, sign), shape.map((_, i) => i).slice(1));
    return b.sumAll(b.mul(perExample, valid), 'sampled_loss_sum');
  }
  // The largest of logits with Gumbel noise is a draw from their softmax. The least number drawn is 0, whose logarithm is not finite.
  const logits = logitsOf(b, output);
  const u = b.node('max', [uniform(logits.type.shape), b.fill(2 ** -25)]);
  const log = (x: Value): Value => b.node('log', [x]);
  const noisy = b.sub(logits, log(b.neg(log(u))));
  const drawn = b.node('argmax', [noisy], { attrs: { axis: logits.type.shape.length - 1 }, name: 'drawn' });
  return crossEntropy(b, logits, valid, drawn, 'train').sum;
}

/** The logits behind the output, [N, C] or [N, T, C]: what a head that normalises over all classes has been given. */
function logitsOf(b: Builder, output: Value): Value {
  const shape = logitsShape(output.type.shape)!;
  const classes = shape[shape.length - 1];
  const defs = definitions(b);
  let node = defs.get(output);
  while (node?.op === 'reshape') node = defs.get(node.operands[0]);
  if (node?.op === 'softmax' || node?.op === 'log_softmax') {
    const x = node.operands[0];
    const own = x.type.shape;
    const axis = node.attrs.axis as number;
    // Elements keep their order: all classes lie along this axis, and what is before it is what is before them.
    const whole = own[axis] === classes && own.slice(axis + 1).every((d) => d === 1);
    if (whole && (shape.length > 2 ? axis === own.length - 1 : dimEquals(own[0], shape[0])))
      return b.reshape(x, shape, 'logits');
  }
  return b.reshape(output, shape);
}
