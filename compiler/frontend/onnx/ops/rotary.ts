/**
 * RotaryEmbedding (ONNX opset 23): pairs of features of each head turned by the angle of their position.
 */
import type { Value } from '../../../../ir/graph.js';
import { printShape } from '../../../../ir/types.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';

/** Every second feature, from `start` on. */
const everySecond = (n: NodeImport, x: Value, start: number): Value => {
  const { shape } = x.type;
  const last = shape.length - 1;
  const attrs = {
    starts: shape.map((_, i) => (i === last ? start : 0)),
    ends: shape.map((d) => (typeof d === 'number' ? d : -1)),
    steps: shape.map((_, i) => (i === last ? 2 : 1)),
  };
  return n.op('slice', [x], attrs);
};

function rotaryEmbedding(n: NodeImport): Value {
  const x = n.float(0);
  const { shape } = x.type;
  const heads = n.number('num_heads', 0);
  // [B, S, heads, d]
  let rows: Value;
  if (shape.length === 4) rows = n.b.transpose(x, [0, 2, 1, 3], `${n.name}.turned`);
  else if (shape.length === 3 && heads > 0 && (shape[2] as number) % heads === 0)
    rows = n.reshape(x, [shape[0], shape[1], heads, (shape[2] as number) / heads]);
  else return n.misfit(`data of shape ${printShape(shape)} in ${heads} heads`);
  const width = rows.type.shape[3] as number;
  const turned = n.number('rotary_embedding_dim', 0) || width;
  if (!(turned > 0 && turned <= width && turned % 2 === 0)) n.misfit(`${turned} of ${width} features`);
  const interleaved = n.flag('interleaved', false);

  /** [B, S, 1, d / 2] of a table by position, or of one for each place. */
  const angles = (i: number): Value => {
    const table = n.float(i);
    const own = n.has(3) ? n.op('gather', [table, n.value(3)], { axis: 0 }) : table;
    const [batch, length, half] = own.type.shape;
    if (own.type.shape.length !== 3 || half !== turned / 2)
      n.misfit(`a table of shape ${printShape(table.type.shape)}`);
    return n.reshape(own, [batch, length, 1, half]);
  };
  const [cos, sin] = [angles(1), angles(2)];
  const part = (from: number, to: number): Value =>
    from === 0 && to === width ? rows : n.b.sliceAxis(rows, 3, from, to, `${n.name}.part`);
  const all = part(0, turned);
  const [a, b] = interleaved
    ? [everySecond(n, all, 0), everySecond(n, all, 1)]
    : [part(0, turned / 2), part(turned / 2, turned)];
  const real = n.op('sub', [n.op('mul', [cos, a]), n.op('mul', [sin, b])]);
  const imaginary = n.op('add', [n.op('mul', [sin, a]), n.op('mul', [cos, b])]);
  const [batch, length] = rows.type.shape;
  const count = rows.type.shape[2];
  const pairs = interleaved
    ? n.reshape(
        n.op(
          'concat',
          [real, imaginary].map((v) => n.reshape(v, [batch, length, count, turned / 2, 1])),
          { axis: 4 },
        ),
        [batch, length, count, turned],
      )
    : n.op('concat', [real, imaginary], { axis: 3 });
  const whole = turned === width ? pairs : n.op('concat', [pairs, part(turned, width)], { axis: 3 });
  return shape.length === 4 ? n.b.transpose(whole, [0, 2, 1, 3], n.name) : n.reshape(whole, shape);
}

export const rotary: Readonly<Record<string, Handler>> = {
  RotaryEmbedding: handler(23, rotaryEmbedding),
};
