/**
 * Ops along one axis: as products over rows, where the axis is turned to the end and all others are rows; and look-ups at places
 * that are known.
 */
import type { Value } from '../../../../ir/graph.js';
import { type Dim, dimMul } from '../../../../ir/types.js';
import { known } from '../known.js';
import type { NodeImport } from '../node-import.js';

/** `f` maps rows [R, size] to rows [R, out]; the result has `out` elements on the axis. */
export function axisRows(n: NodeImport, x: Value, axis: number, f: (rows: Value) => Value, out: number): Value {
  const { shape } = x.type;
  const last = shape.length - 1;
  const order = [...shape.keys()].filter((i) => i !== axis);
  const turned = n.b.transpose(x, [...order, axis], `${n.name}.turned`);
  const rest = order.map((i) => shape[i]);
  const count = rest.reduce<Dim>((p, d) => dimMul(p, d) ?? n.unsupported('two batch axes'), 1);
  const rows = f(n.reshape(turned, [count, shape[axis]]));
  const back = shape.map((_, i) => (i === axis ? last : order.indexOf(i)));
  return n.b.transpose(n.reshape(rows, [...rest, out]), back, `${n.name}.back`);
}

/** x's elements at known places of an axis. */
export function at(n: NodeImport, x: Value, axis: number, places: readonly number[]): Value {
  const indices = n.materialize(known('i32', [places.length], places), `${n.node.outputs[0]}.places.${axis}`);
  return n.op('gather', [x, indices], { axis });
}

/** x with an axis, which has a size, turned around. */
export function reversed(n: NodeImport, x: Value, axis: number): Value {
  const size = x.type.shape[axis] as number;
  return at(
    n,
    x,
    axis,
    Array.from({ length: size }, (_, i) => size - 1 - i),
  );
}
