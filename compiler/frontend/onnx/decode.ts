/**
 * A model -> its checked, plain form: nodes with typed attributes, initializers, inputs and outputs with shapes. What
 * the protobuf leaves open (absent fields, Long integers) is settled here; no other file reads the protobuf but the template.
 */
import onnxProto from 'onnx-proto';
import { brokenGraph, definedTwice, notOnnx, unsupportedType } from '../../../ir/diagnostics/onnx.js';
import type { Loc } from '../../../ir/loc.js';
import type { DType } from '../../../ir/types.js';
import type { OpenExternal } from './external-data.js';
import { nestedTooDeep } from './subgraphs.js';
import { elementType, type OnnxTensor, readTensor, toNumber } from './tensor-data.js';

const { onnx } = onnxProto;
export type ModelProto = onnxProto.onnx.IModelProto;
export type NodeProto = onnxProto.onnx.INodeProto;
type ValueInfoProto = onnxProto.onnx.IValueInfoProto;

export type Attribute = number | string | readonly number[] | readonly string[] | OnnxTensor | { readonly graph: true };

export interface OnnxNode {
  readonly name: string;
  readonly index: number;
  readonly op: string;
  /** '' is ai.onnx. */
  readonly domain: string;
  /** An absent optional input or output has the name ''. Inputs may be rewired by the classification of weights. */
  inputs: string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, Attribute>;
  readonly loc: Loc;
  readonly proto: NodeProto;
}

/** A graph input or output. A dimension is a size, or a name ('' where it has none) that is open. */
export interface OnnxValue {
  readonly name: string;
  readonly dtype: DType;
  readonly stored: string;
  readonly dims?: readonly (number | string)[];
}

export interface OnnxModel {
  readonly proto: ModelProto;
  /** Version of ai.onnx. */
  readonly opset: number;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: ReadonlyMap<string, OnnxTensor>;
  /** Graph inputs that are no initializers. */
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly string[];
}

/**
 * @param open opens the files of external data
 * @throws UserError E101 where the bytes are no ONNX model, E102-E106 and E114 where they break its rules
 */
export function decode(bytes: Uint8Array, file: string, open?: OpenExternal): OnnxModel {
  return decodeProto(parse(bytes, file), file, open);
}

/** The same of what `parse` gave, or of what was made of it. */
export function decodeProto(proto: ModelProto, file: string, open?: OpenExternal): OnnxModel {
  const graph = proto.graph!;
  const initializers = new Map<string, OnnxTensor>();
  for (const t of graph.initializer ?? []) {
    const read = readTensor(t, file, open);
    if (initializers.has(read.name)) throw definedTwice(read.name, file);
    initializers.set(read.name, read);
  }
  if (graph.sparseInitializer?.length) throw brokenGraph('the model has sparse initializers', file);
  const inputs = (graph.input ?? []).filter((v) => !initializers.has(v.name ?? '')).map((v) => readValue(v, file));
  const nodes = (graph.node ?? []).map((n, index) => readNode(n, index, open));
  const defined = new Set(initializers.keys());
  const define = (name: string, where: Loc | string): void => {
    if (defined.has(name)) throw definedTwice(name, where);
    defined.add(name);
  };
  for (const v of inputs) define(v.name, file);
  for (const n of nodes) for (const o of n.outputs) if (o !== '') define(o, n.loc);
  const outputs = (graph.output ?? []).map((v) => v.name ?? '');
  if (outputs.length === 0) throw brokenGraph('the graph has no outputs', file);
  if (new Set(outputs).size < outputs.length) throw brokenGraph('two graph outputs have one name', file);
  return { proto, opset: opsetOf(proto, file), nodes, initializers, inputs, outputs };
}

/** @throws UserError E101 where the bytes are no ONNX model */
export function parse(bytes: Uint8Array, file: string): ModelProto {
  let proto: ModelProto;
  try {
    proto = onnx.ModelProto.decode(bytes);
  } catch (e) {
    throw notOnnx(file, bytes.length === 0 ? 'it is empty' : `the protobuf is broken (${(e as Error).message})`);
  }
  if (!proto.graph) throw notOnnx(file, 'it holds no graph');
  if (!proto.graph.node?.length) throw notOnnx(file, 'its graph has no nodes');
  if ([proto.graph, ...(proto.functions ?? [])].some((g) => nestedTooDeep(g.node ?? [])))
    throw brokenGraph('graphs are nested in graphs too deep', file);
  return proto;
}

/** Version of ai.onnx that the model imports. @throws UserError E102 where it imports several */
export function opsetOf(proto: ModelProto, file: string): number {
  const versions = (proto.opsetImport ?? []).filter((o) => isStandard(o.domain ?? '')).map((o) => toNumber(o.version));
  if (versions.length === 0 && !proto.opsetImport?.length) return 1;
  if (versions.length !== 1) throw brokenGraph(`the model imports ${versions.length} versions of ai.onnx`, file);
  return versions[0];
}

const isStandard = (domain: string): boolean => domain === '' || domain === 'ai.onnx';

function readValue(v: ValueInfoProto, file: string): OnnxValue {
  const name = v.name ?? '';
  const t = v.type?.tensorType;
  if (!t) throw unsupportedType(`graph input "${name}"`, v.type?.sequenceType ? 'sequence' : 'unknown', file);
  const { dtype, name: stored } = elementType(t.elemType ?? 0, `graph input "${name}"`, file);
  const dims = t.shape?.dim?.map((d) => {
    if (d.dimParam) return d.dimParam;
    const size = d.dimValue === null || d.dimValue === undefined ? 0 : toNumber(d.dimValue);
    // Exporters write 0 or -1 for a size that is open.
    return Number.isSafeInteger(size) && size > 0 ? size : '';
  });
  return { name, dtype, stored, dims };
}

function readNode(proto: NodeProto, index: number, open: OpenExternal | undefined): OnnxNode {
  const op = proto.opType ?? '';
  const name = proto.name || `#${index}`;
  const loc: Loc = { kind: 'onnx', node: name, op };
  const attributes = new Map<string, Attribute>();
  for (const a of proto.attribute ?? []) attributes.set(a.name ?? '', readAttribute(a, loc, open));
  return {
    name,
    index,
    op,
    domain: isStandard(proto.domain ?? '') ? '' : (proto.domain ?? ''),
    inputs: [...(proto.input ?? [])],
    outputs: proto.output ?? [],
    attributes,
    loc,
    proto,
  };
}

const text = (bytes: Uint8Array | null | undefined): string => new TextDecoder().decode(bytes ?? new Uint8Array());

function readAttribute(a: onnxProto.onnx.IAttributeProto, loc: Loc, open: OpenExternal | undefined): Attribute {
  switch (a.type as number) {
    case 1:
      return a.f ?? 0;
    case 2:
      return toNumber(a.i);
    case 3:
      return text(a.s);
    case 4:
      return readTensor(a.t ?? {}, `attribute ${a.name} of ${loc.kind === 'onnx' ? loc.node : ''}`, open);
    case 5:
    case 10:
      return { graph: true };
    case 6:
      return a.floats ?? [];
    case 7:
      return (a.ints ?? []).map(toNumber);
    case 8:
      return (a.strings ?? []).map(text);
    default:
      throw brokenGraph(`attribute "${a.name}" has the unknown kind ${a.type}`, loc);
  }
}
