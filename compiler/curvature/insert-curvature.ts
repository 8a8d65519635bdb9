/**
 * Adds SP-NGD's curvature to `train`: for each layer that it recognises the statistics of the empirical Fisher, their damped
 * inverses as state, and an output `natural(p)` beside `gradient(p)`: the gradient preconditioned with them. A parameter
 * that no rule covers keeps its plain gradient; its report says why. Also gives the output `failed_inversions`.
 */
import { type Builder, dims } from '../../ir/builder.js';
import {
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
import { tensor } from '../../ir/types.js';
import { type Batch, factorWidths, precondition } from './kronecker.js';
import { Ledger } from './ledger.js';
import { type Context, isBiasOf, recognizeBatchNorm, recognizeWeight } from './recognize.js';
import { solveUnitBlocks, unitFisher } from './unit-batch-norm.js';

const PASS = 'curvature';

export interface CurvatureOptions {
  /** Attempts with ten times the damping before an inversion is given up. Default 5. */
  readonly retries?: number;
  /** Wider factors are not built; the layer keeps its plain gradient. Default 10,240: 210 MB, and 1e12 operations to invert. */
  readonly largestFactor?: number;
}

/** How a parameter is trained; `natural` where its gradient is preconditioned. */
interface Verdict {
  readonly rule: 'kfac-conv' | 'kfac-dense' | 'unit-bn' | 'plain';
  readonly why: string;
  readonly natural?: Value;
}

/** What is known while the layers are visited. */
interface Visit {
  readonly ledger: Ledger;
  readonly context: Context;
  readonly batch: Batch;
  readonly largestFactor: number;
  /** By parameter, in the order of the module's parameters. */
  readonly gradients: ReadonlyMap<string, Value>;
  /** Gradients by the batch normalisation whose scale or shift they move. */
  readonly norms: ReadonlyMap<Node, readonly [string, Value][]>;
  readonly verdicts: Map<string, Verdict>;
}

/** Input: the module after `differentiate`, batch bound. Adds the scalar input `damping` (lambda > 0). */
export function insertCurvature(module: Module, options: CurvatureOptions = {}): Module {
  const train = findFunction(module, 'train');
  const { b, given } = extend(train, PASS, [{ name: 'damping', type: tensor('f32', []) }]);
  const outputs = new Map(b.outputs.map((o) => [o.name, o.value]));
  const valid = b.inputs.find((v) => v.name === 'valid');
  const count = outputs.get('count');
  if (!valid || !count) throw new Error('train has no valid or no count: attachLoss runs before insertCurvature');
  const context = contextOf(b, outputs.get('loss')!, dims(valid)[0]);
  const gradients = gradientsOf(module, outputs);
  const visit: Visit = {
    ledger: new Ledger(b, options.retries ?? 5),
    context,
    batch: { valid, count, damping: given[0] },
    largestFactor: options.largestFactor ?? 10_240,
    gradients,
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
    const { verdicts, context } = visit;
    if (!verdicts.has(name)) verdicts.set(name, plain(whyPlain(context, gradient)));
    const { natural } = verdicts.get(name)!;
    if (natural) b.output(`natural(${name})`, natural);
  }
  b.loc = passLoc(PASS);
  b.output('failed_inversions', visit.ledger.failedInversions());
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
function normsOf(context: Context, gradients: ReadonlyMap<string, Value>): Map<Node, [string, Value][]> {
  const norms = new Map<Node, [string, Value][]>();
  for (const [name, gradient] of gradients) {
    const node = recognizeBatchNorm(context, gradient)?.node;
    if (node) norms.set(node, [...(norms.get(node) ?? []), [name, gradient]]);
  }
  return norms;
}

function contextOf(b: Builder, loss: Value, examples: number): Context {
  const defs = definitions(b);
  const forward = new Set<Value>([loss]);
  for (const node of [...b.nodes].reverse())
    if (node.results.some((r) => forward.has(r))) for (const v of node.operands) forward.add(v);
  const data = new Set<Value>(b.inputs);
  for (const node of b.nodes) if (node.operands.some((o) => data.has(o))) for (const r of node.results) data.add(r);
  return {
    definition: (v) => defs.get(v),
    forward: (v) => forward.has(v),
    data: (v) => data.has(v),
    examples,
  };
}

const plain = (why: string): Verdict => ({ rule: 'plain', why });

function whyPlain(context: Context, gradient: Value): string {
  if (recognizeBatchNorm(context, gradient)) return 'the other half of its batch normalisation is not trained';
  const use = recognizeWeight(context, gradient);
  return use.kind === 'none' ? use.why : 'no layer took it';
}

function visitLayer(visit: Visit, name: string, gradient: Value): void {
  const { context, gradients, ledger, batch, verdicts } = visit;
  const use = recognizeWeight(context, gradient);
  if (use.kind === 'none') return;
  const [biasName, biasGradient] =
    [...gradients].find(([other, g]) => !verdicts.has(other) && isBiasOf(context, use, g)) ?? [];
  const widths = factorWidths(use, biasGradient !== undefined);
  const widest = Math.max(widths.A, widths.G);
  if (widest > visit.largestFactor) {
    verdicts.set(name, plain(`its factor would be ${widest} wide; the limit is ${visit.largestFactor}`));
    return;
  }
  const natural = precondition(ledger, name, use, biasGradient, batch);
  const rule = `kfac-${use.kind}` as const;
  const size = `A ${widths.A}, G ${widths.G}`;
  verdicts.set(name, { rule, why: biasName ? `${size}; with ${biasName} as a column` : size, natural: natural.weight });
  if (biasName) verdicts.set(biasName, { rule, why: `a column of ${name}`, natural: natural.bias });
}

function visitBatchNorm(visit: Visit, name: string, gradient: Value): void {
  const { context, norms, ledger, batch, verdicts } = visit;
  const { b } = ledger;
  const mine = recognizeBatchNorm(context, gradient)!;
  const partner = norms.get(mine.node)!.find(([, g]) => recognizeBatchNorm(context, g)!.which !== mine.which);
  if (!partner) return;
  const me: [string, Value] = [name, gradient];
  const [[gammaName, gamma], [betaName, beta]] = mine.which === 'gamma' ? [me, partner] : [partner, me];
  const [, gammaRows, betaRows] = mine.node.results;
  const [channels] = dims(gamma);
  const fisher = ledger.statistic(`${gammaName}.F`, gammaName, tensor('f32', [3, channels]), () =>
    unitFisher(b, gammaRows, betaRows, batch.count),
  );
  const natural = solveUnitBlocks(b, fisher, gamma, beta, batch.damping);
  verdicts.set(gammaName, { rule: 'unit-bn', why: `2x2 blocks with ${betaName}`, natural: natural.gamma });
  verdicts.set(betaName, { rule: 'unit-bn', why: `2x2 blocks with ${gammaName}`, natural: natural.beta });
}
