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
  readonly inState: ReadonlyMap<Value, string>;
  readonly copies: readonly Copy[];
}

/** Whether `region` may overwrite `old` with its output `fresh`: each element is read before it is written, by the same iteration. */
function inPlace(region: Region, old: Value, fresh: Value, root: (v: Value) => Value): boolean {
  const { anchor } = region;
  if (anchor?.op === 'damped_inverse')
    // The routine writes its result once, at the end, and `previous` only keeps what is there.
    return (
      root(anchor.operands[2]) === old &&
      anchor.results[0] === fresh &&
      region.nodes.every((n) => n === anchor || n.operands.every((o) => root(o) !== old))
    );
  if (anchor?.op === 'shift_history') {
    // An element of all three is read before it is written, and by nobody else.
    const place = anchor.operands.findIndex((o) => root(o) === old) - 1;
    return anchor.results[place] === fresh && region.nodes.length === 1;
  }
  const parts = region.parts ?? [region.nodes];
  const touching = parts.filter((part) => part.some((n) => n.operands.some((o) => root(o) === old)));
  if (touching.length !== 1 || !touching[0].some((n) => n.results.includes(fresh))) return false;
  const [part] = touching;
  const before = prologueOf(part);
  if (before === undefined) return false;
  const tainted = new Set<Value>();
  for (const node of part) {
    if (!node.operands.some((o) => root(o) === old || tainted.has(o))) continue;
    // What is summed is read by many iterations; what follows the sum, by the one that has its result.
    if (before.has(node) || !elementwiseSame(node, old)) return false;
    for (const r of node.results) tainted.add(r);
  }
  // An iteration stores its outputs in their order, and loads an element once, before the first store that needs it.
  const reading = region.outputs.findIndex((v) => tainted.has(v));
  return reading <= region.outputs.indexOf(fresh);
}

const kindsOfAnchors: ReadonlySet<string> = new Set(['reduction', 'contraction', 'opaque']);
const nothing: ReadonlySet<Node> = new Set();

/** The part's reduction or contraction and all that is computed for it; undefined where its results come in no simple order. */
function prologueOf(part: readonly Node[]): ReadonlySet<Node> | undefined {
  const anchors = part.filter((n) => kindsOfAnchors.has(ops[n.op].fuse));
  if (anchors.length === 0) return nothing;
  const before = new Set<Node>();
  if (anchors.some((n) => ops[n.op].fuse === 'opaque')) return undefined;
  const wanted = new Set<Value>(anchors.flatMap((n) => n.results));
  for (const node of [...part].reverse())
    if (node.results.some((r) => wanted.has(r))) {
      before.add(node);
      for (const o of node.operands) wanted.add(o);
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

/**
 * What leaves a function may not be state that it overwrites, reshaped or as it is: nothing would keep the old bytes.
 * No pass makes such a function; throws where one does.
 */
export function placeState(func: Func, regions: readonly Region[], aliasOf: Aliases): Storage {
  const root = rootOf(aliasOf);
  const producer = new ValueMap<number>();
  /** Of state as found. */
  const readers = new ValueMap<{ at: number; value: Value }[]>();
  for (const v of func.reads) readers.set(v, []);
  for (let at = 0; at < regions.length; at++) {
    const { inputs, outputs } = regions[at];
    for (let i = 0; i < outputs.length; i++) producer.set(outputs[i], at);
    for (let i = 0; i < inputs.length; i++) readers.get(root(inputs[i]))?.push({ at, value: inputs[i] });
  }
  const reads = new Map(func.reads.map((v) => [v.name, v]));
  const inState = new Map<Value, string>();
  const copies: Copy[] = [];
  const refreshes = func.nodes.filter((n) => n.op === 'refresh');
  const refreshed = new Set(refreshes.map((n) => n.results[0]));

  /** Whether reading `v` means the state after its refresh: its aliases lead through a refresh node. */
  const isRefreshed = (v: Value): boolean => {
    for (let at: Value | undefined = v; at; at = aliasOf.get(at)) if (refreshed.has(at)) return true;
    return false;
  };

  /** Lets `fresh` be written straight to the state's buffer, if nobody can see it too early. */
  const place = (fresh: Value, state: string): boolean => {
    const old = reads.get(state);
    const at = producer.get(fresh);
    const fits = at !== undefined && !inState.has(fresh);
    const observed =
      old !== undefined &&
      at !== undefined &&
      readers.get(old)!.some((r) => {
        if (r.at < at || isRefreshed(r.value)) return false;
        return r.at > at || !inPlace(regions[at], old, fresh, root);
      });
    const sameSize = old === undefined || storedBytes(old.type) === storedBytes(fresh.type);
    if (!fits || observed || !sameSize) return false;
    inState.set(fresh, state);
    return true;
  };

  for (const node of refreshes) {
    const stored = root(node.operands[1]);
    if (reads.get(stored.name) !== stored) throw new Error(`refresh of ${stored.name}, which is not state`);
    // A copy at the end would come too late for those who read the refreshed state in this function.
    if (!place(root(node.operands[0]), stored.name))
      throw new Error(`${func.name}: ${stored.name} is read after its refresh both as it was and as it is`);
  }
  for (const update of func.updates) {
    const value = root(update.value);
    if (value !== reads.get(update.state) && !place(value, update.state))
      copies.push({ from: value, state: update.state });
  }
  const overwritten = new Set([...inState.values(), ...copies.map((c) => c.state)]);
  const leaving = [...func.outputs, ...func.updates.map(({ state, value }) => ({ name: state, value }))];
  for (const { name, value } of leaving) {
    const stored = root(value);
    if (
      reads.get(stored.name) === stored &&
      stored.name !== name &&
      overwritten.has(stored.name) &&
      !isRefreshed(value)
    )
      throw new Error(`${func.name}: ${name} is ${stored.name} as it was, which the function overwrites`);
  }
  return { inState, copies };
}
