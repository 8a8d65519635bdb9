/**
 * ResNet-20 for CIFAR-10 (He et al. 2016, option A shortcuts) built by hand, with the weights of an ONNX file read straight
 * from its protobuf: a fault of the importer cannot show, or hide, here.
 */
import { readFileSync } from 'node:fs';
import onnxProto from 'onnx-proto';
import type { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import { tensor } from '../../ir/types.js';
import { N, type Net, window } from '../nets.js';

/** The float initializers of an ONNX file by name. */
export function readInitializers(path: string): Record<string, Float32Array> {
  const { graph } = onnxProto.onnx.ModelProto.decode(readFileSync(path));
  const floats = (graph?.initializer ?? []).filter((t) => t.dataType === onnxProto.onnx.TensorProto.DataType.FLOAT);
  return Object.fromEntries(floats.map((t) => [t.name ?? '', new Float32Array(Uint8Array.from(t.rawData!).buffer)]));
}

export const resnet20: Net = {
  output: 'logits',
  forward: (b, parameter, training) => {
    const image = b.input('x', tensor('f32', [N, 3, 32, 32]));
    const valid = training ? b.input('valid', tensor('f32', [N])) : undefined;
    const norm = (x: Value, name: string, channels: number): Value => {
      const [gamma, beta] = [parameter(`${name}.weight`, [channels]), parameter(`${name}.bias`, [channels])];
      const attrs = { epsilon: 1e-5 };
      if (valid) return b.node('batch_norm', [x, gamma, beta, valid], { attrs, name });
      const running = [b.fill(0, [channels]), b.fill(1, [channels])];
      return b.node('batch_norm_inference', [x, gamma, beta, ...running], { attrs, name });
    };
    const conv = (x: Value, name: string, out: number, into: number, stride: number): Value =>
      b.node('conv', [x, parameter(`${name}.weight`, [out, into, 3, 3])], { attrs: window(1, stride) });
    const relu = (x: Value): Value => b.node('relu', [x]);

    let x = relu(norm(conv(image, 'conv1', 16, 3, 1), 'bn1', 16));
    let channels = 16;
    for (const [stage, out] of [16, 32, 64].entries())
      for (const block of [0, 1, 2]) {
        const name = `layer${stage + 1}.${block}`;
        const stride = out === channels ? 1 : 2;
        const y = relu(norm(conv(x, `${name}.conv1`, out, channels, stride), `${name}.bn1`, out));
        const z = norm(conv(y, `${name}.conv2`, out, out, 1), `${name}.bn2`, out);
        x = relu(b.add(z, stride === 1 ? x : shortcut(b, x, out / 4)));
        channels = out;
      }
    const pool = { kernel: [8, 8], strides: [8, 8], pads: [0, 0, 0, 0], height: 1, width: 1, count_include_pad: false };
    const pooled = b.reshape(b.node('avg_pool', [x], { attrs: pool }), [N, 64]);
    const scores = b.matmul(pooled, parameter('linear.weight', [10, 64]), false, true);
    return b.add(scores, parameter('linear.bias', [10]), 'logits');
  },
};

/** Every second pixel, with zero channels on both sides. */
function shortcut(b: Builder, x: Value, extra: number): Value {
  const [, channels, height, width] = x.type.shape as number[];
  const attrs = { starts: [0, 0, 0, 0], ends: [-1, channels, height, width], steps: [1, 1, 2, 2] };
  const pads = [0, extra, 0, 0];
  return b.node('pad', [b.node('slice', [x], { attrs })], { attrs: { low: pads, high: pads, value: 0 } });
}
