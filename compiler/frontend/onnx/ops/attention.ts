/**
 * Attention (ONNX opset 23) written out as products and a softmax: softmax(scale Q K^T + mask) V, heads as a batch axis. Groups
 * of query heads that share a key head get it broadcast. Sequence lengths are sizes; the batch may be open.
 */
import type { Value } from '../../../../ir/graph.js';
import { printShape } from '../../../../ir/types.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';

/** What a masked score gets: its exponential is 0, and rows without any other score stay finite. */
const MASKED = -1e30;

const size = (n: NodeImport, v: Value, axis: number): number => {
  const d = v.type.shape[axis];
  return typeof d === 'number' ? d : n.unsupported(`data of shape ${printShape(v.type.shape)}`);
};

/** [B, S, heads * d] or [B, heads, S, d] as the latter. */
function byHead(n: NodeImport, v: Value, heads: number | undefined): Value {
  const { shape } = v.type;
  if (shape.length === 4) return v;
  if (shape.length !== 3 || heads === undefined)
    n.misfit(`data of shape ${printShape(shape)} without a number of heads`);
  const width = size(n, v, 2);
  if (width % heads !== 0) n.misfit(`${heads} heads in ${width} features`);
  return n.b.transpose(n.reshape(v, [shape[0], shape[1], heads, width / heads]), [0, 2, 1, 3]);
}

/** Each head of v, repeated for the `groups` query heads that use it. */
function shared(n: NodeImport, v: Value, groups: number): Value {
  if (groups === 1) return v;
  const [batch, heads, length, width] = v.type.shape;
  const apart = n.reshape(v, [batch, heads, 1, length, width]);
  const repeated = n.b.broadcast(apart, [batch, heads, groups, length, width]);
  return n.reshape(repeated, [batch, (heads as number) * groups, length, width]);
}

/** Scores with what may not be seen far below all others. @param past positions before the first query */
function masked(n: NodeImport, scores: Value, past: number): Value {
  let out = scores;
  if (n.has(3)) {
    const mask = n.value(3);
    const last = mask.type.shape[mask.type.shape.length - 1];
    if (last !== scores.type.shape[3]) n.unsupported(`a mask of shape ${printShape(mask.type.shape)}`);
    const isBool = mask.type.dtype === 'bool';
    out = isBool ? n.op('select', [mask, out, n.scalar(MASKED)]) : n.op('add', [out, n.float(3)]);
  }
  if (!n.flag('is_causal', false)) return out;
  const [rows, columns] = [size(n, scores, 2), size(n, scores, 3)];
  const index = (shape: number[], axis: number): Value => n.op('iota', [], { shape, axis, dtype: 'i32' });
  const row = n.op('add', [index([rows, 1], 0), n.scalar(past, 'i32')]);
  return n.op('select', [n.op('less', [row, index([1, columns], 1)]), n.scalar(MASKED), out]);
}

/** softcap * tanh(scores / softcap); 0 is none. */
function capped(n: NodeImport, scores: Value): Value {
  const cap = n.number('softcap', 0);
  if (cap === 0) return scores;
  return n.op('mul', [n.op('tanh', [n.op('mul', [scores, n.scalar(1 / cap)])]), n.scalar(cap)]);
}

function attention(n: NodeImport): readonly (Value | undefined)[] {
  const heads = n.number('q_num_heads');
  const q = byHead(n, n.float(0), heads);
  n.ignoreAttributes('softmax_precision');
  const kind = n.number('qk_matmul_output_mode', 0);
  const kept = (i: number, past: number): Value => {
    const own = byHead(n, n.float(i), n.number('kv_num_heads'));
    return n.has(past) ? n.op('concat', [n.float(past), own], { axis: 2 }) : own;
  };
  const [k, v] = [kept(1, 4), kept(2, 5)];
  const [queryHeads, keyHeads] = [size(n, q, 1), size(n, k, 1)];
  if (queryHeads % keyHeads !== 0) n.misfit(`${queryHeads} query heads share ${keyHeads} key heads`);
  const groups = queryHeads / keyHeads;
  const scale = n.scalar(n.number('scale', 1 / Math.sqrt(size(n, q, 3))));
  const products = n.op('mul', [n.b.matmul(q, shared(n, k, groups), false, true, `${n.name}.scores`), scale]);
  const scores = capped(n, products);
  const past = n.has(4) ? size(n, n.float(4), 2) : 0;
  const hides = n.flag('is_causal', false) || (n.has(3) && n.value(3).type.dtype === 'bool');
  if (n.wants(3) && kind === 2 && hides) n.unsupported('its result #3 (scores of which some are hidden)');
  const seen = masked(n, scores, past);
  const weights = n.op('softmax', [seen], { axis: 3 });
  const stage = [products, scores, seen, weights][kind] ?? n.misfit(`qk_matmul_output_mode = ${kind}`);
  const y = n.b.matmul(weights, shared(n, v, groups), false, false, `${n.name}.heads`);
  if (n.shape(0).length === 4) return [y, k, v, stage];
  const rows = n.b.transpose(y, [0, 2, 1, 3]);
  const [batch, length] = rows.type.shape;
  return [n.reshape(rows, [batch, length, queryHeads * size(n, v, 3)]), k, v, stage];
}

export const attentions: Readonly<Record<string, Handler>> = {
  Attention: handler(23, attention),
};
