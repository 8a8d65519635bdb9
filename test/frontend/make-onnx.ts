/**
 * Small ONNX files written by hand for the importer's tests.
 */
import onnxProto from 'onnx-proto';
import { product } from '../../ir/types.js';
import { noise } from '../nets.js';

const { onnx } = onnxProto;
type Attributes = Readonly<Record<string, number | string | readonly number[] | object>>;

const FLOAT = 1;
const INT64 = 7;

export type Dims = readonly (number | string)[];

export const valueInfo = (name: string, dims: Dims, elemType = FLOAT) => ({
  name,
  type: {
    tensorType: {
      elemType,
      shape: { dim: dims.map((d) => (typeof d === 'string' ? { dimParam: d } : { dimValue: d })) },
    },
  },
});

export const floats = (name: string, dims: readonly number[], data: readonly number[]) => ({
  name,
  dims,
  dataType: FLOAT,
  floatData: [...data],
});

/** Weights at random, uniform in [-1, 1). */
export const random = (name: string, dims: readonly number[], key: number) =>
  floats(name, dims, Array.from(noise(product(dims), key), Math.fround));

export const ints = (name: string, dims: readonly number[], data: readonly number[]) => ({
  name,
  dims,
  dataType: INT64,
  int64Data: [...data],
});

/** Whole numbers are ints, others floats; `float(1)` makes a whole number a float. */
export const float = (f: number) => ({ type: 1, f });

export function node(op: string, inputs: readonly string[], outputs: readonly string[], attributes: Attributes = {}) {
  return {
    opType: op,
    name: `${op}_${outputs[0]}`,
    input: [...inputs],
    output: [...outputs],
    attribute: Object.entries(attributes).map(([name, v]) => {
      if (typeof v === 'number') return Number.isInteger(v) ? { name, type: 2, i: v } : { name, type: 1, f: v };
      if (typeof v === 'string') return { name, type: 3, s: new TextEncoder().encode(v) };
      if (Array.isArray(v)) return { name, type: 7, ints: v };
      return 'dataType' in v ? { name, type: 4, t: v } : { name, ...v };
    }),
  };
}

export interface Graph {
  readonly nodes: readonly object[];
  readonly inputs?: readonly object[];
  readonly initializers?: readonly object[];
  readonly outputs?: readonly string[];
  readonly opset?: number;
  /** Model-local functions, FunctionProtos of domain `local`. */
  readonly functions?: readonly object[];
}

/** A graph as the branch of an If. */
export const branch = (
  name: string,
  nodes: readonly object[],
  outputs: readonly string[],
  initializers: readonly object[] = [],
) => ({
  type: 5,
  g: {
    name,
    node: nodes,
    output: outputs.map((name) => ({ name, type: { tensorType: { elemType: FLOAT } } })),
    initializer: initializers,
  },
});

export const localFunction = (
  name: string,
  inputs: readonly string[],
  outputs: readonly string[],
  nodes: readonly object[],
  attributes: readonly string[] = [],
  opset = 13,
) => ({
  name,
  domain: 'local',
  input: [...inputs],
  output: [...outputs],
  attribute: [...attributes],
  node: nodes,
  opsetImport: [
    { domain: '', version: opset },
    { domain: 'local', version: 1 },
  ],
});

/** A call of a local function. */
export const call = (...of: Parameters<typeof node>) => ({ ...node(...of), domain: 'local' });

/** One input x[N,4] and one output y unless told otherwise. */
export function onnxFile(g: Graph): Uint8Array {
  const message = {
    irVersion: 8,
    opsetImport: [{ domain: '', version: g.opset ?? 13 }, ...(g.functions ? [{ domain: 'local', version: 1 }] : [])],
    functions: g.functions ?? [],
    graph: {
      name: 'test',
      node: g.nodes,
      input: g.inputs ?? [valueInfo('x', ['N', 4])],
      output: (g.outputs ?? ['y']).map((name) => ({ name, type: { tensorType: { elemType: FLOAT } } })),
      initializer: g.initializers ?? [],
    },
  };
  return onnx.ModelProto.encode(onnx.ModelProto.fromObject(message)).finish();
}
