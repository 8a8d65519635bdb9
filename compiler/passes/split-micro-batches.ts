/**
 * Settles how the examples of a step come together. With one micro-batch a step, the op `accumulate` is nothing and goes. With
 * several, `train` is cut where it stands: what lies before becomes the function `accumulate`, which adds one micro-batch to sums
 * in state (its input `carry` is 0 for the first of a step, which begins them anew); what lies behind stays `train`, which reads
 * the sums, normalises and updates once. What is not due is not summed either.
 */
import { ACCUMULATE, CARRY, scheduledInputs } from '../../ir/artifact.js';
import { Builder } from '../../ir/builder.js';
import { type Func, findFunction, type Module, type Node, type StateEntry, type Value } from '../../ir/graph.js';
import { passLoc } from '../../ir/loc.js';
import { keepNode, mapFunctions, rebuild } from '../../ir/rewrite.js';
import { tensor } from '../../ir/types.js';

const PASS = 'micro-batches';

/** @param several whether a step can have several micro-batches */
export function splitMicroBatches(module: Module, several: boolean): Module {
  if (!several) return mapFunctions(module, withoutMarks);
  const train = findFunction(module, 'train');
  const sums = sumsOf(module, train);
  const local = perMicroBatch(train);
  const parts = [accumulateFunction(train, sums, local), updateFunction(train, sums, local)];
  return {
    ...module,
    functions: module.functions.flatMap((f) => (f === train ? parts : [f])),
    state: [...module.state, ...[...sums.values()].map((s) => s.entry)],
  };
}

const isMark = (node: Node): boolean => node.op === 'accumulate';

function withoutMarks(func: Func): Func {
  if (!func.nodes.some(isMark)) return func;
  return rebuild(func, PASS, { replace: (node, [x]) => (isMark(node) ? [x] : undefined) });
}

/** The sum of a value over the micro-batches of a step, weighted if a mean is wanted. */
interface Sum {
  readonly entry: StateEntry;
  readonly weight: Value | undefined;
  readonly guard: string | undefined;
}

function sumsOf(module: Module, train: Func): Map<Value, Sum> {
  const values = [...train.inputs, ...train.reads, ...train.nodes.flatMap((n) => n.results)];
  const taken = new Set([...module.state, ...values].map((v) => v.name));
  const sums = new Map<Value, Sum>();
  const add = (
    x: Value,
    weight: Value | undefined,
    base: string,
    { loc, guard }: Pick<Node, 'loc' | 'guard'>,
  ): void => {
    const known = sums.get(x);
    if (known && (known.weight !== weight || known.guard !== guard))
      throw new Error(`${PASS}: ${x.name} is accumulated in two ways`);
    if (known) return;
    let name = `${base}.sum`;
    for (let n = 1; taken.has(name); n++) name = `${base}.sum.${n}`;
    taken.add(name);
    sums.set(x, { entry: sumState(name, x, loc), weight, guard });
  };
  const wanted = needed(
    train,
    [...train.outputs, ...train.updates].map((o) => o.value),
  );
  for (const mark of wanted.filter(isMark)) {
    const [x, weight] = mark.operands;
    // What a mean is divided by is summed in every step.
    if (weight) add(weight, undefined, weight.name, { loc: mark.loc });
    add(x, weight, mark.results[0].name, mark);
  }
  return sums;
}

const sumState = (name: string, x: Value, loc: Node['loc']): StateEntry => ({
  name,
  type: x.type,
  role: 'accumulator',
  owner: 'all',
  lifetime: 'training',
  // Between two steps nobody reads it.
  checkpoint: false,
  init: { kind: 'fill', value: 0 },
  loc: passLoc(PASS, loc),
});

/** Values that need a micro-batch: what depends on an input that is not a scalar of the step, up to where it is accumulated. */
function perMicroBatch(train: Func): Set<Value> {
  const scalars: readonly string[] = scheduledInputs;
  const found = new Set(train.inputs.filter((v) => !scalars.includes(v.name)));
  for (const node of train.nodes)
    if (!isMark(node) && node.operands.some((v) => found.has(v))) for (const r of node.results) found.add(r);
  return found;
}

