/**
 * Real models: all import as both functions; `predict` in the float64 evaluator agrees with onnxruntime, on the model as it came
 * and on the exported template with the weights put back. onnxruntime computes in f32: its error grows with depth and fan-in
 * (2^-24 times the root of a few thousand summands, through some twenty layers), hence 2e-5, relative to the largest output.
 */
import { describe, expect, it } from 'vitest';
import { importOnnx } from '../../compiler/frontend/onnx/import.js';
import { UserError } from '../../ir/diagnostics/error.js';
import { findFunction } from '../../ir/graph.js';
import { printShape } from '../../ir/types.js';
import { verifyModule } from '../../ir/verify.js';
import { exported, hasData, inputsOf, model, onnxruntime, relativeError, run } from './forward.js';

const TOLERANCE = 2e-5;

/** Number of trained parameters, and the output's shape, read off the models by hand. `fixed`: exported with a batch of so many. */
interface Case {
  readonly path: string;
  readonly parameters: number;
  readonly output: string;
  readonly fixed?: number;
  /** Shape that makes the evaluator fast enough to compare; none: import only. */
  readonly small?: string;
  /** The file is in training form: onnxruntime runs it on batch statistics, so only its export can be compared. */
  readonly training?: true;
  /** BatchNormalization is folded into the convolutions. */
  readonly folded?: true;
}

const withWeights: readonly Case[] = [
  { path: 'onnxruntime/mnist.onnx', parameters: 6, output: '[N,10]', fixed: 1 },
  { path: 'onnxruntime/cnn_mnist_pytorch.onnx', parameters: 8, output: '[N,10]', fixed: 1 },
  { path: 'onnxruntime/test_training_model.onnx', parameters: 6, output: '[N,10]', fixed: 1 },
  { path: 'torch-small/cifar_resnet20_op13.onnx', parameters: 59, output: '[N,10]', training: true },
  { path: 'torch-small/cifar_resnet20_op15.onnx', parameters: 59, output: '[N,10]', training: true },
  { path: 'torch-small/mobilenet_v2_w025_c10_op15.onnx', parameters: 158, output: '[N,10]', training: true },
  { path: 'trained/burn_mnist_bn.onnx', parameters: 14, output: '[N,10]', fixed: 1 },
  { path: 'trained/onnx_mlir_mnist_mlp.onnx', parameters: 4, output: '[N,10]', fixed: 1 },
  { path: 'trained/tract_keras_mlp.onnx', parameters: 4, output: '[N,1]' },
  { path: 'trained/wonnx_opt_mnist.onnx', parameters: 6, output: '[N,10]', fixed: 1 },
];

const withoutWeights: readonly Case[] = [
  { path: 'torch-small/mnist_example_net_op15.onnx', parameters: 8, output: '[N,10]', small: 'x:Nx1x28x28' },
  { path: 'torchvision/resnet18_train_op13.onnx', parameters: 62, output: '[N,1000]', small: 'x:Nx3x32x32' },
  { path: 'torchvision/resnet18_train_op16.onnx', parameters: 62, output: '[N,1000]' },
  { path: 'torchvision/resnet50_train_op13.onnx', parameters: 161, output: '[N,1000]' },
  { path: 'torchvision/resnet50_train_op16.onnx', parameters: 161, output: '[N,1000]' },
  { path: 'torchvision/resnet50_train_op13_static_b2.onnx', parameters: 161, output: '[N,1000]', fixed: 2 },
  { path: 'torchvision/resnet50_eval_op13.onnx', parameters: 108, output: '[N,1000]', folded: true },
  { path: 'torchvision/vgg11_bn_train_op13.onnx', parameters: 38, output: '[N,1000]' },
  { path: 'torchvision/squeezenet1_1_train_op13.onnx', parameters: 52, output: '[N,1000]', small: 'x:Nx3x64x64' },
  { path: 'torchvision/mobilenet_v2_train_op13.onnx', parameters: 158, output: '[N,1000]', small: 'x:Nx3x32x32' },
  { path: 'onnx-light/light_bvlc_alexnet.onnx', parameters: 16, output: '[N,1000]', fixed: 1 },
  { path: 'onnx-light/light_vgg19.onnx', parameters: 38, output: '[N,1000]', fixed: 1 },
  { path: 'onnx-light/light_resnet50.onnx', parameters: 161, output: '[N,1000]', fixed: 1 },
  {
    path: 'onnx-light/light_squeezenet.onnx',
    parameters: 52,
    output: '[N,1000,1,1]',
    fixed: 1,
    small: 'data_0:Nx3x64x64',
  },
  { path: 'onnx-light/light_shufflenet.onnx', parameters: 150, output: '[N,1000]', fixed: 1 },
  { path: 'onnx-light/light_densenet121.onnx', parameters: 606, output: '[N,1000,1,1]', fixed: 1 },
];

