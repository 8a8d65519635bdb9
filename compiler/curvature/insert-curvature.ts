/**
 * Adds SP-NGD's curvature to `train`: for each layer that it recognises the statistics of the Fisher (empirical, or by drawn
 * labels where `train` has a second loss), their damped inverses as state, and an output `natural(p)` beside `gradient(p)`: the
 * gradient preconditioned with them. A parameter that no rule covers keeps its plain gradient; its report says why. Also gives the
 * output `failed_inversions`, or with staleness `failures(statistic)` of each.
 */
import { accumulated } from '../../ir/accumulate.js';
import { type Builder, dims } from '../../ir/builder.js';
import {
  ancestors,
  definitions,
  type Func,
  findFunction,
  type Module,
  type Node,
  type ParameterReport,
  type Value,
} from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { extend } from '../../ir/rewrite.js';
import type { Staleness } from '../../ir/staleness.js';
import { product, tensor } from '../../ir/types.js';
import { isShiftOf, recognizeScale, rowsByExample } from './affine.js';
import { findExamples } from './examples.js';
import { type Batch, factorWidths, groupsOf, precondition } from './kronecker.js';
import { Ledger } from './ledger.js';
import {
  type Context,
  type ConvUse,
  type DenseUse,
  isBiasOf,
  recognizeBatchNorm,
  recognizeWeight,
  summedBy,
  withoutReshape,
} from './recognize.js';
import { takeSampled } from './sampled.js';
import { solveUnitBlocks, unitFisher } from './unit-blocks.js';

const PASS = 'curvature';

export interface CurvatureOptions {
  /** Which parts have a guard of their own, and whether statistics have a history. Default 'off'. */
  readonly staleness?: Staleness;
  /** Attempts with ten times the damping before an inversion is given up. Default 5. */
  readonly retries?: number;
  /** Wider factors are not built; the layer keeps its plain gradient. Default 10,240: 210 MB, and 1e12 operations to invert. */
  readonly largestFactor?: number;
}

/** How a parameter is trained; `natural` where its gradient is preconditioned. */
interface Verdict {
  readonly rule: 'kfac-conv' | 'kfac-dense' | 'unit-bn' | 'unit-affine' | 'plain';
  readonly why: string;
  readonly natural?: Value;
}

type LayerUse = ConvUse | DenseUse;

/** What is known while the layers are visited. */
interface Visit {
  readonly ledger: Ledger;
  readonly context: Context;
  readonly batch: Batch;
  readonly largestFactor: number;
  /** By parameter, in the order of the module's parameters. */
  readonly gradients: ReadonlyMap<string, Value>;
  /** The gradient that a parameter's statistics are read off: itself, or that by drawn labels. */
  readonly statisticsOf: (parameter: string, gradient: Value) => Value | undefined;
  /** Gradients by what they sum. */
  readonly sums: ReadonlyMap<Value, readonly [string, Value][]>;
  /** Gradients by the batch normalisation whose scale or shift they move. */
  readonly norms: ReadonlyMap<Node, readonly [string, Value][]>;
  readonly verdicts: Map<string, Verdict>;
}

/** Input: the module after `differentiate`, batch bound. Adds the scalar input `damping` (lambda > 0). */
export function insertCurvature(module: Module, options: CurvatureOptions = {}): Module {
  const train = findFunction(module, 'train');
  const sampled = takeSampled(train);
  const { b, given } = extend(sampled?.func ?? train, PASS, [{ name: 'damping', type: tensor('f32', []) }]);
  const outputs = new Map(b.outputs.map((o) => [o.name, o.value]));
  const valid = b.inputs.find((v) => v.name === 'valid');
  const count = outputs.get('count');
  if (!valid || !count) throw new Error('train has no valid or no count: attachLoss runs before insertCurvature');
  const context = contextOf(b, outputs.get('loss')!, dims(valid)[0]);
  const gradients = gradientsOf(module, outputs);
  const visit: Visit = {
    ledger: new Ledger(b, options.retries ?? 5, options.staleness ?? 'off', count),
    context,
    batch: {
      valid,
      count,
      damping: given[0],
      accumulated: (v, name) => accumulated(b, v, { weight: count, name, definition: context.definition }),
    },
    largestFactor: options.largestFactor ?? 10_240,
    gradients,
    statisticsOf: (name, gradient) => (sampled ? sampled.gradientOf(name) : gradient),
    sums: groupBy(gradients, (gradient) => summedBy(context, gradient)),
    norms: normsOf(context, gradients),
    verdicts: new Map(),
  };
  // Layers first: a bias belongs to its layer, wherever it stands in the list of parameters.
  for (const [name, gradient] of visit.gradients) {
    b.loc = passLoc(PASS, gradient.loc);
    if (visit.verdicts.has(name)) continue;
    if (recognizeBatchNorm(visit.context, gradient)) visitBatchNorm(visit, name, gradient);
    else visitLayer(visit, name, gradient);
  }
  for (const [name, gradient] of visit.gradients) {
    b.loc = passLoc(PASS, gradient.loc);
    if (!visit.verdicts.has(name)) visitScale(visit, name, gradient);
  }
  for (const [name, gradient] of visit.gradients) {
    const { verdicts, context } = visit;
    if (!verdicts.has(name)) verdicts.set(name, plain(whyPlain(context, gradient)));
    const { natural } = verdicts.get(name)!;
    if (natural) b.output(`natural(${name})`, natural);
  }
  b.loc = passLoc(PASS);
  const failed = visit.ledger.failedInversions();
  if (failed) b.output('failed_inversions', failed);
  return assemble(module, train, b.finish(), visit);
}

