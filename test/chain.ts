/**
 * Generated ONNX models of any length, to see how what the compiler does grows with them.
 */
import onnxProto from 'onnx-proto';

const { onnx } = onnxProto;
const [FLOAT, INTS] = [1, 7];
const CHANNELS = 8;
const SIZE = 4;

const input = (name: string, shape: readonly (number | string)[]) => ({
  name,
  type: {
    tensorType: {
      elemType: FLOAT,
      shape: { dim: shape.map((d) => (typeof d === 'string' ? { dimParam: d } : { dimValue: d })) },
    },
  },
});
const node = (opType: string, name: string, operands: string[], attribute: object[] = []) => ({
  opType,
  name,
  input: operands,
  output: [name],
  attribute,
});
const ints = (name: string, values: readonly number[]) => ({ name, type: INTS, ints: [...values] });
const normalization = (i: number) => ['weight', 'bias', 'running_mean', 'running_var'].map((part) => `bn${i}.${part}`);

/** An ONNX model of `nodes` nodes: 3x3 convolutions of 8 channels, each with BatchNorm and relu, then a classifier. */
export function chain(nodes: number): Uint8Array {
  const blocks = Math.round((nodes - 2) / 3);
  const layers = Array.from({ length: blocks }, (_, i) => i);
  const graph = {
    name: 'chain',
    node: [
      ...layers.flatMap((i) => [
        node(
          'Conv',
          `conv${i}`,
          [i === 0 ? 'image' : `relu${i - 1}`, `conv${i}.weight`],
          [ints('kernel_shape', [3, 3]), ints('pads', [1, 1, 1, 1])],
        ),
        node('BatchNormalization', `bn${i}`, [`conv${i}`, ...normalization(i)]),
        node('Relu', `relu${i}`, [`bn${i}`]),
      ]),
      node('Flatten', 'flat', [`relu${blocks - 1}`]),
      node('MatMul', 'logits', ['flat', 'fc.weight']),
    ],
    input: [
      input('image', ['N', CHANNELS, SIZE, SIZE]),
      ...layers.flatMap((i) => [
        input(`conv${i}.weight`, [CHANNELS, CHANNELS, 3, 3]),
        ...normalization(i).map((name) => input(name, [CHANNELS])),
      ]),
      input('fc.weight', [CHANNELS * SIZE * SIZE, 10]),
    ],
    output: [input('logits', ['N', 10])],
  };
  const model = { irVersion: 7, producerName: 'spngdc', opsetImport: [{ domain: '', version: 13 }], graph };
  return onnx.ModelProto.encode(onnx.ModelProto.fromObject(model)).finish();
}
