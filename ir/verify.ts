/**
 * Holds a module to the rules of its level; runs after every pass. One walk over each function, linear in its size.
 * What it finds is a fault of the compiler, so it throws plain Errors, each naming the value and what is wrong with it.
 *
 * A guarded value exists only in steps in which its guard is on: only nodes under the same guard, or one that implies it, may read it, and only
 * `refresh`, which falls back to what is stored, has a result that exists in every step.
 */
import { InferredNode } from './builder.js';
import { SAMPLED } from './fisher.js';
import type { Func, GraphLevel, Module, Node, StateEntry, Value } from './graph.js';
import { admits } from './levels.js';
import type { Loc } from './loc.js';
import { checkAttrs, TypeRuleError } from './ops/declare.js';
import { isOpName, ops } from './ops/table.js';
import { isDue } from './staleness.js';
import { printType, type TensorType, typeEquals } from './types.js';

export { verifyKernel } from './verify-kernel.js';
export { verifyProgram } from './verify-program.js';

function checkLoc(loc: Loc | undefined, what: string): void {
  if (!loc || (loc.kind !== 'onnx' && loc.kind !== 'file' && loc.kind !== 'pass'))
    throw new Error(`${what} has no location`);
}

function checkType(type: TensorType, what: string): void {
  for (const d of type.shape) {
    const size = typeof d === 'number' ? d : d.factor;
    if (!Number.isInteger(size) || size < 0) throw new Error(`${what}: ${printType(type)} has a dimension of ${size}`);
  }
  if (type.layout === 'packed-lower') {
    const [a, b] = type.shape.slice(-2);
    if (type.shape.length < 2 || typeof a !== 'number' || a !== b)
      throw new Error(`${what}: a packed type needs two equal last dimensions, not [${type.shape}]`);
  }
}

function expectType(stated: TensorType, wanted: TensorType, what: () => string): void {
  if (!typeEquals(stated, wanted)) throw new Error(`${what()}: type ${printType(stated)} is not ${printType(wanted)}`);
}

/** What is known of a function's values while it is walked. */
interface Scope {
  readonly func: string;
  readonly byName: Map<string, Value>;
  /** The guard under which a value exists; absent: it always does. */
  readonly guards: Map<Value, string>;
}

/** Adds a value to the scope. Its own rules are checked apart. */
function define(scope: Scope, value: Value): void {
  if (value.name === '') throw new Error(`${scope.func}: a value has no name`);
  if (scope.byName.has(value.name)) throw new Error(`${scope.func}: ${value.name} is defined twice`);
  scope.byName.set(value.name, value);
}

function checkValue(func: string, value: Value): void {
  const what = `${func}: ${value.name}`;
  checkLoc(value.loc, what);
  checkType(value.type, what);
}

function checkOwner(func: string, { name, type }: Value, level: GraphLevel): void {
  if (type.placement.kind === 'owner' && level !== 'placed')
    throw new Error(`${func}: ${name}: ${printType(type)} has an owner at level ${level}`);
}

/** Of a value that cannot be read here. */
function misread(scope: Scope, value: Value, reader: string): Error {
  if (!scope.byName.has(value.name))
    return new Error(`${scope.func}: ${reader} reads ${value.name} before it is defined`);
  return new Error(`${scope.func}: ${reader} reads another ${value.name} than the one that is defined here`);
}

/** Whether in all steps in which `guard` is on, `other` is. */
function implies(guard: string | undefined, other: string): boolean {
  return guard === other || (other === SAMPLED && guard !== undefined && isDue(guard));
}

function checkGuards(scope: Scope, node: Node): void {
  if (node.op === 'refresh') {
    const stored = node.operands[1];
    const g = scope.guards.get(stored);
    if (g !== undefined)
      throw new Error(`${nameOf(scope.func, node)}: the stored value ${stored.name} exists only when ${g}`);
  }
  for (const operand of node.operands) {
    const g = scope.guards.get(operand);
    if (g !== undefined && !implies(node.guard, g))
      throw new Error(
        `${nameOf(scope.func, node)}: reads ${operand.name}, which exists only when ${g}, in steps when ${node.guard ?? 'always'}`,
      );
  }
}

const nameOf = (func: string, node: Node): string => `${func}: ${node.results[0]?.name ?? '(no result)'} = ${node.op}`;

/**
 * Nodes that keep the rules by themselves, wherever they stand: nodes never change, and passes share those that they leave
 * alone, so most of a graph has been looked at before.
 */
const sound = new WeakSet<Node>();

function checkNode(scope: Scope, node: Node, level: GraphLevel): void {
  checkLevel(scope.func, node, level);
  if (!sound.has(node)) {
    checkAlone(scope.func, node);
    sound.add(node);
  }
  for (const operand of node.operands)
    if (scope.byName.get(operand.name) !== operand) throw misread(scope, operand, nameOf(scope.func, node));
  if (scope.guards.size > 0) checkGuards(scope, node);
  for (const result of node.results) {
    define(scope, result);
    if (node.guard !== undefined && node.op !== 'refresh') scope.guards.set(result, node.guard);
  }
}

