/**
 * Einsum, operand by operand: what appears in one of two and is not asked for later is summed, what both have and is asked for
 * is a batch, what both have and is not is contracted. Each step is a matrix product; a product of [.., c] with one matrix is
 * one over rows, so that a weight's gradient is one product, too.
 */
import type { Value } from '../../../../ir/graph.js';
import { type Dim, dimEquals, dimMul } from '../../../../ir/types.js';
import { type Handler, handler, type NodeImport } from '../node-import.js';

interface Term {
  readonly labels: readonly string[];
  readonly value: Value;
}

/** Letters of the terms and of the result. An ellipsis becomes digits, the last axis 0, which the terms share. */
function parse(n: NodeImport, ranks: readonly number[]): { terms: string[][]; result: string[] } {
  const equation = n.text('equation', '').replaceAll(' ', '');
  const [left, right] = equation.split('->');
  const texts = left.split(',');
  if (!/^[A-Za-z.,]*(->[A-Za-z.]*)?$/.test(equation) || texts.length !== ranks.length)
    n.misfit(`equation "${equation}" of ${ranks.length} operands`);
  let most = 0;
  const terms = texts.map((text, i) => {
    const at = text.indexOf('...');
    if (at < 0) return [...text];
    const hidden = ranks[i] - (text.length - 3);
    if (hidden < 0 || hidden > 9) n.misfit(`equation "${equation}" and an operand of rank ${ranks[i]}`);
    most = Math.max(most, hidden);
    return [
      ...text.slice(0, at),
      ...Array.from({ length: hidden }, (_, k) => `${hidden - 1 - k}`),
      ...text.slice(at + 3),
    ];
  });
  const dots = Array.from({ length: most }, (_, k) => `${most - 1 - k}`);
  const once = [...new Set(terms.flat())].filter(
    (l) => /[A-Za-z]/.test(l) && terms.flat().filter((m) => m === l).length === 1,
  );
  const result =
    right === undefined
      ? [...dots, ...once.sort()]
      : right.includes('...')
        ? [...right.slice(0, right.indexOf('...')), ...dots, ...right.slice(right.indexOf('...') + 3)]
        : [...right];
  return { terms, result };
}

/** The term summed over all labels that are not in `keep`. */
function reduced(n: NodeImport, { labels, value }: Term, keep: ReadonlySet<string>): Term {
  const axes = labels.flatMap((l, i) => (keep.has(l) ? [] : [i]));
  if (axes.some((a) => typeof value.type.shape[a] !== 'number')) n.unsupported('a sum over the batch');
  return { labels: labels.filter((l) => keep.has(l)), value: n.b.sum(value, axes, false, `${n.name}.sum`) };
}

const ordered = (n: NodeImport, t: Term, labels: readonly string[]): Value =>
  n.b.transpose(
    t.value,
    labels.map((l) => t.labels.indexOf(l)),
    `${n.name}.ordered`,
  );

/** The product of two terms: [batch, rows, contracted] x [batch, contracted, columns]. */
function multiplied(n: NodeImport, x: Term, y: Term, later: ReadonlySet<string>): Term {
  const own = (t: Term, other: Term) => reduced(n, t, new Set([...later, ...other.labels]));
  const [a, b] = [own(x, y), own(y, x)];
  const shared = a.labels.filter((l) => b.labels.includes(l));
  const batch = shared.filter((l) => later.has(l));
  const contracted = shared.filter((l) => !later.has(l));
  const rows = a.labels.filter((l) => !shared.includes(l));
  const columns = b.labels.filter((l) => !shared.includes(l));
  const sizes = new Map<string, Dim>();
  for (const t of [a, b])
    t.labels.forEach((l, i) => {
      const d = t.value.type.shape[i];
      const known = sizes.get(l);
      if (known !== undefined && !dimEquals(known, d)) n.misfit(`axis ${l} has two sizes`);
      sizes.set(l, d);
    });
  const dims = (labels: readonly string[]): Dim[] => labels.map((l) => sizes.get(l)!);
  const total = (labels: readonly string[]): Dim =>
    dims(labels).reduce<Dim>((p, d) => dimMul(p, d) ?? n.unsupported('two batch axes'), 1);
  if (typeof total(contracted) !== 'number') n.unsupported('a sum over the batch');
  const lead = batch.length > 0 ? [total(batch)] : [];
  const left = n.reshape(ordered(n, a, [...batch, ...rows, ...contracted]), [...lead, total(rows), total(contracted)]);
  const right = n.reshape(ordered(n, b, [...batch, ...contracted, ...columns]), [
    ...lead,
    total(contracted),
    total(columns),
  ]);
  const product = n.b.matmul(left, right, false, false, `${n.name}.product`);
  return { labels: [...batch, ...rows, ...columns], value: n.reshape(product, dims([...batch, ...rows, ...columns])) };
}

function einsum(n: NodeImport): Value {
  const values = n.node.inputs.map((_, i) => n.float(i));
  const { terms, result } = parse(
    n,
    values.map((v) => v.type.shape.length),
  );
  const all = terms.map((labels, i): Term => {
    if (labels.length !== values[i].type.shape.length)
      n.misfit(`a term of ${labels.length} axes for an operand of ${values[i].type.shape.length}`);
    if (new Set(labels).size < labels.length) n.unsupported('a diagonal');
    return { labels, value: values[i] };
  });
  if (new Set(result).size < result.length || result.some((l) => !terms.flat().includes(l)))
    n.misfit(`result "${result.join('')}"`);
  const product = all.slice(1).reduce((acc, t, i) => {
    const later = new Set([...result, ...all.slice(i + 2).flatMap((u) => u.labels)]);
    return multiplied(n, acc, t, later);
  }, all[0]);
  return ordered(n, reduced(n, product, new Set(result)), result);
}

export const einsums: Readonly<Record<string, Handler>> = {
  Einsum: handler(12, einsum),
};
