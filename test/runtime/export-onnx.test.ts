import { existsSync, readFileSync } from 'node:fs';
import onnxProto from 'onnx-proto';
import { describe, expect, it } from 'vitest';
import { tensor } from '../../ir/types.js';
import { exportOnnx } from '../../runtime/export-onnx.js';
import { userError } from './user-error.js';

const { onnx } = onnxProto;

const value = (name: string) => ({ name, type: { tensorType: { elemType: 1, shape: { dim: [{ dimParam: 'N' }] } } } });
const model = {
  irVersion: 7,
  producerName: 'a producer with a long name, so that lengths need more than one byte: '.repeat(4),
  opsetImport: [{ domain: '', version: 13 }],
  metadataProps: [{ key: 'after', value: 'the graph' }],
  graph: {
    name: 'g',
    node: [
      { opType: 'Mul', name: 'm', input: ['x', 'w'], output: ['h'] },
      { opType: 'Add', name: 'a', input: ['h', 'b'], output: ['i'] },
      { opType: 'Reshape', name: 'r', input: ['i', 'shape'], output: ['y'] },
    ],
    initializer: [
      { name: 'b', dataType: 1, dims: [1], rawData: new Uint8Array(4) },
      { name: 'shape', dataType: 7, dims: [1], int64Data: [-1] },
    ],
    input: [value('x')],
    output: [value('y')],
  },
};
const template = (): Uint8Array => onnx.ModelProto.encode(onnx.ModelProto.fromObject(model)).finish();

const floats = (n: number, at = 0): Float32Array => Float32Array.from({ length: n }, (_, i) => at + i / 7);
const trained = new Map([
  ['w', { type: tensor('f32', [300, 2]), data: floats(600) }],
  ['b', { type: tensor('f32', []), data: floats(1, 5) }],
  ['folded', { type: tensor('f32', [2]), data: floats(2) }],
]);

describe('the trained .onnx', () => {
  const decoded = onnx.ModelProto.decode(exportOnnx(template(), trained));

  it('has the trained tensors as initializers, exact to the bit', () => {
    const initializers = new Map(decoded.graph!.initializer!.map((t) => [t.name!, t]));
    for (const name of ['w', 'b']) {
      const { dims, dataType, rawData } = initializers.get(name)!;
      expect([...dims!].map(Number)).toEqual(trained.get(name)!.type.shape);
      expect(dataType).toBe(1);
      expect(new Float32Array(new Uint8Array(rawData!).buffer)).toEqual(trained.get(name)!.data);
    }
  });

  it('replaces initializers of the same name, keeps others, and leaves out what no node reads', () => {
    expect(decoded.graph!.initializer!.map((t) => t.name).sort()).toEqual(['b', 'shape', 'w']);
  });

  it('is otherwise the template', () => {
    const strip = (m: InstanceType<typeof onnx.ModelProto>): unknown => {
      const o = onnx.ModelProto.toObject(m, { longs: Number });
      o.graph.initializer = [];
      return o;
    };
    expect(strip(decoded)).toEqual(strip(onnx.ModelProto.decode(template())));
  });

  it('holds every element type', () => {
    const all = new Map([
      ['w', { type: tensor('i64', [1]), data: BigInt64Array.of(-3n) }],
      ['b', { type: tensor('bool', [2]), data: Uint8Array.of(1, 0) }],
      ['shape', { type: tensor('i32', [1]), data: Int32Array.of(-1) }],
    ]);
    const back = onnx.ModelProto.decode(exportOnnx(template(), all)).graph!.initializer!;
    expect(new Map(back.map((t) => [t.name, t.dataType]))).toEqual(
      new Map([
        ['w', 7],
        ['b', 9],
        ['shape', 6],
      ]),
    );
    expect(Buffer.from(back.find((t) => t.name === 'w')!.rawData!).readBigInt64LE()).toBe(-3n);
  });

  it('takes constants where the template has none of that name', () => {
    const one = { type: tensor('f32', [1]), data: Float32Array.of(1) };
    const w = new Map([['w', one]]);
    const back = onnx.ModelProto.decode(exportOnnx(template(), new Map(), new Map([...w, ['b', one]])));
    const b = back.graph!.initializer!.find((t) => t.name === 'b')!;
    expect(back.graph!.initializer!.map((t) => t.name).sort()).toEqual(['b', 'shape', 'w']);
    expect([...b.rawData!]).toEqual([0, 0, 0, 0]);
    expect(userError(() => exportOnnx(template(), new Map())).what).toContain("no tensor is named 'w'");
  });

  it('is refused for a template that is cut off or has no graph', () => {
    const bytes = template();
    for (const bad of [
      bytes.subarray(0, bytes.length - 3),
      bytes.subarray(0, 400),
      new Uint8Array(0),
      Uint8Array.of(0x3b),
    ])
      expect(userError(() => exportOnnx(bad, trained)).code).toBe(420);
  });

  const real = '../shared/data/models/onnxruntime/cnn_mnist_pytorch.onnx';
  it.runIf(existsSync(real))('keeps a real model as it is but for the weights that it is given', () => {
    const bytes = new Uint8Array(readFileSync(real));
    const before = onnx.ModelProto.decode(bytes);
    const first = before.graph!.initializer![0];
    const shape = [...first.dims!].map(Number);
    const count = shape.reduce((a, b) => a * b, 1);
    const weights = new Map([[first.name!, { type: tensor('f32', shape), data: floats(count) }]]);
    const after = onnx.ModelProto.decode(exportOnnx(bytes, weights));
    expect(after.graph!.node).toEqual(before.graph!.node);
    const names = (m: typeof before) => m.graph!.initializer!.map((t) => t.name).sort();
    expect(names(after)).toEqual(names(before));
  });
});
