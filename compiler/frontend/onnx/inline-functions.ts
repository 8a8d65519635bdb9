/**
 * Model-local functions put in place of their calls, functions that call functions too. Attributes that a body refers to come
 * from the call, or from the function's defaults. What is left is a model without functions.
 */
import { badFunction } from '../../../ir/diagnostics/onnx.js';
import type { Loc } from '../../../ir/loc.js';
import type { ModelProto, NodeProto } from './decode.js';
import type { FunctionFields } from './function-fields.js';
import { type GraphProto, mapGraphs, Names, renamed } from './subgraphs.js';
import { toNumber } from './tensor-data.js';

type FunctionProto = NonNullable<ModelProto['functions']>[number];
type AttributeProto = NonNullable<NodeProto['attribute']>[number];

interface LocalFunction {
  readonly name: string;
  readonly proto: FunctionProto;
  readonly defaults: readonly AttributeProto[];
}

/** Functions that call each other twice grow without bound: more nodes than any model has are refused. */
const MOST_NODES = 200_000;
const DEEPEST = 100;

const standard = (domain: string | null | undefined): string => (domain === 'ai.onnx' ? '' : (domain ?? ''));
const keyOf = (domain: string | null | undefined, name: string | null | undefined): string =>
  `${standard(domain)}::${name}`;
const locOf = (n: NodeProto): Loc => ({ kind: 'onnx', node: n.name ?? '', op: n.opType ?? '' });

/** @throws UserError E117 where a call cannot be replaced by its function's body */
export function inlineFunctions(model: ModelProto, fields: readonly FunctionFields[], file: string): ModelProto {
  if (!model.functions?.length) return model;
  const versionOf = (imports: ModelProto['opsetImport']): number | undefined => {
    const own = (imports ?? []).find((o) => standard(o.domain) === '');
    return own && toNumber(own.version);
  };
  const version = versionOf(model.opsetImport);
  const functions = new Map<string, LocalFunction>();
  model.functions.forEach((proto, i) => {
    const key = keyOf(proto.domain, proto.name);
    const name = key.replace(/^::/, '');
    if (functions.has(key) || fields[i]?.overload) throw badFunction(name, 'it is overloaded', file);
    functions.set(key, { name, proto, defaults: fields[i]?.defaults ?? [] });
  });

  const names = new Names(model.graph!);
  let count = 0;
  const called: LocalFunction[] = [];

  /** The nodes that stand for `n`. */
  const expand = (n: NodeProto): NodeProto[] => {
    if (++count > MOST_NODES) throw badFunction(called[0]?.name ?? '', 'it grows without bound', file);
    const f = functions.get(keyOf(n.domain, n.opType));
    if (!f) return [{ ...n, attribute: (n.attribute ?? []).map((a) => mapGraphs(a, inGraph)) }];
    if (called.includes(f)) throw badFunction(f.name, 'it calls itself', locOf(n));
    const own = versionOf(f.proto.opsetImport);
    if (own !== undefined && own !== version)
      throw badFunction(f.name, `it is written for opset ${own}, the model for ${version}`, locOf(n));
    if ((n.input ?? []).length > (f.proto.input ?? []).length)
      throw badFunction(f.name, `it is called with ${n.input!.length} inputs`, locOf(n));
    if (called.length === DEEPEST) throw badFunction(f.name, `it is called ${DEEPEST} functions deep`, locOf(n));
    called.push(f);
    const body = bodyFor(n, f).flatMap(expand);
    called.pop();
    return body;
  };
  const inGraph = (g: GraphProto): GraphProto => ({ ...g, node: (g.node ?? []).flatMap(expand) });

  /** The body of `f` with the values and attributes of the call `n`. */
  const bodyFor = (n: NodeProto, f: LocalFunction): NodeProto[] => {
    const prefix = n.name || n.output?.find((o) => o !== '') || f.proto.name || '';
    const values = new Map<string, string>();
    (f.proto.input ?? []).forEach((name, i) => {
      values.set(name, n.input?.[i] ?? '');
    });
    const passed: NodeProto[] = [];
    (f.proto.output ?? []).forEach((name, i) => {
      const output = n.output?.[i] || '';
      // An input that is given back, or one result under two names.
      if (output !== '' && values.has(name)) passed.push({ opType: 'Identity', input: [name], output: [output] });
      else values.set(name, output || names.fresh(`${prefix}/${name}`));
    });
    const rename = (value: string): string => {
      let own = values.get(value);
      if (own === undefined) {
        own = names.fresh(`${prefix}/${value}`);
        values.set(value, own);
      }
      return own;
    };
    const nodes = (f.proto.node ?? []).map((inner, i) =>
      renamed(
        { ...inner, name: inner.name || `${inner.opType}_${i}`, attribute: withAttributes(inner, n, f) },
        `${prefix}/`,
        rename,
        (value) => names.fresh(`${prefix}/${value}`),
      ),
    );
    return [...nodes, ...passed.map((p) => ({ ...p, name: `${prefix}/${p.output![0]}`, input: p.input!.map(rename) }))];
  };

  const graph = inGraph(model.graph!);
  return { ...model, graph, functions: [] };
}

/** Attributes of a node of the body, in its graphs too, with references replaced by what they refer to. */
function withAttributes(inner: NodeProto, call: NodeProto, f: LocalFunction): AttributeProto[] {
  return (inner.attribute ?? []).flatMap((a): AttributeProto[] => {
    if (!a.refAttrName)
      return [
        mapGraphs(a, (g) => ({
          ...g,
          node: (g.node ?? []).map((m) => ({ ...m, attribute: withAttributes(m, call, f) })),
        })),
      ];
    const of = (list: readonly AttributeProto[] | null | undefined): AttributeProto | undefined =>
      list?.find((b) => b.name === a.refAttrName);
    const given = of(call.attribute) ?? of(f.defaults);
    // An attribute that nobody gives is absent.
    return given ? [{ ...given, name: a.name }] : [];
  });
}
