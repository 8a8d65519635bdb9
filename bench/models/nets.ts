/** The models of the table. Each peer writes the same nets in its own words. */
import { Model } from './onnx.js';

/** 784-256-10, relu between. */
export function mlp(): Uint8Array {
  const m = new Model();
  const hidden = m.add('Relu', 'relu', [m.dense('fc1', m.input('x', ['N', 784]), 256, 784)]);
  return m.bytes(m.dense('logits', hidden, 10, 256));
}

/** 28 x 28: twice a 3 x 3 convolution (8, 16 filters, padded), relu, 2 x 2 maxima; then a classifier. */
export function cnn(): Uint8Array {
  const m = new Model();
  const pool = { kernel_shape: [2, 2], strides: [2, 2] };
  let x = m.input('x', ['N', 1, 28, 28]);
  x = m.add('MaxPool', 'pool1', [m.add('Relu', 'relu1', [m.conv('conv1', x, [8, 1, 3])])], pool);
  x = m.add('MaxPool', 'pool2', [m.add('Relu', 'relu2', [m.conv('conv2', x, [16, 8, 3])])], pool);
  return m.bytes(m.dense('logits', m.add('Flatten', 'flat', [x]), 10, 784));
}

/** ResNet-20 for CIFAR-10 (He et al. 2016) with shortcuts of option A: every second pixel, with zero channels on both sides. */
export function resnet20(values = false): Uint8Array {
  const m = new Model();
  const all = [m.integers('zeros', [0, 0]), m.integers('far', [1 << 30, 1 << 30])];
  const [axes, steps] = [m.integers('axes', [2, 3]), m.integers('steps', [2, 2])];
  const shortcut = (name: string, x: string, extra: number): string => {
    const half = m.add('Slice', `${name}.half`, [x, ...all, axes, steps]);
    return m.add('Pad', `${name}.shortcut`, [half, m.integers(`${name}.pads`, [0, extra, 0, 0, 0, extra, 0, 0])]);
  };
  let x = m.add('Relu', 'relu', [m.norm('bn', m.conv('conv', m.input('x', ['N', 3, 32, 32]), [16, 3, 3]), 16)]);
  let channels = 16;
  for (const [stage, out] of [16, 32, 64].entries())
    for (const block of [0, 1, 2]) {
      const name = `layer${stage + 1}.${block}`;
      const stride = out === channels ? 1 : 2;
      const y = m.norm(`${name}.bn1`, m.conv(`${name}.conv1`, x, [out, channels, 3], stride), out);
      const inner = m.add('Relu', `${name}.relu1`, [y]);
      const z = m.norm(`${name}.bn2`, m.conv(`${name}.conv2`, inner, [out, out, 3]), out);
      const past = stride === 1 ? x : shortcut(name, x, out / 4);
      x = m.add('Relu', `${name}.relu2`, [m.add('Add', `${name}.sum`, [z, past])]);
      channels = out;
    }
  const pooled = m.add('Flatten', 'flat', [m.add('GlobalAveragePool', 'pool', [x])]);
  return m.bytes(m.dense('logits', pooled, 10, 64), values);
}

/** A convolution of ResNet-50 v1.5: batch x in x size x size, out channels, kernel and stride; `pad` is half the kernel. */
export interface Layer {
  readonly in: number;
  readonly size: number;
  readonly out: number;
  readonly kernel: number;
  readonly stride: number;
  /** How often the network has it. */
  readonly times: number;
}

const layer = (i: number, size: number, out: number, kernel: number, stride = 1, times = 1): Layer => ({
  in: i,
  size,
  out,
  kernel,
  stride,
  times,
});

/** The layers of ResNet-50 v1.5 (stride in the 3 x 3 convolutions) for images of `image` pixels, equal ones once. */
export function resnet50Layers(image = 224): Layer[] {
  const layers = [layer(3, image, 64, 7, 2)];
  let [size, channels] = [image / 4, 64];
  for (const [stage, blocks] of [3, 4, 6, 3].entries()) {
    const width = 64 << stage;
    const stride = stage === 0 ? 1 : 2;
    const out = Math.ceil(size / stride);
    layers.push(
      layer(channels, size, width, 1),
      layer(width, size, width, 3, stride),
      layer(width, out, 4 * width, 1, 1, blocks),
      layer(channels, size, 4 * width, 1, stride),
      layer(4 * width, out, width, 1, 1, blocks - 1),
      layer(width, out, width, 3, 1, blocks - 1),
    );
    [size, channels] = [out, 4 * width];
  }
  const merged = new Map<string, Layer>();
  for (const l of layers) {
    const key = [l.in, l.size, l.out, l.kernel, l.stride].join();
    merged.set(key, { ...l, times: l.times + (merged.get(key)?.times ?? 0) });
  }
  return [...merged.values()];
}

export const outputSize = (l: Layer): number => Math.floor((l.size + 2 * (l.kernel >> 1) - l.kernel) / l.stride) + 1;
export const nameOf = (l: Layer): string =>
  `${l.in}x${l.size}x${l.size} -> ${l.out}, ${l.kernel}x${l.kernel}/${l.stride}`;
