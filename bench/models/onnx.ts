/**
 * ONNX models as they are written down: a few calls that add nodes; weights are graph inputs without values, drawn
 * by the compiler, unless they are asked for. */
import onnxProto from 'onnx-proto';

const { onnx } = onnxProto;
const [FLOAT, INT64] = [1, 7];
const [INT, INTS] = [2, 7];

type Attributes = Readonly<Record<string, number | readonly number[]>>;

export class Model {
  private readonly nodes: object[] = [];
  private readonly inputs: object[] = [];
  private readonly constants: object[] = [];
  private readonly parameters: { readonly name: string; readonly shape: readonly number[] }[] = [];

  input(name: string, shape: readonly (number | string)[]): string {
    const dim = shape.map((d) => (typeof d === 'string' ? { dimParam: d } : { dimValue: d }));
    this.inputs.push({ name, type: { tensorType: { elemType: FLOAT, shape: { dim } } } });
    return name;
  }

  /** A weight. */
  parameter(name: string, shape: readonly number[]): string {
    this.parameters.push({ name, shape });
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
    return this.add('Conv', name, [x, this.parameter(`${name}.weight`, [out, into, kernel, kernel])], {
      kernel_shape: [kernel, kernel],
      strides: [stride, stride],
      pads: [pad, pad, pad, pad],
    });
  }

  norm(name: string, x: string, channels: number): string {
    const parts = ['weight', 'bias', 'running_mean', 'running_var'].map((p) =>
      this.parameter(`${name}.${p}`, [channels]),
    );
    return this.add('BatchNormalization', name, [x, ...parts]);
  }

  dense(name: string, x: string, out: number, into: number): string {
    const parts = [this.parameter(`${name}.weight`, [out, into]), this.parameter(`${name}.bias`, [out])];
    return this.add('Gemm', name, [x, ...parts], { transB: 1 });
  }

  /**
   * @param logits the graph's output, of `classes` columns
   * @param values whether weights have any: sines as large as He's normal numbers, and variances of one
   */
  bytes(logits: string, values = false, classes = 10): Uint8Array {
    if (values) for (const p of this.parameters) this.constants.push(filled(p.name, p.shape));
    else for (const p of this.parameters) this.input(p.name, p.shape);
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

function filled(name: string, dims: readonly number[]): object {
  const size = dims.reduce((a, b) => a * b, 1);
  const scale = Math.sqrt(4 / (size / dims[0]));
  const value = (i: number): number =>
    dims.length === 1 ? Number(/weight|var/.test(name)) : scale * Math.sin(i * i + 1);
  return { name, dataType: FLOAT, dims: [...dims], floatData: Array.from({ length: size }, (_, i) => value(i)) };
}
