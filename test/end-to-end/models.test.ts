/**
 * Every MLP, MNIST net, VGG, AlexNet and ResNet of the data set compiles for training: its parameters find the rules that
 * they should, its module is valid WebAssembly, its text parses back.
 */
import { existsSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type CompileOptions, runPasses } from '../../compiler/compile.js';
import { WASM_MODULE } from '../../ir/artifact.js';
import { parseModule, parseProgram, printModule, printProgram } from '../../ir/text/spn.js';

const models = '../shared/data/models';

/** Number of parameters by rule; what the architectures say: each conv or dense weight and its bias, each BatchNorm's pair. */
interface Expected {
  readonly file: string;
  readonly rules: Readonly<Record<string, number>>;
  readonly options?: CompileOptions;
}

const resnet50 = { 'kfac-conv': 53, 'unit-bn': 106, 'kfac-dense': 2 };
const resnet18 = { 'kfac-conv': 20, 'unit-bn': 40, 'kfac-dense': 2 };
const cases: readonly Expected[] = [
  { file: 'onnxruntime/test_training_model.onnx', rules: { 'kfac-dense': 6 } },
  { file: 'onnxruntime/cnn_mnist_pytorch.onnx', rules: { 'kfac-conv': 4, 'kfac-dense': 4 } },
  { file: 'onnxruntime/mnist.onnx', rules: { 'kfac-conv': 4, 'kfac-dense': 2 } },
  { file: 'trained/onnx_mlir_mnist_mlp.onnx', rules: { 'kfac-dense': 4 } },
  { file: 'trained/tract_keras_mlp.onnx', rules: { 'kfac-dense': 4 } },
  { file: 'trained/wonnx_opt_mnist.onnx', rules: { 'kfac-conv': 4, 'kfac-dense': 2 } },
  // fc1 of this one has an input factor of 11,617.
  { file: 'trained/burn_mnist_bn.onnx', rules: { 'kfac-conv': 6, 'kfac-dense': 2, 'unit-bn': 4, plain: 2 } },
  { file: 'torch-small/mnist_example_net_op15.onnx', rules: { 'kfac-conv': 4, 'kfac-dense': 4 } },
  { file: 'torch-small/cifar_resnet20_op13.onnx', rules: { 'kfac-conv': 19, 'unit-bn': 38, 'kfac-dense': 2 } },
  { file: 'torch-small/cifar_resnet20_op15.onnx', rules: { 'kfac-conv': 19, 'unit-bn': 38, 'kfac-dense': 2 } },
  { file: 'torchvision/resnet18_train_op13.onnx', rules: resnet18 },
  { file: 'torchvision/resnet18_train_op16.onnx', rules: resnet18 },
  { file: 'torchvision/resnet50_train_op13.onnx', rules: resnet50 },
  { file: 'torchvision/resnet50_train_op16.onnx', rules: resnet50 },
  { file: 'torchvision/resnet50_train_op13_static_b2.onnx', rules: resnet50 },
  { file: 'torchvision/resnet50_eval_op13.onnx', rules: { 'kfac-conv': 106, 'kfac-dense': 2 } },
  { file: 'onnx-light/light_resnet50.onnx', rules: resnet50 },
  // fc6 of a VGG has an input factor of 25,089: refused for its width, trained by plain gradient.
  {
    file: 'torchvision/vgg11_bn_train_op13.onnx',
    rules: { 'kfac-conv': 16, 'unit-bn': 16, 'kfac-dense': 4, plain: 2 },
  },
  { file: 'onnx-light/light_vgg19.onnx', rules: { 'kfac-conv': 32, 'kfac-dense': 4, plain: 2 } },
  { file: 'onnx-light/light_bvlc_alexnet.onnx', rules: { 'kfac-conv': 10, 'kfac-dense': 6 } },
];

describe.runIf(existsSync(models))('real models', () => {
  it.each(cases)('$file', ({ file, rules, options }) => {
    const bytes = readFileSync(`${models}/${file}`);
    const stages = runPasses(bytes, basename(file), { batch: 4, init: 'he-normal', ...options });
    const found: Record<string, number> = {};
    for (const p of stages.placed.parameters) found[p.rule] = (found[p.rule] ?? 0) + 1;
    expect(found).toEqual(rules);
    expect(WebAssembly.validate(stages.code[0].files.get(WASM_MODULE) as Uint8Array<ArrayBuffer>)).toBe(true);
    for (const module of [stages.model, stages.train, stages.placed]) {
      const text = printModule(module);
      expect(printModule(parseModule(text)) === text).toBe(true);
    }
    const text = printProgram(stages.code[0].program);
    expect(printProgram(parseProgram(text)) === text).toBe(true);
  });
});
