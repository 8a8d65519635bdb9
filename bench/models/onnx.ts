/** ONNX models as they are written down: a few calls that add nodes; weights are graph inputs without values, drawn by the compiler. */
import onnxProto from 'onnx-proto';

const { onnx } = onnxProto;
const [FLOAT, INT64] = [1, 7];
const [INT, INTS] = [2, 7];

type Attributes = Readonly<Record<string, number | readonly number[]>>;

export class Model {
  private readonly nodes: object[] = [];
  private readonly inputs: object[] = [];
  private readonly constants: object[] = [];

  input(name: string, shape: readonly (number | string)[]): string {
    const dim = shape.map((d) => (typeof d === 'string' ? { dimParam: d } : { dimValue: d }));
    this.inputs.push({ name, type: { tensorType: { elemType: FLOAT, shape: { dim } } } });
    return name;
  }

  integers(name: string, values: readonly number[]): string {
    this.constants.push({ name, dataType: INT64, dims: [values.length], int64Data: [...values] });
    return name;
  }

  add(opType: string, name: string, operands: readonly string[], attributes: Attributes = {}): string {
    const attribute = Object.entries(attributes).map(([key, value]) =>
      typeof value === 'number' ? { name: key, type: INT, i: value } : { name: key, type: INTS, ints: [...value] },
    );
    this.nodes.push({ opType, name, input: [...operands], output: [name], attribute });
    return name;
  }

  conv(name: string, x: string, [out, into, kernel]: readonly [number, number, number], stride = 1): string {
    const pad = kernel >> 1;
    return this.add('Conv', name, [x, this.input(`${name}.weight`, [out, into, kernel, kernel])], {
      kernel_shape: [kernel, kernel],
      strides: [stride, stride],
      pads: [pad, pad, pad, pad],
    });
  }

  norm(name: string, x: string, channels: number): string {
    const parts = ['weight', 'bias', 'running_mean', 'running_var'].map((p) => this.input(`${name}.${p}`, [channels]));
    return this.add('BatchNormalization', name, [x, ...parts]);
  }

  dense(name: string, x: string, out: number, into: number): string {
    const parts = [this.input(`${name}.weight`, [out, into]), this.input(`${name}.bias`, [out])];
    return this.add('Gemm', name, [x, ...parts], { transB: 1 });
  }

  /** @param logits the graph's output, of `classes` columns */
  bytes(logits: string, classes = 10): Uint8Array {
    const shape = { dim: [{ dimParam: 'N' }, { dimValue: classes }] };
    const graph = {
      name: 'bench',
      node: this.nodes,
      input: this.inputs,
      initializer: this.constants,
      output: [{ name: logits, type: { tensorType: { elemType: FLOAT, shape } } }],
    };
    const model = { irVersion: 7, producerName: 'spngdc', opsetImport: [{ domain: '', version: 13 }], graph };
    return onnx.ModelProto.encode(onnx.ModelProto.fromObject(model)).finish();
  }
}
