/**
 * Holds a module to the rules of its level, in time linear in its size: behind every pass in tests, behind the first and the last
 * for users.
 * What it finds is a fault of the compiler, so it throws plain Errors, each naming the value and what is wrong with it.
 * Nodes, functions and state tables never change, and passes share what they leave alone: what has been found sound is not
 * looked at again.
 *
 * A guarded value exists only in steps in which its guard is on: only nodes under the same guard, or one that implies it, may read it, and only
 * `refresh`, which falls back to what is stored, has a result that exists in every step.
 */
import { BuiltFunc, InferredNode } from './builder.js';
import { SAMPLED } from './fisher.js';
import type { Func, GraphLevel, Module, Node, StateEntry, Value } from './graph.js';
import { admits } from './levels.js';
import type { Loc } from './loc.js';
import { checkAttrs, TypeRuleError } from './ops/declare.js';
import { isOpName, ops } from './ops/table.js';
import { isDue } from './staleness.js';
import { printType, type TensorType, typeEquals } from './types.js';
import { ValueMap } from './value-map.js';

export { verifyKernel } from './verify-kernel.js';
export { verifyProgram } from './verify-program.js';

function checkLoc(loc: Loc | undefined, what: () => string): void {
  if (!loc || (loc.kind !== 'onnx' && loc.kind !== 'file' && loc.kind !== 'pass'))
    throw new Error(`${what()} has no location`);
}

function checkType(type: TensorType, what: () => string): void {
  const { shape } = type;
  for (let i = 0; i < shape.length; i++) {
    const d = shape[i];
    const size = typeof d === 'number' ? d : d.factor;
    if (!Number.isInteger(size) || size < 0)
      throw new Error(`${what()}: ${printType(type)} has a dimension of ${size}`);
  }
  if (type.layout === 'packed-lower') {
    const [a, b] = shape.slice(-2);
    if (shape.length < 2 || typeof a !== 'number' || a !== b)
      throw new Error(`${what()}: a packed type needs two equal last dimensions, not [${shape}]`);
  }
}

function mistyped(stated: TensorType, wanted: TensorType, what: string): Error {
  return new Error(`${what}: type ${printType(stated)} is not ${printType(wanted)}`);
}

/** In the place of a guard: in every step. */
const ALWAYS = '';

/** What is known of a function's values while it is walked. */
interface Scope {
  readonly func: Func;
  /** Names defined so far; absent where the builder has seen to it that no two are equal. */
  readonly names: Set<string> | undefined;
  /** The values defined so far, each with the guard under which it exists. */
  readonly guards: ValueMap<string>;
}

/** Adds a value to the scope. Its own rules are checked apart. */
function define({ func, names, guards }: Scope, value: Value, guard = ALWAYS): void {
  if (names) {
    if (names.has(value.name)) throw new Error(`${func.name}: ${value.name} is defined twice`);
    names.add(value.name);
  }
  guards.set(value, guard);
}

function checkValue(func: string, value: Value): void {
  if (value.name === '') throw new Error(`${func}: a value has no name`);
  const what = (): string => `${func}: ${value.name}`;
  checkLoc(value.loc, what);
  checkType(value.type, what);
}

function checkOwner(func: string, { name, type }: Value, level: GraphLevel): void {
  if (type.placement.kind === 'owner' && level !== 'placed')
    throw new Error(`${func}: ${name}: ${printType(type)} has an owner at level ${level}`);
}

/** Of a value that cannot be read here. */
function misread({ func, guards }: Scope, { name }: Value, reader: string): Error {
  const values = [...func.inputs, ...func.reads, ...func.nodes.flatMap((n) => n.results)];
  const another = values.some((v) => v.name === name && guards.get(v) !== undefined);
  const how = another ? `another ${name} than the one that is defined here` : `${name} before it is defined`;
  return new Error(`${func.name}: ${reader} reads ${how}`);
}

/** Whether in all steps in which `guard` is on, `other` is. */
function implies(guard: string | undefined, other: string): boolean {
  return guard === other || (other === SAMPLED && guard !== undefined && isDue(guard));
}

const nameOf = (func: string, node: Node): string => `${func}: ${node.results[0]?.name ?? '(no result)'} = ${node.op}`;

// These run on every value after every pass: loops by index, messages only where they are thrown.

/** The node by itself. */
function checkSound(func: string, node: Node, level: GraphLevel): void {
  const known = node instanceof InferredNode ? node.soundAt : undefined;
  if (known === level) return;
  checkLevel(func, node, level);
  if (known === undefined) checkAlone(func, node);
  if (node instanceof InferredNode) node.markSound(level);
}

/** The node where it stands. */
function checkReads(scope: Scope, node: Node): void {
  const { operands, results, guard } = node;
  const { guards } = scope;
  for (let i = 0; i < operands.length; i++) {
    const g = guards.get(operands[i]);
    if (g === undefined) throw misread(scope, operands[i], nameOf(scope.func.name, node));
    if (g !== ALWAYS && !implies(guard, g))
      throw new Error(
        `${nameOf(scope.func.name, node)}: reads ${operands[i].name}, which exists only when ${g}, in steps when ${guard ?? 'always'}`,
      );
  }
  const refresh = node.op === 'refresh';
  if (refresh) {
    const g = guards.get(operands[1]);
    if (g !== ALWAYS)
      throw new Error(`${nameOf(scope.func.name, node)}: the stored value ${operands[1].name} exists only when ${g}`);
  }
  for (let i = 0; i < results.length; i++) define(scope, results[i], refresh ? ALWAYS : guard);
}

