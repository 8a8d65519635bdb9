/**
 * Mutants of ONNX files: bytes that were damaged, and models that say something else than their author meant. The same seed
 * gives the same mutant.
 */
import onnxProto from 'onnx-proto';
import type { Rng } from '../fuzz/rng.js';

const { onnx } = onnxProto;
// The protobuf's classes, whose fields a mutation sets to what their types forbid.
// biome-ignore lint/suspicious/noExplicitAny: that is what a mutation is
type Any = any;

const numbers = [
  0,
  1,
  -1,
  2,
  3,
  7,
  64,
  255,
  65536,
  1e6,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 40,
  2 ** 53,
  -(2 ** 31),
  -(2 ** 62),
];
const names = [
  ...[
    '',
    ' ',
    '../../escape',
    '/etc/passwd',
    '__proto__',
    'constructor',
    'toString',
    'a\0b',
    'ä"\n\\',
    'x'.repeat(5000),
  ],
  ...['metrics', 'loss', 'valid', 'lr', 'target', 'rng', 'train', 'window.0', 'x', 'y', 'con', "w'", '%s'],
];
const ops = [
  ...['Add', 'MatMul', 'Gemm', 'Conv', 'ConvTranspose', 'Relu', 'Softmax', 'Reshape', 'Transpose', 'Flatten', 'Concat'],
  ...[
    'Gather',
    'Slice',
    'Split',
    'Squeeze',
    'Unsqueeze',
    'Expand',
    'Shape',
    'Constant',
    'ConstantOfShape',
    'If',
    'Loop',
  ],
  ...['Scan', 'LSTM', 'Dropout', 'BatchNormalization', 'LayerNormalization', 'MaxPool', 'AveragePool', 'ReduceMean'],
  ...[
    'Einsum',
    'Pow',
    'Cast',
    'Identity',
    'Pad',
    'Resize',
    'Tile',
    'Where',
    'Range',
    'CumSum',
    'Attention',
    'Nonsense',
  ],
  ...[
    'GlobalAveragePool',
    'ReduceSum',
    'LogSoftmax',
    'SoftmaxCrossEntropyLoss',
    'Clip',
    'Gelu',
    'TopK',
    'OneHot',
    'LRN',
  ],
];
const paths = [
  '../secret',
  '/etc/passwd',
  'secret',
  '',
  '.',
  '..',
  'a/../../b',
  'w\0',
  'C:\\w',
  'model.onnx',
  '\\\\host\\w',
];

/** A list's element; undefined where it is empty. */
const some = (r: Rng, list: Any): Any => (list?.length ? list[r.int(0, list.length - 1)] : undefined);
const at = (r: Rng, list: Any): number => r.int(0, Math.max(0, list.length - 1));

type Mutation = (g: Any, r: Rng, model: Any) => void;

const valuesOf = (g: Any): string[] => [
  ...g.node.flatMap((n: Any) => [...n.output, ...n.input]),
  ...g.initializer.map((t: Any) => t.name),
  ...g.input.map((v: Any) => v.name),
];
const anyName = (g: Any, r: Rng): string => (r.chance(0.75) ? (some(r, valuesOf(g)) ?? '') : r.pick(names));

const nodeMutations: Mutation[] = [
  (g, r) => g.node.splice(at(r, g.node), r.int(1, 3)),
  (g, r) => g.node.push(some(r, g.node)),
  (g, r) => {
    const n = onnx.NodeProto.fromObject(onnx.NodeProto.toObject(some(r, g.node)));
    n.output = n.output.map((o: string) => `${o}.copy`);
    g.node.splice(at(r, g.node), 0, n);
  },
  (g) => g.node.reverse(),
  (g, r) => g.node.splice(at(r, g.node), 0, ...g.node.splice(at(r, g.node), 1)),
  (g, r) => (some(r, g.node).opType = r.pick(ops)),
  (g, r) => (some(r, g.node).domain = r.pick(['', 'ai.onnx', 'ai.onnx.ml', 'com.microsoft', 'local', '__proto__'])),
  (g, r) => (some(r, g.node).name = r.pick(names)),
  (g, r) => {
    const n = some(r, g.node);
    n.input[at(r, n.input)] = anyName(g, r);
  },
  (g, r) => {
    // Often a cycle.
    const n = some(r, g.node);
    n.input[at(r, n.input)] = some(r, some(r, g.node).output) ?? '';
  },
  (g, r) => some(r, g.node).input.pop(),
  (g, r) => some(r, g.node).input.push(anyName(g, r)),
  (g, r) => some(r, g.node).input.reverse(),
  (g, r) => {
    const n = some(r, g.node);
    n.output[at(r, n.output)] = anyName(g, r);
  },
  (g, r) => some(r, g.node).output.push(anyName(g, r)),
  (g, r) => some(r, g.node).output.pop(),
];