function assemble(module: Module, before: Func, after: Func, { ledger, verdicts }: Visit): Module {
  const parameters = module.parameters.map((p): ParameterReport => {
    const verdict = verdicts.get(p.name);
    return verdict ? { ...p, rule: verdict.rule, why: verdict.why } : p;
  });
  const functions = module.functions.map((f) => (f === before ? after : f));
  return { ...module, parameters, functions, state: [...module.state, ...ledger.entries] };
}

function gradientsOf(module: Module, outputs: ReadonlyMap<string, Value>): Map<string, Value> {
  const gradients = new Map<string, Value>();
  for (const { name } of module.parameters) {
    const gradient = outputs.get(`gradient(${name})`);
    if (gradient) gradients.set(name, gradient);
  }
  return gradients;
}

/** The gradients of each batch normalisation. */
const normsOf = (context: Context, gradients: ReadonlyMap<string, Value>): Map<Node, [string, Value][]> =>
  groupBy(gradients, (gradient) => recognizeBatchNorm(context, gradient)?.node);

function groupBy<K>(
  gradients: ReadonlyMap<string, Value>,
  keyOf: (gradient: Value) => K | undefined,
): Map<K, [string, Value][]> {
  const groups = new Map<K, [string, Value][]>();
  for (const entry of gradients) {
    const key = keyOf(entry[1]);
    if (key === undefined) continue;
    const group = groups.get(key);
    if (group) group.push(entry);
    else groups.set(key, [entry]);
  }
  return groups;
}

/** The first gradient without a verdict that sums `dy` and that `fits`, with its parameter. */
function findSum({ context, sums, verdicts }: Visit, dy: Value, fits: (gradient: Value) => boolean) {
  return sums.get(withoutReshape(context, dy))?.find(([name, g]) => !verdicts.has(name) && fits(g));
}

function contextOf(b: Builder, loss: Value, examples: number): Context {
  const defs = definitions(b);
  const forward = ancestors(b, [loss]);
  return {
    definition: (v) => defs.get(v),
    forward: (v) => forward.has(v),
    place: findExamples(b, examples),
    examples,
  };
}

const plain = (why: string): Verdict => ({ rule: 'plain', why });

function whyPlain(context: Context, gradient: Value): string {
  if (recognizeBatchNorm(context, gradient)) return 'the other half of its batch normalisation is not trained';
  if (recognizeScale(context, gradient)) return 'it is a scale without a shift that is trained';
  const use = recognizeWeight(context, gradient);
  return use.kind === 'none' ? use.why : 'no layer took it';
}

function visitLayer(visit: Visit, name: string, gradient: Value): void {
  const { context, ledger, batch, verdicts } = visit;
  const use = recognizeWeight(context, gradient);
  if (use.kind === 'none') return;
  const [biasName, biasGradient] = findSum(visit, use.dy, (g) => isBiasOf(context, use, g)) ?? [];
  const widths = factorWidths(use, biasGradient !== undefined);
  const widest = Math.max(widths.A, widths.G);
  if (widest > visit.largestFactor) {
    verdicts.set(name, plain(`its factor would be ${widest} wide; the limit is ${visit.largestFactor}`));
    return;
  }
  const seen = seenBy(visit, name, gradient, use);
  if (!seen) return;
  const natural = precondition(ledger, name, use, seen, biasGradient, batch);
  const rule = `kfac-${use.kind}` as const;
  const groups = groupsOf(use);
  const size = `A ${widths.A}, G ${widths.G}${groups > 1 ? ` for each of ${groups} groups` : ''}`;
  verdicts.set(name, { rule, why: biasName ? `${size}; with ${biasName} as a column` : size, natural: natural.weight });
  if (biasName) verdicts.set(biasName, { rule, why: `a column of ${name}`, natural: natural.bias });
}