function checkLevel(func: string, node: Node, level: GraphLevel): void {
  if (!admits(level, node.op)) {
    const why = isOpName(node.op) ? `level ${level} does not admit this op` : 'no such op';
    throw new Error(`${nameOf(func, node)}: ${why}`);
  }
  if (node.guard !== undefined && level === 'model')
    throw new Error(`${nameOf(func, node)}: level model admits no guards`);
  for (let i = 0; i < node.results.length; i++) checkOwner(func, node.results[i], level);
}

function checkAlone(func: string, node: Node): void {
  const what = (): string => nameOf(func, node);
  if (node.guard === '') throw new Error(`${what()}: its guard has no name`);
  if (node.op === 'refresh' && node.guard === undefined) throw new Error(`${what()}: refresh needs a guard`);
  checkLoc(node.loc, what);
  for (let i = 0; i < node.results.length; i++) checkValue(func, node.results[i]);
  if (node instanceof InferredNode) return;
  const [least, most] = ops[node.op].arity;
  if (node.operands.length < least || node.operands.length > most)
    throw new Error(
      `${what()}: has ${node.operands.length} operands, needs ${least === most ? least : `${least}..${most}`}`,
    );
  const inferred = inferAgain(node, what());
  if (inferred.length !== node.results.length)
    throw new Error(`${what()}: has ${node.results.length} results, the op has ${inferred.length}`);
  node.results.forEach((result, i) => {
    if (!typeEquals(result.type, inferred[i]))
      throw mistyped(result.type, inferred[i], `${func}: ${result.name} = ${node.op}`);
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
  const g = scope.guards.get(value);
  if (g === undefined) throw misread(scope, value, what);
  if (g !== ALWAYS) throw new Error(`${scope.func.name}: ${what} is ${value.name}, which exists only when ${g}`);
}

type StateTable = ReadonlyMap<string, StateEntry>;

/** Functions that are sound, each with the level and the state at which it was found so. */
const soundFunctions = new WeakMap<Func, { readonly level: GraphLevel; readonly state: StateTable }>();

function checkFunc(func: Func, level: GraphLevel, state: StateTable): void {
  const known = soundFunctions.get(func);
  if (known?.state !== state) checkState(func, state);
  if (known?.level !== level) {
    for (const v of func.inputs) checkOwner(func.name, v, level);
    for (const v of func.reads) checkOwner(func.name, v, level);
    for (let i = 0; i < func.nodes.length; i++) checkSound(func.name, func.nodes[i], level);
  }
  if (known === undefined) checkScope(func);
  if (known?.state !== state || known.level !== level) soundFunctions.set(func, { level, state });
}

function checkScope(func: Func): void {
  const names = func instanceof BuiltFunc ? undefined : new Set<string>();
  const scope: Scope = { func, names, guards: new ValueMap() };
  for (const values of [func.inputs, func.reads])
    for (let i = 0; i < values.length; i++) {
      define(scope, values[i]);
      checkValue(func.name, values[i]);
    }
  for (let i = 0; i < func.nodes.length; i++) checkReads(scope, func.nodes[i]);
  const outputs = new Set<string>();
  for (const o of func.outputs) {
    if (outputs.has(o.name)) throw new Error(`${func.name}: two outputs are named ${o.name}`);
    outputs.add(o.name);
    checkAlways(scope, o.value, `output ${o.name}`);
  }
  const updated = new Set<string>();
  for (const u of func.updates) {
    if (updated.has(u.state)) throw new Error(`${func.name}: updates state ${u.state} twice`);
    updated.add(u.state);
    checkAlways(scope, u.value, `update of ${u.state}`);
  }
}

function checkState(func: Func, state: StateTable): void {
  for (const v of func.reads) {
    const entry = state.get(v.name);
    if (!entry) throw new Error(`${func.name}: reads state ${v.name}, which is not in the state table`);
    if (!typeEquals(v.type, entry.type)) throw mistyped(v.type, entry.type, `${func.name}: state ${v.name}`);
  }
  for (const u of func.updates) {
    const entry = state.get(u.state);
    if (!entry) throw new Error(`${func.name}: updates state ${u.state}, which is not in the state table`);
    if (!typeEquals(u.value.type, entry.type))
      throw mistyped(u.value.type, entry.type, `${func.name}: update of state ${u.state}`);
    // `init` writes first values; after it, artifact state never changes.
    if (entry.lifetime === 'artifact' && func.name !== 'init')
      throw new Error(`${func.name}: updates state ${u.state}, whose lifetime is artifact`);
  }
}

/** State tables that are sound, by their entries, each with the level at which it was found so. */
const soundTables = new WeakMap<Module['state'], { readonly level: GraphLevel; readonly table: StateTable }>();

function verifyState(module: Module): StateTable {
  const known = soundTables.get(module.state);
  if (known?.level === module.level) return known.table;
  const table = new Map<string, StateEntry>();
  for (const entry of module.state) {
    const what = `state ${entry.name}`;
    if (table.has(entry.name)) throw new Error(`${what} is declared twice`);
    checkLoc(entry.loc, () => what);
    checkType(entry.type, () => what);
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
  soundTables.set(module.state, { level: module.level, table });
  return table;
}

/** Throws an Error that names the first value that breaks a rule. */
export function verifyModule(module: Module): void {
  const state = verifyState(module);
  const names = new Set<string>();
  for (const func of module.functions) {
    if (names.has(func.name)) throw new Error(`two functions are named ${func.name}`);
    names.add(func.name);
    checkFunc(func, module.level, state);
  }
}
