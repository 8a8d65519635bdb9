/**
 * Turns gradients into updates. Consumes the outputs gradient(p) and natural(p) of `train`; adds velocity state, the new
 * value of every parameter, and one output `metrics`. Velocity is the step that was taken, before the weight is rescaled:
 * v = -lr nu u + momentum v, w = rescale(w + v): SP-NGD eq 23, where v = w(t) - w(t-1) without rescaling. The baselines SGD and
 * LARS are the same with another direction and another scale of the step.
 */
import { accumulated } from '../../ir/accumulate.js';
import { type Builder, dims } from '../../ir/builder.js';
import { stateName } from '../../ir/diagnostics/compile.js';
import { definitions, findFunction, type Module, type Output, type StateEntry, type Value } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import type { Optimizer, WeightRescaling } from '../../ir/presets.js';
import { extend } from '../../ir/rewrite.js';
import { isOfStatistic } from '../../ir/staleness.js';
import { concrete, product, tensor } from '../../ir/types.js';
import { klScale } from './kl-clip.js';
import { packMetrics } from './metrics.js';
import { rescaled } from './rescaling.js';
import { trustRatio } from './trust-ratio.js';

const PASS = 'optimizer';

export interface UpdateOptions {
  readonly optimizer: Optimizer;
  /** Norm of convolution and fully connected weights after the update (eq 24); spngd only. Default 'off'. */
  readonly weightRescaling?: WeightRescaling;
  /** Whether steps are held in the trust region `kl_bound`; spngd only. Default true. */
  readonly klClip?: boolean;
  /** Whether weights (not biases, scales and shifts) decay by `weight_decay`. Default: false for spngd, true for sgd and lars. */
  readonly weightDecay?: boolean;
}

/** A parameter, and what it steps along: the natural gradient, or the plain one. */
interface Trained {
  readonly name: string;
  readonly weight: Value;
  readonly gradient: Value;
  readonly direction: Value;
  readonly preconditioned: boolean;
  /** What decays: w, by this factor, f32[]. */
  readonly decay?: Value;
  /** <direction, gradient>, f32[] (spngd only). It is not finite when an element of the direction is not (inf * 0 is NaN too). */
  readonly dot?: Value;
}

export interface Updated {
  readonly module: Module;
  /** For each function with an output `metrics`, the names of its elements in order. */
  readonly metrics: Readonly<Record<string, readonly string[]>>;
}

/**
 * Input: the module after `differentiate`, for spngd after `insertCurvature`. Adds scalar inputs f32[]: lr, momentum, and as they
 * are asked for weight_decay, kl_bound (spngd) and trust_coefficient (lars).
 *
 * A weight decays by lr weight_decay w. For sgd and lars that is the gradient of a penalty (coupled); for spngd it is beside the
 * natural step, and neither preconditioned nor clipped.
 *
 * By spngd a direction with an element that is not finite never reaches the weights: the parameter and its velocity stay as
 * they are, and the metric `nonfinite` counts it. By sgd and lars the next loss is not finite, at which the host stops; looking
 * at every gradient once more would cost as much as the update.
 */
export function insertUpdate(module: Module, options: UpdateOptions): Updated {
  const spngd = options.optimizer === 'spngd';
  const clips = spngd && (options.klClip ?? true) && findFunction(module, 'train').outputs.some((o) => isNatural(o));
  const decays = options.weightDecay ?? !spngd;
  const names = ['lr', 'momentum'];
  if (decays) names.push('weight_decay');
  if (clips) names.push('kl_bound');
  if (options.optimizer === 'lars') names.push('trust_coefficient');
  const train = findFunction(module, 'train');
  const inputs = names.map((name) => ({ name, type: tensor('f32', []) }));
  const { b, given } = extend(train, PASS, inputs);
  b.loc = passLoc(PASS);
  const scalar = new Map(names.map((name, i) => [name, given[i]]));
  const [lr, momentum] = given;
  const outputs = wholeStep(b);
  const trained = module.parameters.flatMap((p) => directionOf(b, outputs, p.name, spngd, scalar.get('weight_decay')));
  const preconditioned = trained.filter((t) => t.preconditioned).map((t) => t.dot!);
  const nu = clips ? klScale(b, preconditioned, lr, scalar.get('kl_bound')!) : undefined;
  const plainStep = b.neg(lr);
  const naturalStep = nu ? b.mul(plainStep, nu) : plainStep;
  const trust = scalar.get('trust_coefficient');
  const factors = new Map(module.state.filter((s) => s.role === 'factor').map((s) => [s.name, s]));
  const state: StateEntry[] = [];
  for (const t of trained) {
    b.loc = passLoc(PASS, t.gradient.loc);
    const width = spngd ? outputWidth(factors.get(`${t.name}.G`)) : undefined;
    const { weightRescaling = 'off' } = options;
    const rescale =
      width && weightRescaling !== 'off' ? (w: Value) => rescaled(b, w, width, weightRescaling) : undefined;
    const rates = (): Rates => {
      if (t.preconditioned) return { step: naturalStep, decay: plainStep };
      if (!trust || !isWeight(t.weight)) return { step: plainStep, decay: plainStep };
      const scaled = b.mul(plainStep, trustRatio(b, t.weight, t.gradient, trust, t.decay));
      return { step: scaled, decay: scaled };
    };
    state.push(advance(b, t, rates, momentum, rescale));
  }
  b.loc = passLoc(PASS);
  const extra = [
    ...(nu ? [{ name: 'kl_scale', value: nu }] : []),
    ...b.outputs.filter((o) => o.name === 'failed_inversions'),
    ...(spngd ? [{ name: 'nonfinite', value: countNotFinite(b, trained) }] : []),
    ...b.outputs.filter((o) => isOfStatistic(o.name)),
  ];
  const wanted = ['loss', 'correct', 'count'].flatMap((name) => {
    const value = outputs.get(name);
    return value ? [{ name, value }] : [];
  });
  b.outputs.length = 0;
  const metrics: Record<string, readonly string[]> = { train: packMetrics(b, [...wanted, ...extra]) };
  const done = b.finish();
  const functions = module.functions.map((f) => {
    if (f === train) return done;
    if (f.name !== 'eval') return f;
    const { b: e } = extend(f, PASS, []);
    metrics.eval = packMetrics(e, e.outputs.splice(0));
    return e.finish();
  });
  return { module: { ...module, functions, state: [...module.state, ...state] }, metrics };
}

