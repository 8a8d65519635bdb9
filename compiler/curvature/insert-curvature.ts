/**
 * Adds SP-NGD's curvature to `train`: for each layer that it recognises the statistics of the empirical Fisher, their damped
 * inverses as state, and an output `natural(p)` beside `gradient(p)`: the gradient preconditioned with them. A parameter
 * that no rule covers keeps its plain gradient; its report says why. Also gives the output `failed_inversions`.
 */
import { dims } from '../../ir/builder.js';
import { definitions, type Func, findFunction, type Module, type ParameterReport, type Value } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { extend } from '../../ir/rewrite.js';
import { tensor } from '../../ir/types.js';
import { type Batch, factorWidths, precondition } from './kronecker.js';
import { Ledger } from './ledger.js';
import { type ConvUse, type Context, type DenseUse, isBiasOf, recognizeBatchNorm, recognizeWeight } from './recognize.js';
import { solveUnitBlocks, unitFisher } from './unit-batch-norm.js';

const PASS = 'curvature';

export interface CurvatureOptions {
  /** Attempts with ten times the damping before an inversion is given up. Default 5. */
  readonly retries?: number;
  /** Wider factors are not built: the layer keeps its plain gradient. Default 10,240 (a factor of 210 MB, 1e12 flops to invert). */
  readonly largestFactor?: number;
}

/** What becomes of a parameter. */
interface Verdict {
  readonly rule: string;
  readonly why: string;
  readonly natural?: Value;
}

export function insertCurvature(module: Module, options: CurvatureOptions = {}): Module {
  const train = findFunction(module, 'train');
  const { b, given } = extend(train, PASS, [{ name: 'damping', type: tensor('f32', []) }]);
  const gradients = new Map<string, Value>();
  for (const p of module.parameters) {
    const output = b.outputs.find((o) => o.name === `gradient(${p.name})`);
    if (output) gradients.set(p.name, output.value);
  }
  const batch: Batch = {
    valid: b.inputs.find((v) => v.name === 'valid')!,
    count: b.outputs.find((o) => o.name === 'count')!.value,
    damping: given[0],
  };
  const context = contextOf(b.finish(), dims(batch.valid)[0]);
  const ledger = new Ledger(b, options.retries ?? 5);
  const verdicts = new Map<string, Verdict>();
  for (const [name, gradient] of gradients) {
    if (verdicts.has(name)) continue;
    b.loc = passLoc(PASS, gradient.loc);
    const norm = recognizeBatchNorm(context, gradient);
    if (norm) unitBlocks(ledger, context, gradients, name, batch, verdicts);
  }
  for (const [name, gradient] of gradients) {
    if (verdicts.has(name)) continue;
    const use = recognizeWeight(context, gradient);
    if (use.kind === 'none') continue;
    b.loc = passLoc(PASS, gradient.loc);
    kronecker(ledger, context, gradients, name, use, batch, verdicts, options.largestFactor ?? 10_240);
  }
  for (const [name, gradient] of gradients) {
    const verdict = verdicts.get(name);
    if (verdict?.natural) b.output(`natural(${name})`, verdict.natural);
    if (verdict) continue;
    const use = recognizeWeight(context, gradient);
    verdicts.set(name, { rule: 'plain', why: use.kind === 'none' ? use.why : 'no curvature rule' });
  }
  b.output('failed_inversions', ledger.failedInversions());
  const parameters = module.parameters.map((p): ParameterReport => {
    const verdict = verdicts.get(p.name);
    return verdict ? { ...p, rule: verdict.rule, why: verdict.why } : p;
  });
  const done = b.finish();
  return {
    ...module,
    parameters,
    state: [...module.state, ...ledger.entries],
    functions: module.functions.map((f) => (f === train ? done : f)),
  };
}
