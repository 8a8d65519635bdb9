/**
 * The graph: one type for the levels model, train and placed. A module holds named functions that share state;
 * a function is a list of nodes in an order in which they can be run; a node applies one op to values.
 * All of it is immutable: a pass returns a new module.
 */
import type { Loc } from './loc.js';
import type { OpName } from './ops/table.js';
import type { TensorType } from './types.js';
import { ValueMap } from './value-map.js';

export const graphLevels = ['model', 'train', 'placed'] as const;
export type GraphLevel = (typeof graphLevels)[number];

/** A value is defined once, by a node, as an input, or as the state that the function found. Its name is unique in the function. */
export interface Value {
  readonly name: string;
  readonly type: TensorType;
  readonly loc: Loc;
}

export type Attr = number | boolean | string | readonly number[] | readonly string[];
export type Attrs = Readonly<Record<string, Attr>>;

export interface Node {
  readonly op: OpName;
  readonly operands: readonly Value[];
  readonly attrs: Attrs;
  readonly results: readonly Value[];
  readonly loc: Loc;
  /** The node runs only in steps in which this guard is on, for example `due(conv1.weight.A)`. Only `refresh` may read its result unguarded. */
  readonly guard?: string;
}

export interface Output {
  readonly name: string;
  readonly value: Value;
}

/** What a function leaves behind: `state` holds `value` after it. State that is not named keeps its value. */
export interface StateUpdate {
  readonly state: string;
  readonly value: Value;
}

export interface Func {
  readonly name: string;
  /** What the host gives with every call: data, targets, learning rate, ... */
  readonly inputs: readonly Value[];
  /** State as found at entry, in any order; each value has the name of its entry in the module's state table. */
  readonly reads: readonly Value[];
  readonly nodes: readonly Node[];
  readonly outputs: readonly Output[];
  readonly updates: readonly StateUpdate[];
}

export type StateRole =
  | 'parameter'
  | 'constant'
  | 'velocity'
  | 'running-statistic'
  | 'factor'
  | 'inverse'
  | 'history'
  | 'accumulator'
  | 'schedule'
  | 'counter';

/**
 * One persistent tensor. Its type says dtype and packing (symmetric state is `packed-lower`).
 * `lifetime`: 'artifact' state never changes after compilation; 'training' state changes from step to step;
 * `checkpoint` says whether a checkpoint holds it (what can be recomputed need not be).
 */
export interface StateEntry {
  readonly name: string;
  readonly type: TensorType;
  readonly role: StateRole;
  /** Rank that owns the tensor once the graph is placed; 'all' while it is replicated. */
  readonly owner: 'all' | number;
  readonly lifetime: 'artifact' | 'training';
  readonly checkpoint: boolean;
  /** First value: from the weights file under the entry's own name, or a fill. */
  readonly init: { readonly kind: 'weights' } | { readonly kind: 'fill'; readonly value: number };
  /** The parameter that this state serves (velocity, factor, inverse). */
  readonly of?: string;
  readonly loc: Loc;
}

/** Data that the compiler knows: constants of the model and initial weights, by name. f32 data except for index constants. */
export interface TensorData {
  readonly type: TensorType;
  /** f32: Float32Array; i32: Int32Array; u8 and bool: Uint8Array; i64: BigInt64Array. */
  readonly data: Float32Array | Int32Array | Uint8Array | BigInt64Array;
}

/** How the parameter is trained and why: filled in by the importer, then by the curvature pass; printed by `inspect`. */
export interface ParameterReport {
  readonly name: string;
  readonly trainable: boolean;
  readonly rule: string;
  readonly why: string;
}

export interface Module {
  readonly name: string;
  readonly level: GraphLevel;
  readonly state: readonly StateEntry[];
  readonly functions: readonly Func[];
  /** Initial values of state whose init is `weights`. Not part of the text form; written to weights.safetensors. */
  readonly weights: ReadonlyMap<string, TensorData>;
  readonly parameters: readonly ParameterReport[];
}

export function findFunction(module: Module, name: string): Func {
  const f = module.functions.find((fn) => fn.name === name);
  if (!f) throw new Error(`module ${module.name} has no function ${name}`);
  return f;
}

/** The node that defines each value, for the values that a node defines. */
export function definitions(func: Pick<Func, 'nodes'>): Pick<ValueMap<Node>, 'get'> {
  const defs = new ValueMap<Node>();
  for (let i = 0; i < func.nodes.length; i++) {
    const { results } = func.nodes[i];
    for (let r = 0; r < results.length; r++) defs.set(results[r], func.nodes[i]);
  }
  return defs;
}

/** The values, and all that they are computed from. */
export function ancestors(func: Pick<Func, 'nodes'>, values: Iterable<Value>): Pick<ValueMap<true>, 'has'> {
  const found = new ValueMap<true>();
  for (const v of values) found.set(v, true);
  for (let i = func.nodes.length - 1; i >= 0; i--) {
    const { results, operands } = func.nodes[i];
    if (results.some((r) => found.has(r))) for (let k = 0; k < operands.length; k++) found.set(operands[k], true);
  }
  return found;
}

/** The nodes that read each value (a node once per operand that it takes it for). */
export function uses(func: Func): Map<Value, Node[]> {
  const map = new Map<Value, Node[]>();
  for (const node of func.nodes) {
    for (const v of node.operands) {
      const list = map.get(v);
      if (list) list.push(node);
      else map.set(v, [node]);
    }
  }
  return map;
}
