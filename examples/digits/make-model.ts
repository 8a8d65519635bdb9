/**
 * Writes digits.onnx: conv16 - BatchNorm - relu - maxpool - conv32 - BatchNorm - relu - maxpool - fc10 on 1x8x8 images. The
 * weights are graph inputs, shapes without values: compile with `--init he-normal`.
 *
 *   npm run build && node dist/examples/digits/make-model.js
 */
import { writeFileSync } from 'node:fs';
import onnxProto from 'onnx-proto';

const { onnx } = onnxProto;
const FLOAT = 1;
const [INT, INTS] = [2, 7];

const tensor = (name: string, shape: readonly (number | string)[]) => ({
  name,
  type: {
    tensorType: {
      elemType: FLOAT,
      shape: { dim: shape.map((d) => (typeof d === 'string' ? { dimParam: d } : { dimValue: d })) },
    },
  },
});
const ints = (name: string, values: readonly number[]) => ({ name, type: INTS, ints: [...values] });
const int = (name: string, value: number) => ({ name, type: INT, i: value });
const node = (opType: string, name: string, input: string[], attribute: object[] = []) => ({
  opType,
  name,
  input,
  output: [name],
  attribute,
});

const pool = [ints('kernel_shape', [2, 2]), ints('strides', [2, 2])];
const block = (i: number, x: string) => [
  node('Conv', `conv${i}`, [x, `conv${i}.weight`], [ints('kernel_shape', [3, 3]), ints('pads', [1, 1, 1, 1])]),
  node('BatchNormalization', `bn${i}`, [
    `conv${i}`,
    ...['weight', 'bias', 'running_mean', 'running_var'].map((p) => `bn${i}.${p}`),
  ]),
  node('Relu', `relu${i}`, [`bn${i}`]),
  node('MaxPool', `pool${i}`, [`relu${i}`], pool),
];
const norm = (i: number, channels: number) =>
  ['weight', 'bias', 'running_mean', 'running_var'].map((p) => tensor(`bn${i}.${p}`, [channels]));

const graph = {
  name: 'digits',
  node: [
    ...block(1, 'image'),
    ...block(2, 'pool1'),
    node('Flatten', 'flat', ['pool2'], [int('axis', 1)]),
    node('Gemm', 'logits', ['flat', 'fc.weight', 'fc.bias'], [int('transB', 1)]),
  ],
  input: [
    tensor('image', ['N', 1, 8, 8]),
    tensor('conv1.weight', [16, 1, 3, 3]),
    ...norm(1, 16),
    tensor('conv2.weight', [32, 16, 3, 3]),
    ...norm(2, 32),
    tensor('fc.weight', [10, 128]),
    tensor('fc.bias', [10]),
  ],
  output: [tensor('logits', ['N', 10])],
};

const model = { irVersion: 7, producerName: 'spngdc', opsetImport: [{ domain: '', version: 13 }], graph };
writeFileSync('examples/digits/digits.onnx', onnx.ModelProto.encode(onnx.ModelProto.fromObject(model)).finish());
