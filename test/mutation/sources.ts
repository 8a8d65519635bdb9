/**
 * What mutants are made from: small models of other exporters (where the reference data are there), and models made here.
 */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { branch, call, floats, ints, localFunction, node, onnxFile, valueInfo } from '../frontend/make-onnx.js';

const root = new URL('../../', import.meta.url);
const models = new URL('../shared/data/models/', root);

/** Models that compile in a fraction of a second. */
const exported = [
  'torch-small/mnist_example_net_op15.onnx',
  'onnxruntime/training_api/training_model.onnx',
  'onnxruntime/training_api/eval_model.onnx',
  'onnxruntime/mnist.onnx',
  'trained/tract_keras_mlp.onnx',
  'trained/wonnx_opt_mnist.onnx',
];

export const hasData = existsSync(models);

const values = (n: number): number[] => Array.from({ length: n }, (_, i) => Math.sin(i * 1.7) / 2);

function mlp(): Uint8Array {
  return onnxFile({
    nodes: [
      node('Gemm', ['x', 'w1', 'b1'], ['h'], { transB: 1 }),
      node('Relu', ['h'], ['r']),
      node('MatMul', ['r', 'w2'], ['y']),
    ],
    initializers: [floats('w1', [5, 4], values(20)), floats('b1', [5], values(5)), floats('w2', [5, 3], values(15))],
  });
}

function convnet(): Uint8Array {
  return onnxFile({
    inputs: [valueInfo('x', ['N', 2, 6, 6])],
    nodes: [
      node('Conv', ['x', 'k', 'kb'], ['c'], { kernel_shape: [3, 3], pads: [1, 1, 1, 1], strides: [1, 1] }),
      node('BatchNormalization', ['c', 'g', 'b', 'm', 'v'], ['n']),
      node('Clip', ['n', 'zero', 'six'], ['r']),
      node('MaxPool', ['r'], ['p'], { kernel_shape: [2, 2], strides: [2, 2] }),
      node('Shape', ['p'], ['s']),
      node('Gather', ['s', 'first'], ['n0'], { axis: 0 }),
      node('Unsqueeze', ['n0', 'first_axes'], ['n1']),
      node('Concat', ['n1', 'rest'], ['to'], { axis: 0 }),
      node('Reshape', ['p', 'to'], ['f']),
      node('Dropout', ['f'], ['d']),
      node('Gemm', ['d', 'w', 'wb'], ['z'], { transB: 1 }),
      node('Softmax', ['z'], ['y'], { axis: 1 }),
    ],
    initializers: [
      floats('k', [3, 2, 3, 3], values(54)),
      floats('kb', [3], values(3)),
      floats('g', [3], [1, 1, 1]),
      floats('b', [3], values(3)),
      floats('m', [3], values(3)),
      floats('v', [3], [1, 2, 1]),
      floats('zero', [], [0]),
      floats('six', [], [6]),
      ints('first', [], [0]),
      ints('first_axes', [1], [0]),
      ints('rest', [1], [27]),
      floats('w', [4, 27], values(108)),
      floats('wb', [4], values(4)),
    ],
  });
}

/** An attention block with a local function, an If, and a table of tokens. */
function attention(): Uint8Array {
  return onnxFile({
    inputs: [valueInfo('ids', ['N', 5], 7)],
    functions: [
      localFunction(
        'Scores',
        ['q', 'k', 's'],
        ['p'],
        [
          node('Transpose', ['k'], ['kt'], { perm: [0, 2, 1] }),
          node('MatMul', ['q', 'kt'], ['qk']),
          node('Mul', ['qk', 's'], ['scaled']),
          node('Softmax', ['scaled'], ['p'], { axis: -1 }),
        ],
      ),
    ],
    nodes: [
      node('Gather', ['table', 'ids'], ['x'], { axis: 0 }),
      node('MatMul', ['x', 'wq'], ['q']),
      node('MatMul', ['x', 'wk'], ['k']),
      call('Scores', ['q', 'k', 'scale'], ['p']),
      node('MatMul', ['p', 'x'], ['a']),
      node('If', ['cond'], ['r'], {
        then_branch: branch('then', [node('Add', ['a', 'x'], ['t'])], ['t']),
        else_branch: branch('else', [node('Identity', ['a'], ['e'])], ['e']),
      }),
      node('ReduceMean', ['r'], ['mean'], { axes: [1], keepdims: 0 }),
      node('MatMul', ['mean', 'w'], ['y']),
    ],
    initializers: [
      floats('table', [7, 6], values(42)),
      floats('wq', [6, 6], values(36)),
      floats('wk', [6, 6], values(36)),
      floats('scale', [], [0.4]),
      { name: 'cond', dims: [], dataType: 9, int32Data: [1] },
      floats('w', [6, 3], values(18)),
    ],
  });
}

export const made = { mlp, convnet, attention };

/** The models that mutants are made from, in a fixed order. */
export function sources(): Uint8Array[] {
  const own = [
    mlp(),
    convnet(),
    attention(),
    new Uint8Array(readFileSync(new URL('examples/digits/digits.onnx', root))),
  ];
  const others = exported.map((p) => fileURLToPath(new URL(p, models))).filter((p) => existsSync(p));
  return [...own, ...others.map((p) => new Uint8Array(readFileSync(p)))];
}