function imported(c: Case, init: boolean, inputs?: readonly string[]) {
  return importOnnx(model(c.path), { fileName: c.path, seed: 1, inputs, ...(init && { init: 'he-normal' }) });
}

describe.runIf(hasData)('real models', () => {
  it.each([...withWeights, ...withoutWeights])('$path imports as train and predict', (c) => {
    const { module, notices } = imported(c, withoutWeights.includes(c));
    verifyModule(module);
    expect(module.parameters.filter((p) => p.trainable)).toHaveLength(c.parameters);
    for (const name of ['train', 'predict']) {
      const { outputs } = findFunction(module, name);
      expect(outputs.map((o) => printShape(o.value.type.shape))).toEqual([c.output]);
    }
    expect(module.weights.size).toBe(module.state.length);
    expect(notices.filter((n) => n.includes('a batch of'))).toHaveLength(c.fixed === undefined ? 0 : 1);
    expect(notices.filter((n) => n.includes('no BatchNormalization is trained'))).toHaveLength(c.folded ? 1 : 0);
  });

  it.each(withWeights.filter((c) => !c.training))('$path predicts what onnxruntime predicts', async (c) => {
    const result = imported(c, false);
    await agrees(result, 2, c.fixed, model(c.path));
  });

  it.each([...withWeights, ...withoutWeights.filter((c) => c.small)])('$path exports what it predicts', async (c) => {
    const result = imported(c, c.small !== undefined, c.small ? [c.small] : undefined);
    await agrees(result, c.small ? 1 : 2, c.fixed, exported(result));
  });

  it('a model without weights says so', () => {
    const c = withoutWeights[1];
    expect(() => imported(c, false)).toThrow(UserError);
    expect(() => imported(c, false)).toThrow(/102 weights have no values/);
  });
});

/** `batch` examples in the evaluator against onnxruntime, which runs them one by one where the file's batch is fixed. */
async function agrees(
  result: ReturnType<typeof imported>,
  batch: number,
  fixed: number | undefined,
  file: Uint8Array,
): Promise<void> {
  const inputs = inputsOf(result.module, batch);
  const got = run(result.module, 'predict', batch, inputs).outputs;
  const [input] = findFunction(result.module, 'predict').inputs;
  const each = fixed ?? batch;
  const row = inputs[input.name].length / batch;
  const parts: Record<string, number[]> = {};
  for (let at = 0; at < batch; at += each) {
    const shape = [each, ...(input.type.shape.slice(1) as number[])];
    const data = inputs[input.name].slice(at * row, (at + each) * row);
    const out = await onnxruntime(file, { [input.name]: { data, shape } });
    for (const [name, v] of Object.entries(out)) parts[name] = [...(parts[name] ?? []), ...v];
  }
  expect(Object.keys(got)).toEqual(Object.keys(parts));
  for (const name of Object.keys(got)) expect(relativeError(got[name], parts[name])).toBeLessThan(TOLERANCE);
}