/** The contraction whose operands are the statistics of the layer: that of its gradient, or of its gradient by drawn labels. */
function seenBy({ context, statisticsOf }: Visit, name: string, gradient: Value, use: LayerUse): LayerUse | undefined {
  const other = statisticsOf(name, gradient);
  if (other === gradient) return use;
  const seen = other && recognizeWeight(context, other);
  return seen?.kind === use.kind ? seen : undefined;
}

function visitBatchNorm(visit: Visit, name: string, gradient: Value): void {
  const { context, norms } = visit;
  const mine = recognizeBatchNorm(context, gradient)!;
  const partner = norms.get(mine.node)!.find(([, g]) => recognizeBatchNorm(context, g)!.which !== mine.which);
  if (!partner) return;
  const me: [string, Value] = [name, gradient];
  const [[gammaName, gamma], [betaName, beta]] = mine.which === 'gamma' ? [me, partner] : [partner, me];
  const other = visit.statisticsOf(name, gradient);
  const seen = other && recognizeBatchNorm(context, other);
  if (!seen) return;
  const [, gammaRows, betaRows] = seen.node.results;
  unitBlocks(
    visit,
    'unit-bn',
    { name: gammaName, gradient: gamma, rows: () => gammaRows },
    { name: betaName, gradient: beta, rows: () => betaRows },
  );
}

/** A scale whose shift is trained as well; their rows are summed once more for the gradients, in place of the sums over all. */
function visitScale(visit: Visit, name: string, gradient: Value): void {
  const { context } = visit;
  const { b } = visit.ledger;
  const scale = recognizeScale(context, gradient);
  const [shiftName, shift] = (scale && findSum(visit, scale.dy, (g) => isShiftOf(context, scale, g))) ?? [];
  if (!scale || !shiftName || !shift) return;
  const seen = visit.statisticsOf(name, gradient);
  const sampled = seen && seen !== gradient ? recognizeScale(context, seen) : undefined;
  if (seen !== gradient && !sampled) return;
  const half = (name: string, gradient: Value, terms: Value, drawn: Value | undefined): Half => {
    const rowsOf = (summed: Value) => rowsByExample(b, { ...scale, terms: summed }, scale.place, context.examples);
    if (drawn) return { name, gradient, rows: () => rowsOf(drawn) };
    const rows = rowsOf(terms);
    const summed = b.reshape(b.sum(rows, [0]), dims(gradient));
    const output = b.outputs.findIndex((o) => o.name === `gradient(${name})`);
    b.outputs[output] = { ...b.outputs[output], value: summed };
    return { name, gradient: summed, rows: () => rows };
  };
  unitBlocks(
    visit,
    'unit-affine',
    half(name, gradient, scale.terms, sampled?.terms),
    half(shiftName, shift, scale.dy, sampled?.dy),
  );
}

interface Half {
  readonly name: string;
  readonly gradient: Value;
  /** f32[N, channels]: each example's own gradient. */
  readonly rows: () => Value;
}

function unitBlocks(visit: Visit, rule: 'unit-bn' | 'unit-affine', gamma: Half, beta: Half): void {
  const { ledger, batch, verdicts } = visit;
  const { b } = ledger;
  const channels = product(dims(gamma.gradient));
  const fisher = ledger.statistic(`${gamma.name}.F`, gamma.name, tensor('f32', [3, channels]), () =>
    unitFisher(b, gamma.rows(), beta.rows(), batch.count),
  );
  const flat = (half: Half) => b.reshape(batch.accumulated(half.gradient, `${half.name}.gradient`), [channels]);
  const natural = solveUnitBlocks(b, fisher, flat(gamma), flat(beta), batch.damping);
  const set = (half: Half, other: Half, u: Value) =>
    verdicts.set(half.name, { rule, why: `2x2 blocks with ${other.name}`, natural: b.reshape(u, dims(half.gradient)) });
  set(gamma, beta, natural.gamma);
  set(beta, gamma, natural.beta);
}