/** The outputs of `train`, those of one micro-batch over all of a step. */
function wholeStep(b: Builder): ReadonlyMap<string, Value> {
  const defs = definitions(b);
  const definition = (v: Value) => defs.get(v);
  const weight = b.outputs.find((o) => o.name === 'count')?.value;
  return new Map(
    b.outputs.map(({ name, value }): [string, Value] => {
      b.loc = passLoc(PASS, value.loc);
      if (name === 'correct' || name === 'count') return [name, accumulated(b, value, { name: `step.${name}` })];
      if (name === 'loss') return [name, accumulated(b, value, { weight, name: 'step.loss' })];
      const parameter = /^gradient\((.*)\)$/s.exec(name)?.[1];
      if (parameter === undefined) return [name, value];
      return [name, accumulated(b, value, { weight, name: `${parameter}.gradient`, definition })];
    }),
  );
}

const isNatural = (o: Output): boolean => o.name.startsWith('natural(');

/** Weight decay and trust ratios are for weights: what has more than one axis of more than one element. */
function isWeight(weight: Value): boolean {
  return dims(weight).filter((n) => n > 1).length > 1;
}

function directionOf(
  b: Builder,
  outputs: ReadonlyMap<string, Value>,
  name: string,
  spngd: boolean,
  weightDecay: Value | undefined,
): Trained[] {
  const gradient = outputs.get(`gradient(${name})`);
  if (!gradient) return [];
  b.loc = passLoc(PASS, gradient.loc);
  const weight = b.read(name, gradient.type);
  const natural = outputs.get(`natural(${name})`);
  const direction = natural ?? gradient;
  const decay = weightDecay && isWeight(weight) ? weightDecay : undefined;
  const dot = spngd ? b.sumAll(b.mul(direction, gradient)) : undefined;
  return [{ name, weight, gradient, direction, decay, preconditioned: natural !== undefined, dot }];
}

/** What a direction and a weight's decay are multiplied by: -lr, scaled by a clip or a trust ratio. f32[] each. */
interface Rates {
  readonly step: Value;
  readonly decay: Value;
}

/** rates.step u + rates.decay decay w + momentum v; v itself where the direction is not finite. */
function stepFrom(b: Builder, t: Trained, before: Value, rates: Rates, momentum: Value, name: string): Value {
  const { direction, decay, weight, dot } = t;
  const step = (u: Value) =>
    b.node('momentum_step', [u, rates.step, before, momentum, ...(dot ? [dot] : [])], { name });
  if (!decay) return step(direction);
  const decayed = b.mul(weight, decay);
  if (rates.step === rates.decay) return step(b.add(direction, decayed));
  const along = b.add(b.mul(direction, rates.step), b.mul(decayed, rates.decay));
  const velocity = b.add(along, b.mul(before, momentum));
  return dot ? b.node('if_finite', [dot, velocity, before], { name }) : velocity;
}

/** d_out of eq 24, as the curvature pass found it: the width of the layer's factor G. Undefined for what is no layer's weight. */
function outputWidth(factor: StateEntry | undefined): number | undefined {
  return factor && product(concrete(factor.type.shape).slice(0, -1));
}

/** Moves one parameter and gives its velocity's state. */
function advance(
  b: Builder,
  t: Trained,
  rates: () => Rates,
  momentum: Value,
  rescale: ((w: Value) => Value) | undefined,
): StateEntry {
  const name = `${t.name}.velocity`;
  if (b.has(name)) throw stateName(name, b.loc);
  const before = b.read(name, t.weight.type);
  const velocity = stepFrom(b, t, before, rates(), momentum, `${name}.next`);
  b.update(name, velocity);
  b.update(t.name, moved(b, t, velocity, rescale));
  return {
    name,
    type: t.weight.type,
    role: 'velocity',
    owner: 'all',
    lifetime: 'training',
    checkpoint: true,
    init: { kind: 'fill', value: 0 },
    of: t.name,
    loc: b.loc,
  };
}

/** The weight after its step: as it was where the direction is not finite. */
function moved(b: Builder, { weight, dot, name }: Trained, velocity: Value, rescale?: (w: Value) => Value): Value {
  const next = { name: `${name}.next` };
  if (dot && !rescale) return b.node('weight_step', [weight, velocity, dot], next);
  const sum = b.add(weight, velocity);
  const after = rescale ? rescale(sum) : sum;
  return dot ? b.node('if_finite', [dot, after, weight], next) : after;
}

/** Number of parameters whose direction is not finite. */
function countNotFinite(b: Builder, trained: readonly Trained[]): Value {
  const dots = b.node(
    'stack',
    trained.map((t) => t.dot!),
  );
  return b.sumAll(b.cast(b.node('not', [b.node('is_finite', [dots])]), 'f32'), 'nonfinite');
}