const attributeMutations: Mutation[] = [
  (g, r) => {
    const { attribute } = some(r, g.node);
    attribute.splice(at(r, attribute), 1);
  },
  (g, r) => {
    const n = some(r, g.node);
    const a = some(r, some(r, g.node).attribute);
    if (a) n.attribute.push(a);
  },
  (g, r) => withAttribute(g, r, (a) => (a.type = r.int(0, 15))),
  (g, r) => withAttribute(g, r, (a) => (a.name = r.pick(['axis', 'axes', 'perm', 'kernel_shape', 'to', ...names]))),
  (g, r) => withAttribute(g, r, (a) => (a.i = r.pick(numbers))),
  (g, r) => withAttribute(g, r, (a) => (a.f = r.pick([...numbers, Number.NaN, Number.POSITIVE_INFINITY, 1e-45]))),
  (g, r) => withAttribute(g, r, (a) => (a.s = new TextEncoder().encode(r.pick([...names, 'SAME_UPPER', 'VALID'])))),
  (g, r) =>
    withAttribute(g, r, (a) => {
      if (a.ints?.length) a.ints[at(r, a.ints)] = r.pick(numbers);
      else a.ints = [r.pick(numbers)];
    }),
  (g, r) => withAttribute(g, r, (a) => (a.ints = r.list(0, 9, () => r.pick(numbers)))),
  (g, r) => withAttribute(g, r, (a) => a.t && changeTensor(a.t, r)),
];

function withAttribute(g: Any, r: Rng, change: (a: Any) => void): void {
  const nodes = g.node.filter((n: Any) => n.attribute.length > 0);
  const a = some(r, some(r, nodes)?.attribute);
  if (a) change(a);
}

function changeTensor(t: Any, r: Rng): void {
  const i = at(r, t.dims);
  r.pick([
    () => (t.dims[i] = r.pick(numbers)),
    () => t.dims.push(r.pick(numbers)),
    () => t.dims.pop(),
    () => t.dims.reverse(),
    () => (t.dataType = r.int(0, 26)),
    () => (t.rawData = r.chance(0.5) ? t.rawData.slice(0, t.rawData.length / 2) : new Uint8Array(r.int(0, 64))),
    () => (t.floatData = r.list(0, 5, () => r.pick([Number.NaN, Number.POSITIVE_INFINITY, 0, 1]))),
    () => (t.int64Data = r.list(0, 5, () => r.pick(numbers))),
    () => (t.name = r.pick(names)),
    () => {
      t.dataLocation = 1;
      t.rawData = new Uint8Array();
      t.externalData = [
        { key: 'location', value: r.pick(paths) },
        { key: 'offset', value: String(r.pick(numbers)) },
        { key: 'length', value: String(r.pick([...numbers, 'x'])) },
      ].slice(0, r.int(0, 3));
    },
    () => (t.segment = { begin: 0, end: 5 }),
  ])();
}

function set(where: Any, key: string, value: Any): void {
  if (where) where[key] = value;
}

function setAny(r: Rng, list: Any, value: Any): void {
  if (list.length > 0) list[at(r, list)] = value;
}

function changeValue(v: Any, r: Rng): void {
  const type = v.type?.tensorType;
  const dim = type?.shape?.dim ?? [];
  r.pick([
    () => (v.name = r.pick(names)),
    () => (v.type = undefined),
    () => set(type, 'elemType', r.int(0, 26)),
    () => set(type, 'shape', undefined),
    () => setAny(r, dim, { dimValue: r.pick(numbers) }),
    () => setAny(r, dim, { dimParam: r.pick(['N', 'batch', 'sequence', ...names]) }),
    () => setAny(r, dim, {}),
    () => dim.push({ dimValue: r.pick(numbers) }),
    () => dim.pop(),
    () => dim.reverse(),
  ])();
}

const graphMutations: Mutation[] = [
  (g, r) => g.initializer.length && changeTensor(some(r, g.initializer), r),
  (g, r) => g.initializer.length && changeTensor(some(r, g.initializer), r),
  (g, r) => g.initializer.splice(at(r, g.initializer), 1),
  (g, r) => g.initializer.length && g.initializer.push(some(r, g.initializer)),
  (g, r) => g.input.length && changeValue(some(r, g.input), r),
  (g, r) => g.input.length && changeValue(some(r, g.input), r),
  (g, r) => g.input.splice(at(r, g.input), 1),
  (g, r) => g.input.length && g.input.push(some(r, g.input)),
  (g, r) => g.output.length && changeValue(some(r, g.output), r),
  (g, r) => g.output.splice(at(r, g.output), 1),
  (g, r) => g.output.length && g.output.push(some(r, g.output)),
  (g, r) => {
    // The same name everywhere: consistent, but not a usual one.
    const [from, to] = [some(r, valuesOf(g)) ?? '', r.pick(names)];
    const now = (n: string): string => (n === from ? to : n);
    for (const n of g.node) {
      n.input = n.input.map(now);
      n.output = n.output.map(now);
    }
    for (const v of [...g.initializer, ...g.input, ...g.output]) v.name = now(v.name);
  },
  (g, r) => (g.name = r.pick(names)),
];

