/** The running example of ARCHITECTURE.md, as ONNX: Gemm, Relu, Gemm on four features, two classes, small round weights. */
import onnxProto from 'onnx-proto';

const { onnx } = onnxProto;
const FLOAT = 1;

function weight(name: string, dims: number[], values: (i: number) => number): object {
  const n = dims.reduce((a, b) => a * b, 1);
  return { name, dims, dataType: FLOAT, floatData: Array.from({ length: n }, (_, i) => values(i)) };
}

function value(name: string, dims: (string | number)[]): object {
  const dim = dims.map((d) => (typeof d === 'string' ? { dimParam: d } : { dimValue: d }));
  return { name, type: { tensorType: { elemType: FLOAT, shape: { dim } } } };
}

export function tinyModel(): Uint8Array {
  const gemm = (name: string, x: string, layer: string, y: string): object => ({
    opType: 'Gemm',
    name,
    input: [x, `${layer}.weight`, `${layer}.bias`],
    output: [y],
    attribute: [{ name: 'transB', type: 2, i: 1 }],
  });
  return onnx.ModelProto.encode(
    onnx.ModelProto.fromObject({
      irVersion: 8,
      opsetImport: [{ domain: '', version: 17 }],
      producerName: 'spngdc examples',
      graph: {
        name: 'tiny',
        node: [
          gemm('/fc1/Gemm', 'x', 'fc1', 's1'),
          { opType: 'Relu', name: '/relu/Relu', input: ['s1'], output: ['h1'] },
          gemm('/fc2/Gemm', 'h1', 'fc2', 'logits'),
        ],
        input: [value('x', ['N', 4])],
        output: [value('logits', ['N', 2])],
        initializer: [
          weight('fc1.weight', [3, 4], (i) => ((i * 5) % 7) / 8 - 0.375),
          weight('fc1.bias', [3], (i) => i / 8),
          weight('fc2.weight', [2, 3], (i) => ((i * 3) % 5) / 4 - 0.5),
          weight('fc2.bias', [2], () => 0),
        ],
      },
    }),
  ).finish();
}
