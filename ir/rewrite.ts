/**
 * Rebuilds a function node by node: what passes that replace nodes have in common. Values stay the same objects unless a rule
 * replaces them, so that only who reads a replaced value is made anew; where a type changes, what follows is inferred again.
 */
import { Builder, BuiltFunc, InferredNode } from './builder.js';
import { reservedName } from './diagnostics/compile.js';
import type { Attrs, Func, Module, Node, Value } from './graph.js';
import { type Loc, passLoc } from './loc.js';
import { type TensorType, typeEquals } from './types.js';
import { NumberedValue, ValueMap } from './value-map.js';

export interface NewInput {
  readonly name: string;
  readonly type: TensorType;
}

export interface Rules {
  /** Inputs added behind the function's own; nodes that have one of their names get another. */
  readonly inputs?: readonly NewInput[];
  /** New type of an input or a state read; default: as it was. */
  readonly type?: (value: Value) => TensorType;
  /** New attributes of a node that is kept. */
  readonly attrs?: (node: Node) => Attrs;
  /** Replacement results for a node, built with `b` from the already rewritten operands; undefined keeps the node. */
  readonly replace?: (node: Node, operands: readonly Value[], b: Builder) => readonly Value[] | undefined;
}

/**
 * The node over `operands`, with the names, location and guard that it had; the node itself where nothing changes, so that
 * passes share what they leave alone.
 */
export function keepNode(b: Builder, node: Node, operands: readonly Value[], attrs = node.attrs): readonly Value[] {
  if (attrs === node.attrs) {
    if (operands === node.operands && b.tryAppend(node)) return node.results;
    if (node instanceof InferredNode && operands.every((v, i) => typeEquals(v.type, node.operands[i].type)))
      return b.again(node, operands);
  }
  return b.multi(node.op, operands, { attrs, name: node.results[0].name, loc: node.loc, guard: node.guard });
}

/** Where nothing changes, the function itself. */
export function rebuild(func: Func, pass: string, rules: Rules): Func {
  // Where the host wants names, nodes give way: each is looked at anew.
  const b = rules.inputs ? new Builder(func.name, passLoc(pass)) : Builder.over(func, pass, func.name);
  /** What stands in for a value; all others stay as they are. */
  const instead = new ValueMap<Value>();
  let replaced = 0;
  const look = (v: Value): Value => instead.get(v) ?? v;
  const lookAll = (values: readonly Value[]): readonly Value[] => {
    for (let i = 0; i < values.length; i++) if (instead.get(values[i])) return values.map(look);
    return values;
  };
  const retyped = (v: Value, type: TensorType): Value =>
    typeEquals(type, v.type) ? v : new NumberedValue(v.name, type, v.loc);
  const replace = (v: Value, by: Value): void => {
    if (by === v) return;
    instead.set(v, by);
    replaced++;
  };
  const { type } = rules;
  if (type) for (const v of func.inputs) replace(v, b.adoptInput(retyped(v, type(v))));
  else b.adoptInputs(func.inputs);
  for (const v of rules.inputs ?? []) b.input(v.name, v.type, passLoc(pass));
  if (type) for (const v of func.reads) replace(v, b.adoptRead(retyped(v, type(v))));
  else b.adoptReads(func.reads);
  let loc: Loc | undefined;
  for (let n = 0; n < func.nodes.length; n++) {
    const node = func.nodes[n];
    const operands = replaced > 0 ? lookAll(node.operands) : node.operands;
    if (node.loc !== loc) b.loc = passLoc(pass, node.loc);
    loc = node.loc;
    // What stands in for a guarded node exists in the same steps.
    b.guard = node.guard;
    b.inPlaceOf(node);
    const results = rules.replace?.(node, operands, b) ?? keepNode(b, node, operands, rules.attrs?.(node));
    if (results !== node.results) for (let i = 0; i < node.results.length; i++) replace(node.results[i], results[i]);
  }
  b.guard = undefined;
  const unchanged =
    b.inputs.length === func.inputs.length &&
    replaced === 0 &&
    b.nodes.length === func.nodes.length &&
    b.nodes.every((n, i) => n === func.nodes[i]);
  if (unchanged) return func;
  const moved = <T extends { readonly value: Value }>(list: readonly T[], to: T[]): void => {
    for (let i = 0; i < list.length; i++) {
      const by = instead.get(list[i].value);
      to.push(by ? { ...list[i], value: by } : list[i]);
    }
  };
  moved(func.outputs, b.outputs);
  moved(func.updates, b.updates);
  return b.finish();
}

/** The function with some of its own inputs, reads and nodes only. */
export function withPart(func: Func, inputs: Func['inputs'], reads: Func['reads'], nodes: Func['nodes']): Func {
  const { name, outputs, updates } = func;
  // A name of a state that is not read any more may be that of its next read.
  const kept = reads.length === func.reads.length;
  return func instanceof BuiltFunc
    ? new BuiltFunc(name, inputs, reads, nodes, outputs, updates, kept ? func.takeNames() : undefined)
    : { ...func, inputs, reads, nodes };
}

export function mapFunctions(module: Module, f: (func: Func) => Func): Module {
  return { ...module, functions: module.functions.map(f) };
}

/**
 * A builder that goes on where `func` ends, with inputs that the host must find under exactly these names. An input that is
 * there already with the same type is used; what else has the name is renamed, or refused where it is the user's own name.
 */
export function extend(func: Func, pass: string, inputs: readonly NewInput[]): { b: Builder; given: readonly Value[] } {
  const missing = inputs.filter((i) => !func.inputs.some((v) => v.name === i.name && typeEquals(v.type, i.type)));
  for (const i of missing) {
    const clash = [...func.inputs, ...func.reads].find((v) => v.name === i.name);
    if (clash) throw reservedName(i.name, clash.loc);
  }
  let b = Builder.from(func, pass);
  if (!missing.every((i) => b.input(i.name, i.type).name === i.name))
    b = Builder.from(rebuild(func, pass, { inputs: missing }), pass);
  return { b, given: inputs.map((i) => b.inputs.find((v) => v.name === i.name)!) };
}
