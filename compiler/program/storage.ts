/**
 * Decides where each value of a function lives. State updates are written straight into the state's buffer where that
 * cannot be observed too early; elsewhere the value is a transient and a copy at the end of the function moves it.
 */
import type { Func, Node, Value } from '../../ir/graph.js';
import { ops } from '../../ir/ops/table.js';
import { shapeEquals, storedBytes } from '../../ir/types.js';
import { ValueMap } from '../../ir/value-map.js';
import type { Aliases } from '../kernels/grow.js';
import type { Region } from '../kernels/region.js';

/** To be made at the end of the function. */
export interface Copy {
  readonly from: Value;
  readonly state: string;
}

export interface Storage {
  /** State entry that a region's output is written to, for those that need no transient. */
  readonly inState: ValueMap<string>;
  readonly copies: readonly Copy[];
}

type Root = (v: Value) => Value;

function readsFrom({ operands }: Node, v: Value, root: Root): boolean {
  for (let i = 0; i < operands.length; i++) if (root(operands[i]) === v) return true;
  return false;
}

/** Whether `region` may overwrite `old` with its output `fresh`: each element is read before it is written, by the same iteration. */
function inPlace(region: Region, old: Value, fresh: Value, root: Root): boolean {
  const { anchor, nodes, parts = [nodes] } = region;
  if (anchor?.op === 'damped_inverse')
    // The routine writes its result once, at the end, and `previous` only keeps what is there.
    return (
      root(anchor.operands[2]) === old &&
      anchor.results[0] === fresh &&
      nodes.every((n) => n === anchor || !readsFrom(n, old, root))
    );
  if (anchor?.op === 'shift_history') {
    // An element of all three is read before it is written, and by nobody else.
    const place = anchor.operands.findIndex((o) => root(o) === old) - 1;
    return anchor.results[place] === fresh && nodes.length === 1;
  }
  const part = onlyReader(parts, old, root);
  if (!part?.some((n) => n.results.includes(fresh))) return false;
  const before = prologueOf(part);
  if (before === undefined) return false;
  const tainted = new Set<Value>();
  for (let n = 0; n < part.length; n++) {
    const node = part[n];
    if (!readsFrom(node, old, root) && !node.operands.some((o) => tainted.has(o))) continue;
    // What is summed is read by many iterations; what follows the sum, by the one that has its result.
    if (before.has(node) || !elementwiseSame(node, old)) return false;
    tainted.add(node.results[0]);
  }
  // An iteration stores its outputs in their order, and loads an element once, before the first store that needs it.
  const reading = region.outputs.findIndex((v) => tainted.has(v));
  return reading <= region.outputs.indexOf(fresh);
}

/** The part that reads `v`; undefined where there are several. */
function onlyReader(parts: readonly (readonly Node[])[], v: Value, root: Root): readonly Node[] | undefined {
  let only: readonly Node[] | undefined;
  for (let p = 0; p < parts.length; p++)
    for (let n = 0; n < parts[p].length; n++) {
      if (!readsFrom(parts[p][n], v, root)) continue;
      if (only) return undefined;
      only = parts[p];
      break;
    }
  return only;
}

const nothing: ReadonlySet<Node> = new Set();

/** The part's reduction or contraction and all that is computed for it; undefined where its results come in no simple order. */
function prologueOf(part: readonly Node[]): ReadonlySet<Node> | undefined {
  let anchored = false;
  for (let n = 0; n < part.length; n++) {
    const { fuse } = ops[part[n].op];
    if (fuse === 'opaque') return undefined;
    if (fuse === 'reduction' || fuse === 'contraction') anchored = true;
  }
  if (!anchored) return nothing;
  const before = new Set<Node>();
  const wanted = new Set<Value>();
  for (let n = part.length - 1; n >= 0; n--) {
    const node = part[n];
    const { fuse } = ops[node.op];
    if (fuse !== 'reduction' && fuse !== 'contraction' && !node.results.some((r) => wanted.has(r))) continue;
    before.add(node);
    for (let i = 0; i < node.operands.length; i++) wanted.add(node.operands[i]);
  }
  return before;
}

const views = new Set(['reshape', 'transpose', 'broadcast', 'slice', 'concat', 'stack', 'pad', 'unpack']);