/** The nodes that these values need, in order; `accumulate` needs nothing. */
function needed(func: Func, roots: Iterable<Value>): Node[] {
  const live = new Set(roots);
  const nodes: Node[] = [];
  for (const node of [...func.nodes].reverse()) {
    if (!node.results.some((r) => live.has(r))) continue;
    nodes.push(node);
    if (!isMark(node)) for (const v of node.operands) live.add(v);
  }
  return nodes.reverse();
}

/** @param local values that need a micro-batch */
function accumulateFunction(train: Func, sums: ReadonlyMap<Value, Sum>, local: ReadonlySet<Value>): Func {
  const updates = train.updates.filter((u) => local.has(u.value));
  const nodes = needed(train, [...sums.keys(), ...updates.map((u) => u.value)]);
  const nested = nodes.find(isMark);
  if (nested) throw new Error(`${PASS}: ${nested.results[0].name} is accumulated, and needed within a micro-batch`);
  const used = new Set([...nodes.flatMap((n) => n.operands), ...sums.keys(), ...updates.map((u) => u.value)]);
  const b = Builder.over(train, PASS, ACCUMULATE);
  for (const v of train.inputs) if (used.has(v)) b.adoptInput(v);
  for (const v of train.reads) if (used.has(v)) b.adoptRead(v);
  for (const node of nodes) b.append(node);
  for (const { state, value } of updates) b.update(state, value);

  const carry = b.input(CARRY, tensor('f32', []));
  const carries = b.node('less', [b.fill(0), carry], { name: 'carries' });
  const nothing = b.fill(0);
  for (const [x, { entry, weight, guard }] of sums) {
    b.loc = entry.loc;
    const { name, type } = entry;
    const stored = b.read(name, type);
    b.guard = guard;
    const sum = b.add(b.select(carries, stored, nothing), weight ? b.mul(x, weight) : x, `${name}.next`);
    b.guard = undefined;
    b.update(name, guard === undefined ? sum : b.node('refresh', [sum, stored], { guard, name: `${name}.now` }));
  }
  return b.finish();
}

/** @param local values that need a micro-batch */
function updateFunction(train: Func, sums: ReadonlyMap<Value, Sum>, local: ReadonlySet<Value>): Func {
  const updates = train.updates.filter((u) => !local.has(u.value));
  const nodes = needed(train, [...train.outputs.map((o) => o.value), ...updates.map((u) => u.value)]);
  const used = new Set(nodes.filter((n) => !isMark(n)).flatMap((n) => n.operands));
  for (const v of used)
    if (local.has(v)) throw new Error(`${PASS}: the update reads ${v.name}, which is of one micro-batch`);
  const b = Builder.over(train, PASS, 'train');
  for (const v of train.inputs) if (used.has(v)) b.adoptInput(v);
  for (const v of train.reads) if (used.has(v)) b.adoptRead(v);
  const map = new Map<Value, Value>();
  const look = (v: Value): Value => map.get(v) ?? v;
  const sumOf = (x: Value): Value => {
    const { entry } = sums.get(x)!;
    return b.read(entry.name, entry.type, entry.loc);
  };
  for (const node of nodes) {
    if (isMark(node)) {
      const [x, weight] = node.operands;
      const { guard, loc } = node;
      const [{ name }] = node.results;
      b.inPlaceOf(node);
      const whole = weight ? b.node('div', [sumOf(x), sumOf(weight)], { name, guard, loc }) : sumOf(x);
      map.set(node.results[0], whole);
    } else {
      const results = keepNode(b, node, node.operands.map(look));
      node.results.forEach((r, i) => {
        map.set(r, results[i]);
      });
    }
  }
  for (const o of train.outputs) b.output(o.name, look(o.value));
  for (const u of updates) b.update(u.state, look(u.value));
  return b.finish();
}
