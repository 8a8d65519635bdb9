/**
 * Reverse-mode differentiation of `train`: appends the backward pass and gives, for each trainable parameter p that
 * influences the loss, an output `gradient(p)`. Only what lies between such a parameter and the loss gets a gradient. A second loss,
 * against drawn labels, is differentiated the same way, through the one forward pass.
 */
import { Builder } from '../../ir/builder.js';
import { nothingToTrain } from '../../ir/diagnostics/compile.js';
import { SAMPLED_LOSS, sampledGradient } from '../../ir/fisher.js';
import { type Func, findFunction, type Module, type Node, type Value } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { concrete, shapeEquals } from '../../ir/types.js';
import { isRule, type Site } from './rule.js';
import { gradients } from './table.js';

const PASS = 'autodiff';

/** Gradients of the loss by value, while the backward pass is built. */
type Tape = Map<Value, Value>;

/**
 * @returns the module at level `train`. A trainable parameter that does not influence the loss gets no gradient; its report
 * says so (rule `unused`).
 * @throws UserError E205 when nothing that is trainable influences the loss
 */
export function differentiate(module: Module): Module {
  const train = findFunction(module, 'train');
  const trainable = new Set(module.parameters.filter((p) => p.trainable).map((p) => p.name));
  const sources = train.reads.filter((r) => trainable.has(r.name));
  const loss = train.outputs.find((o) => o.name === 'loss');
  if (!loss) throw new Error('train has no output loss: attachLoss runs before differentiate');
  const b = Builder.from(train, PASS);
  const tape = backward(b, train, loss.value, sources, 'd');
  const reached = new Set<string>();
  for (const p of sources) {
    const gradient = tape.get(p);
    if (!gradient) continue;
    b.output(`gradient(${p.name})`, gradient);
    reached.add(p.name);
  }
  if (reached.size === 0) throw nothingToTrain();
  const sampled = train.outputs.find((o) => o.name === SAMPLED_LOSS);
  if (sampled) {
    const tape = backward(b, train, sampled.value, sources, 'sampled');
    for (const p of sources) if (tape.has(p)) b.output(sampledGradient(p.name), tape.get(p)!);
  }
  const parameters = module.parameters.map((p) =>
    p.trainable && !reached.has(p.name) ? { ...p, rule: 'unused', why: 'it does not influence the loss' } : p,
  );
  const done = b.finish();
  return { ...module, level: 'train', parameters, functions: module.functions.map((f) => (f === train ? done : f)) };
}

/** Values that depend on a source through ops that have gradients. */
function dependents(func: Func, sources: readonly Value[]): Set<Value> {
  const active = new Set(sources);
  for (const node of func.nodes) {
    if (!isRule(gradients[node.op]) || !node.operands.some((o) => active.has(o))) continue;
    for (const r of node.results) if (r.type.dtype === 'f32' || r.type.dtype === 'f16') active.add(r);
  }
  return active;
}

/** @param prefix of gradients' names */
function backward(b: Builder, func: Func, loss: Value, sources: readonly Value[], prefix: string): Tape {
  const active = dependents(func, sources);
  const tape: Tape = new Map();
  if (!active.has(loss)) return tape;
  const scalars = new Map<number, Value>();
  const scalar = (value: number): Value => {
    const known = scalars.get(value) ?? b.fill(value);
    scalars.set(value, known);
    return known;
  };
  const one = scalar(1);
  const times = (dy: Value, factor: Value): Value =>
    dy === one && factor.type.shape.length === 0 ? factor : b.mul(dy, factor);
  tape.set(loss, one);
  for (const node of [...func.nodes].reverse()) {
    const dy = tape.get(node.results[0]);
    const rule = gradients[node.op];
    if (node.results.some((r, i) => i > 0 && tape.has(r)))
      throw new Error(`${node.op}: the loss depends on ${node.results[1].name}, which has no gradient rule`);
    if (!dy || !isRule(rule)) continue;
    b.loc = passLoc(PASS, node.loc);
    const site: Site = {
      b,
      attrs: node.attrs,
      x: node.operands,
      y: node.results,
      dy,
      dx: (i) => `${prefix}.${node.operands[i].name}`,
      scalar,
      times,
    };
    const thunks = rule(site);
    node.operands.forEach((x, i) => {
      const thunk = thunks[i];
      if (active.has(x) && thunk) accumulate(b, tape, x, summedTo(b, thunk(), x));
      else if (active.has(x) && !sameElsewhere(node, i))
        throw new Error(`${node.op} has no gradient for operand ${i}, on which the loss depends`);
    });
  }
  return tape;
}

/** A rule may give the whole gradient of a value that a node takes twice with its first place. */
function sameElsewhere(node: Node, i: number): boolean {
  return node.operands.indexOf(node.operands[i]) !== i;
}

function accumulate(b: Builder, tape: Tape, x: Value, dx: Value): void {
  const before = tape.get(x);
  tape.set(x, before ? b.add(before, dx) : dx);
}

/** Sums the axes that broadcasting gave: the transpose of NumPy's rule. */
function summedTo(b: Builder, dx: Value, x: Value): Value {
  if (shapeEquals(dx.type.shape, x.type.shape)) return dx;
  const [from, to] = [concrete(dx.type.shape), concrete(x.type.shape)];
  const lead = from.length - to.length;
  const axes = from.map((_, i) => i).filter((i) => i < lead || (to[i - lead] === 1 && from[i] !== 1));
  return b.reshape(b.sum(dx, axes), to);
}