function elementwiseSame(node: Node, like: Value): boolean {
  return !views.has(node.op) && node.results.length === 1 && shapeEquals(node.results[0].type.shape, like.type.shape);
}

/** Follows aliases (reshapes, refreshes) to the value that owns the bytes. */
export function rootOf(aliasOf: Aliases): (v: Value) => Value {
  return (v) => {
    let at = v;
    for (let next = aliasOf.get(at); next; next = aliasOf.get(at)) at = next;
    return at;
  };
}

/** A region that reads a state as found. */
interface Reader {
  readonly at: number;
  readonly value: Value;
  readonly others: Reader | null;
}

/**
 * What leaves a function may not be state that it overwrites, reshaped or as it is: nothing would keep the old bytes.
 * No pass makes such a function; throws where one does.
 */
export function placeState(func: Func, regions: readonly Region[], aliasOf: Aliases): Storage {
  const root = rootOf(aliasOf);
  const producer = new ValueMap<number>();
  const reads = new Map<string, Value>();
  const readers = new ValueMap<Reader | null>();
  for (let i = 0; i < func.reads.length; i++) {
    reads.set(func.reads[i].name, func.reads[i]);
    readers.set(func.reads[i], null);
  }
  for (let at = 0; at < regions.length; at++) {
    const { inputs, outputs } = regions[at];
    for (let i = 0; i < outputs.length; i++) producer.set(outputs[i], at);
    for (let i = 0; i < inputs.length; i++) {
      const stored = root(inputs[i]);
      const others = readers.get(stored);
      if (others !== undefined) readers.set(stored, { at, value: inputs[i], others });
    }
  }
  const inState = new ValueMap<string>();
  const overwritten = new Set<string>();
  const copies: Copy[] = [];
  const refreshes = func.nodes.filter((n) => n.op === 'refresh');
  const refreshed = new Set(refreshes.map((n) => n.results[0]));

  /** Whether reading `v` means the state after its refresh: its aliases lead through a refresh node. */
  const isRefreshed = (v: Value): boolean => {
    for (let at: Value | undefined = v; at; at = aliasOf.get(at)) if (refreshed.has(at)) return true;
    return false;
  };

  /** Whether somebody reads `old` behind the region that writes `fresh`, or in a place of it where it is gone. */
  const isObserved = (old: Value, fresh: Value, writer: number): boolean => {
    for (let r = readers.get(old); r; r = r.others)
      if (r.at >= writer && !isRefreshed(r.value))
        if (r.at > writer || !inPlace(regions[writer], old, fresh, root)) return true;
    return false;
  };

  /** Lets `fresh` be written straight to the state's buffer, if nobody can see it too early. */
  const place = (fresh: Value, state: string): boolean => {
    const old = reads.get(state);
    const writer = producer.get(fresh);
    if (writer === undefined || inState.has(fresh)) return false;
    if (old && (storedBytes(old.type) !== storedBytes(fresh.type) || isObserved(old, fresh, writer))) return false;
    inState.set(fresh, state);
    overwritten.add(state);
    return true;
  };

  for (const node of refreshes) {
    const stored = root(node.operands[1]);
    if (!readers.has(stored)) throw new Error(`refresh of ${stored.name}, which is not state`);
    // A copy at the end would come too late for those who read the refreshed state in this function.
    if (!place(root(node.operands[0]), stored.name))
      throw new Error(`${func.name}: ${stored.name} is read after its refresh both as it was and as it is`);
  }
  for (const { state, value } of func.updates) {
    const from = root(value);
    if (from === reads.get(state) || place(from, state)) continue;
    copies.push({ from, state });
    overwritten.add(state);
  }
  /** What is called `name` behind the function, and is `value`. */
  const check = (name: string, value: Value): void => {
    const stored = root(value);
    if (readers.has(stored) && stored.name !== name && overwritten.has(stored.name) && !isRefreshed(value))
      throw new Error(`${func.name}: ${name} is ${stored.name} as it was, which the function overwrites`);
  };
  for (const { name, value } of func.outputs) check(name, value);
  for (const { state, value } of func.updates) check(state, value);
  return { inState, copies };
}