function checkLevel(func: string, node: Node, level: GraphLevel): void {
  if (!isOpName(node.op)) throw new Error(`${nameOf(func, node)}: no such op`);
  if (!admits(level, node.op)) throw new Error(`${nameOf(func, node)}: level ${level} does not admit this op`);
  if (node.guard !== undefined && level === 'model')
    throw new Error(`${nameOf(func, node)}: level model admits no guards`);
  for (const result of node.results) checkOwner(func, result, level);
}

function checkAlone(func: string, node: Node): void {
  const what = nameOf(func, node);
  if (node.guard === '') throw new Error(`${what}: its guard has no name`);
  if (node.op === 'refresh' && node.guard === undefined) throw new Error(`${what}: refresh needs a guard`);
  checkLoc(node.loc, what);
  for (const result of node.results) checkValue(func, result);
  if (node instanceof InferredNode) return;
  const [least, most] = ops[node.op].arity;
  if (node.operands.length < least || node.operands.length > most)
    throw new Error(
      `${what}: has ${node.operands.length} operands, needs ${least === most ? least : `${least}..${most}`}`,
    );
  const inferred = inferAgain(node, what);
  if (inferred.length !== node.results.length)
    throw new Error(`${what}: has ${node.results.length} results, the op has ${inferred.length}`);
  node.results.forEach((result, i) => {
    expectType(result.type, inferred[i], () => `${func}: ${result.name} = ${node.op}`);
  });
}

function inferAgain(node: Node, what: string): TensorType[] {
  const def = ops[node.op];
  try {
    checkAttrs(def, node.attrs);
    return def.infer(
      node.operands.map((o) => o.type),
      node.attrs,
    );
  } catch (e) {
    if (e instanceof TypeRuleError) throw new Error(`${what}: ${e.message}`);
    throw e;
  }
}

function checkAlways(scope: Scope, value: Value, what: string): void {
  if (scope.byName.get(value.name) !== value) throw misread(scope, value, what);
  const g = scope.guards.get(value);
  if (g !== undefined) throw new Error(`${scope.func}: ${what} is ${value.name}, which exists only when ${g}`);
}

function verifyFunc(func: Func, level: GraphLevel, state: ReadonlyMap<string, StateEntry>): void {
  const scope: Scope = { func: func.name, byName: new Map(), guards: new Map() };
  for (const v of [...func.inputs, ...func.reads]) {
    define(scope, v);
    checkValue(func.name, v);
    checkOwner(func.name, v, level);
  }
  for (const v of func.reads) {
    const entry = state.get(v.name);
    if (!entry) throw new Error(`${func.name}: reads state ${v.name}, which is not in the state table`);
    expectType(v.type, entry.type, () => `${func.name}: state ${v.name}`);
  }
  for (const node of func.nodes) checkNode(scope, node, level);
  const outputs = new Set<string>();
  for (const o of func.outputs) {
    if (outputs.has(o.name)) throw new Error(`${func.name}: two outputs are named ${o.name}`);
    outputs.add(o.name);
    checkAlways(scope, o.value, `output ${o.name}`);
  }
  const updated = new Set<string>();
  for (const u of func.updates) {
    const entry = state.get(u.state);
    if (!entry) throw new Error(`${func.name}: updates state ${u.state}, which is not in the state table`);
    if (updated.has(u.state)) throw new Error(`${func.name}: updates state ${u.state} twice`);
    updated.add(u.state);
    checkAlways(scope, u.value, `update of ${u.state}`);
    expectType(u.value.type, entry.type, () => `${func.name}: update of state ${u.state}`);
    // `init` writes first values; after it, artifact state never changes.
    if (entry.lifetime === 'artifact' && func.name !== 'init')
      throw new Error(`${func.name}: updates state ${u.state}, whose lifetime is artifact`);
  }
}

function verifyState(module: Module): Map<string, StateEntry> {
  const table = new Map<string, StateEntry>();
  for (const entry of module.state) {
    const what = `state ${entry.name}`;
    if (table.has(entry.name)) throw new Error(`${what} is declared twice`);
    checkLoc(entry.loc, what);
    checkType(entry.type, what);
    if (entry.type.placement.kind === 'owner' && module.level !== 'placed')
      throw new Error(`${what}: ${printType(entry.type)} has an owner at level ${module.level}`);
    if (entry.type.shape.some((d) => typeof d !== 'number'))
      throw new Error(`${what}: ${printType(entry.type)} has no fixed size`);
    if (entry.owner !== 'all' && module.level !== 'placed')
      throw new Error(`${what} has owner ${entry.owner} at level ${module.level}`);
    table.set(entry.name, entry);
  }
  for (const entry of module.state)
    if (entry.of !== undefined && !table.has(entry.of))
      throw new Error(`state ${entry.name} is of ${entry.of}, which is not in the state table`);
  return table;
}

/** Throws an Error that names the first value that breaks a rule. */
export function verifyModule(module: Module): void {
  const state = verifyState(module);
  const names = new Set<string>();
  for (const func of module.functions) {
    if (names.has(func.name)) throw new Error(`two functions are named ${func.name}`);
    names.add(func.name);
    verifyFunc(func, module.level, state);
  }
}