const modelMutations: Mutation[] = [
  (_, r, m) => (m.opsetImport = [{ domain: '', version: r.pick([...numbers, 6, 8, 9, 11, 13, 17, 18, 21, 25, 26]) }]),
  (_, r, m) => m.opsetImport.push({ domain: r.pick(['', 'ai.onnx', 'local', 'x']), version: r.pick(numbers) }),
  (_, __, m) => (m.opsetImport = []),
  (_, r, m) => (m.irVersion = r.pick(numbers)),
  (g, r) => {
    // A node in the branch of an If, nested.
    const n = some(r, g.node);
    let inner: Any = {
      name: 'b',
      node: [onnx.NodeProto.toObject(n)],
      output: n.output.map((name: string) => ({ name })),
    };
    for (let depth = r.pick([1, 1, 2, 40]); depth > 0; depth--) {
      const branch = inner;
      const both = ['then_branch', 'else_branch'].map((name) => ({ name, type: 5, g: branch }));
      const outer = {
        opType: r.pick(['If', 'If', 'Loop', 'Scan']),
        input: ['cond'],
        output: n.output,
        attribute: both,
      };
      // Twice as large with each level otherwise.
      if (depth > 3) outer.attribute.pop();
      inner = { name: 'b', node: [outer], output: branch.output };
    }
    g.node[g.node.indexOf(n)] = onnx.NodeProto.fromObject(inner.node[0]);
    if (r.chance(0.8))
      g.initializer.push(
        onnx.TensorProto.fromObject({ name: 'cond', dims: [], dataType: 9, rawData: new Uint8Array([r.int(0, 1)]) }),
      );
  },
  (g, r, m) => {
    // A node as a call of a local function, which may call itself.
    const n = some(r, g.node);
    const body = onnx.NodeProto.toObject(n);
    const version = m.opsetImport[0]?.version ?? 13;
    const f = {
      name: r.pick(['f', n.opType, '']),
      domain: 'local',
      input: r.chance(0.8) ? n.input : [],
      output: n.output,
      node: r.chance(0.2) ? [{ ...body, opType: 'f', domain: 'local' }] : [body],
      opsetImport: [
        { domain: '', version },
        { domain: 'local', version: 1 },
      ],
    };
    m.functions = [onnx.FunctionProto.fromObject(f)];
    if (r.chance(0.1)) m.functions.push(m.functions[0]);
    m.opsetImport.push({ domain: 'local', version: 1 });
    Object.assign(n, { opType: f.name, domain: 'local', attribute: r.chance(0.5) ? [] : n.attribute });
  },
];

function changedModel(bytes: Uint8Array, r: Rng): Uint8Array {
  const model: Any = onnx.ModelProto.decode(bytes);
  const kinds = [nodeMutations, nodeMutations, attributeMutations, graphMutations, graphMutations, modelMutations];
  for (let n = r.pick([1, 1, 1, 2, 4]); n > 0; n--)
    if (model.graph.node.length > 0) r.pick(r.pick(kinds))(model.graph, r, model);
  return onnx.ModelProto.encode(model).finish();
}

/** Damage that knows nothing of what the bytes mean. */
export function damaged(bytes: Uint8Array, other: Uint8Array, r: Rng): Uint8Array {
  const place = (): number => r.int(0, Math.max(0, bytes.length - 1));
  const out = new Uint8Array(bytes);
  switch (r.int(0, 6)) {
    case 0:
    case 1:
      for (let n = r.int(1, 12); n > 0 && out.length > 0; n--) out[place()] ^= 1 << r.int(0, 7);
      return out;
    case 2:
      for (let n = r.int(1, 8); n > 0 && out.length > 0; n--) out[place()] = r.pick([0, 1, 127, 128, 255]);
      return out;
    case 3:
      return out.subarray(0, place());
    case 4: {
      const tail = other.subarray(r.int(0, Math.max(0, other.length - 1)));
      return new Uint8Array(Buffer.concat([out.subarray(0, place()), tail]));
    }
    case 5: {
      const [from, count, to] = [place(), r.int(1, 64), place()];
      out.copyWithin(to, from, from + count);
      return out;
    }
    default: {
      const extra = Uint8Array.from({ length: r.int(1, 40) }, () => r.int(0, 255));
      const at = place();
      return new Uint8Array(Buffer.concat([out.subarray(0, at), extra, out.subarray(at)]));
    }
  }
}

/** A mutant of `bytes`; a splice takes the rest from `other`. */
export function mutateOnnx(bytes: Uint8Array, other: Uint8Array, r: Rng): Uint8Array {
  return r.chance(0.3) ? damaged(bytes, other, r) : changedModel(bytes, r);
}
