/**
 * Nets that give several threads something to share: a residual net of images as ResNet-20 is one, and a transformer's block over
 * tokens; and the module that a device's threads run, bundled as Node can read it.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { noise } from '../frontend/forward.js';
import { floats, ints, node, onnxFile, valueInfo } from '../frontend/make-onnx.js';
import { temporaryFolder } from './tiny-artifact.js';

export async function threadModule(): Promise<URL> {
  const outfile = join(temporaryFolder(), 'compute-worker.mjs');
  const entryPoints = ['runtime/devices/wasm/compute-worker.ts'];
  await build({ entryPoints, bundle: true, platform: 'node', format: 'esm', outfile });
  return pathToFileURL(outfile);
}

let seed = 1;
const weight = (name: string, dims: readonly number[], scale: number, shift = 0): object => {
  const count = dims.reduce((a, b) => a * b, 1);
  return floats(
    name,
    dims,
    [...noise(count, seed++)].map((v) => shift + scale * v),
  );
};

/** Three stages of one block with two convolutions, BatchNorm and a shortcut; 16x16 images, ten classes. */
export function residualNet(): Uint8Array {
  const nodes: object[] = [];
  const initializers: object[] = [];
  const conv = (
    x: string,
    name: string,
    channels: readonly [number, number],
    kernel: number,
    stride: number,
  ): string => {
    initializers.push(weight(`${name}.weight`, [channels[1], channels[0], kernel, kernel], 1 / (kernel * channels[0])));
    const pad = kernel >> 1;
    const window = { kernel_shape: [kernel, kernel], pads: [pad, pad, pad, pad], strides: [stride, stride] };
    nodes.push(node('Conv', [x, `${name}.weight`], [name], window));
    return name;
  };
  const norm = (x: string, channels: number): string => {
    const parts = ['scale', 'shift', 'mean', 'var'].map((p) => `${x}.${p}`);
    initializers.push(...parts.map((p, i) => weight(p, [channels], i === 3 ? 0 : 0.1, i % 3 === 0 ? 1 : 0)));
    nodes.push(node('BatchNormalization', [x, ...parts], [`${x}.bn`]));
    return `${x}.bn`;
  };
  const relu = (x: string): string => {
    nodes.push(node('Relu', [x], [`${x}.relu`]));
    return `${x}.relu`;
  };
  let x = relu(norm(conv('x', 'stem', [3, 16], 3, 1), 16));
  let channels = 16;
  for (const [stage, out] of [16, 32, 64].entries()) {
    const stride = stage === 0 ? 1 : 2;
    const a = relu(norm(conv(x, `s${stage}.a`, [channels, out], 3, stride), out));
    const b = norm(conv(a, `s${stage}.b`, [out, out], 3, 1), out);
    const shortcut = stage === 0 ? x : conv(x, `s${stage}.c`, [channels, out], 1, stride);
    nodes.push(node('Add', [b, shortcut], [`s${stage}`]));
    x = relu(`s${stage}`);
    channels = out;
  }
  nodes.push(node('GlobalAveragePool', [x], ['pooled']), node('Flatten', ['pooled'], ['flat']));
  initializers.push(weight('fc.weight', [10, 64], 0.1), weight('fc.bias', [10], 0));
  nodes.push(node('Gemm', ['flat', 'fc.weight', 'fc.bias'], ['logits'], { transB: 1 }));
  return onnxFile({ nodes, initializers, inputs: [valueInfo('x', ['N', 3, 16, 16])], outputs: ['logits'] });
}

/** Attention with four heads of sixteen, then two dense layers, both with a shortcut; sixteen tokens of 64 numbers. */
export function transformer(): Uint8Array {
  const [tokens, width, heads] = [16, 64, 4];
  const split = ints('split', [4], [0, tokens, heads, width / heads]);
  const joined = ints('joined', [3], [0, tokens, width]);
  const dense = (x: string, name: string, to: number, from = width): object[] => {
    initializers.push(weight(`${name}.weight`, [from, to], 1 / Math.sqrt(from)), weight(`${name}.bias`, [to], 0.1));
    return [node('MatMul', [x, `${name}.weight`], [`${name}.mm`]), node('Add', [`${name}.mm`, `${name}.bias`], [name])];
  };
  const initializers: object[] = [split, joined, floats('scaling', [], [1 / Math.sqrt(width / heads)])];
  const headsOf = (x: string, perm: readonly number[]): object[] => [
    node('Reshape', [x, 'split'], [`${x}.split`]),
    node('Transpose', [`${x}.split`], [`${x}.heads`], { perm }),
  ];
  const nodes = [
    ...['q', 'k', 'v'].flatMap((name) => dense('x', name, width)),
    ...[...headsOf('q', [0, 2, 1, 3]), ...headsOf('k', [0, 2, 3, 1]), ...headsOf('v', [0, 2, 1, 3])],
    node('MatMul', ['q.heads', 'k.heads'], ['scores']),
    node('Mul', ['scores', 'scaling'], ['scaled']),
    node('Softmax', ['scaled'], ['attention'], { axis: -1 }),
    node('MatMul', ['attention', 'v.heads'], ['mixed']),
    node('Transpose', ['mixed'], ['mixed.t'], { perm: [0, 2, 1, 3] }),
    node('Reshape', ['mixed.t', 'joined'], ['mixed.joined']),
    ...dense('mixed.joined', 'out', width),
    node('Add', ['out', 'x'], ['h']),
    ...dense('h', 'up', 4 * width),
    node('Relu', ['up'], ['up.relu']),
    ...dense('up.relu', 'down', width, 4 * width),
    node('Add', ['down', 'h'], ['y']),
    node('ReduceMean', ['y'], ['mean'], { axes: [1], keepdims: 0 }),
    ...dense('mean', 'logits', 10),
  ];
  return onnxFile({ nodes, initializers, inputs: [valueInfo('x', ['N', tokens, width])], outputs: ['logits'] });
}
