/**
 * Broken and unsupported models: each ends in a numbered error with its place, never in a crash, a hang or a wrong result.
 */
import { describe, expect, it } from 'vitest';
import { type ImportOptions, importOnnx } from '../../compiler/frontend/onnx/import.js';
import { UserError } from '../../ir/diagnostics/error.js';
import { mix32 } from '../../ir/random.js';
import { verifyModule } from '../../ir/verify.js';
import { hasData, model, noise } from './forward.js';
import { branch, floats, type Graph, ints, node, onnxFile, valueInfo } from './make-onnx.js';

const load = (bytes: Uint8Array, options: Partial<ImportOptions> = {}) =>
  importOnnx(bytes, { fileName: 'test.onnx', seed: 0, ...options });

const w = floats('w', [4, 3], [...noise(12, 1)]);
const relu = node('Relu', ['x'], ['y']);

interface Bad {
  readonly code: number;
  readonly says: RegExp;
  readonly graph: Graph;
  readonly options?: Partial<ImportOptions>;
}

/** A Relu in the branch of an If, in the branch of an If, and so on. */
const nested = (depth: number): Graph => {
  let nodes = [node('Relu', ['x'], ['y'])];
  for (let i = 0; i < depth; i++) nodes = [node('If', ['yes'], ['y'], { then_branch: branch('then', nodes, ['y']) })];
  return { nodes, initializers: [{ name: 'yes', dims: [], dataType: 9, int32Data: [1] }] };
};

const bad: Readonly<Record<string, Bad>> = {
  'graphs in graphs without end': { code: 102, says: /nested/, graph: nested(300) },
  'a cycle': {
    code: 103,
    says: /Relu_a -> Tanh_b -> Relu_a/,
    graph: { nodes: [node('Add', ['x', 'b'], ['y']), node('Relu', ['b'], ['a']), node('Tanh', ['a'], ['b'])] },
  },
  'a node that reads itself': { code: 103, says: /Relu_y/, graph: { nodes: [node('Relu', ['y'], ['y'])] } },
  'a value that nothing defines': { code: 104, says: /"z"/, graph: { nodes: [node('Add', ['x', 'z'], ['y'])] } },
  'an output that nothing defines': { code: 104, says: /"z"/, graph: { nodes: [relu], outputs: ['z'] } },
  'a value defined twice': { code: 105, says: /"y"/, graph: { nodes: [relu, relu] } },
  'an unknown op': { code: 110, says: /Frobnicate \(opset 13\)/, graph: { nodes: [node('Frobnicate', ['x'], ['y'])] } },
  'another domain': {
    code: 110,
    says: /com.microsoft.Gelu/,
    graph: { nodes: [{ ...node('Gelu', ['x'], ['y']), domain: 'com.microsoft' }] },
  },
  'an opset of long ago': {
    code: 111,
    says: /the model uses opset 6 of ai.onnx, opsets 7 to \d+ are known/,
    graph: { nodes: [node('Add', ['x', 'w'], ['y'], { broadcast: 1, axis: 1 })], initializers: [w], opset: 6 },
  },
  'an opset of the future': { code: 111, says: /opset 99/, graph: { nodes: [relu], opset: 99 } },
  'an op that came later': {
    code: 111,
    says: /Gelu is known in opsets 20 to \d+, but the model uses opset 13/,
    graph: { nodes: [node('Gelu', ['x'], ['y'])] },
  },
  'a quantised model': {
    code: 118,
    says: /DequantizeLinear .* quantised model/,
    graph: {
      nodes: [node('DequantizeLinear', ['q', 's'], ['w']), node('MatMul', ['x', 'w'], ['y'])],
      initializers: [{ name: 'q', dims: [4, 3], dataType: 3, rawData: new Uint8Array(12) }, floats('s', [], [0.1])],
    },
  },
  'an attribute of another version': {
    code: 112,
    says: /attribute "axis"/,
    graph: { nodes: [node('Relu', ['x'], ['y'], { axis: 1 })] },
  },
  'an input that the op does not have': {
    code: 112,
    says: /input #1/,
    graph: { nodes: [node('Relu', ['x', 'x'], ['y'])] },
  },
  'a result that is not given': {
    code: 112,
    says: /result #1 \("y"\)/,
    graph: {
      nodes: [node('MaxPool', ['x'], ['m', 'y'], { kernel_shape: [2, 2] })],
      inputs: [valueInfo('x', ['N', 1, 4, 4])],
    },
  },
  'shapes that do not fit': {
    code: 113,
    says: /MatMul.*inner dimensions/,
    graph: { nodes: [node('MatMul', ['x', 'w'], ['y'])], inputs: [valueInfo('x', ['N', 5])], initializers: [w] },
  },
  'a kernel larger than its image': {
    code: 113,
    says: /Conv/,
    graph: {
      nodes: [node('Conv', ['x', 'k'], ['y'])],
      inputs: [valueInfo('x', ['N', 1, 4, 4])],
      initializers: [floats('k', [1, 1, 5, 5], [...noise(25, 1)])],
    },
  },
  'a string tensor': {
    code: 114,
    says: /string/,
    graph: { nodes: [relu], initializers: [{ name: 's', dims: [1], dataType: 8 }] },
  },
  'a tensor with too little data': {
    code: 102,
    says: /tensor "w" has 3 elements of data, \[4,3\] of float needs 12/,
    graph: { nodes: [relu], initializers: [floats('w', [4, 3], [1, 2, 3])] },
  },
  'data in another file': {
    code: 106,
    says: /tensor "w" keeps its data in the file "", which cannot be read/,
    graph: { nodes: [relu], initializers: [{ ...floats('w', [1], []), dataLocation: 1 }] },
  },
  'a target shape computed from data': {
    code: 115,
    says: /target shape.*"s"/,
    graph: {
      nodes: [node('Cast', ['x'], ['s'], { to: 7 }), node('Reshape', ['x', 's'], ['y'])],
    },
  },
  'no data input': {
    code: 120,
    says: /no data input/,
    graph: { nodes: [node('Relu', ['w'], ['y'])], inputs: [], initializers: [w] },
  },
  'data inputs that cannot be told': {
    code: 121,
    says: /a, b/,
    graph: { nodes: [node('Add', ['a', 'b'], ['y'])], inputs: [valueInfo('a', [2, 4]), valueInfo('b', [2, 4])] },
  },
  'an open image size': {
    code: 123,
    says: /\[N,3,h,w\]/,
    graph: { nodes: [relu], inputs: [valueInfo('x', ['N', 3, 'h', 'w'])] },
  },
  'an input named valid': {
    code: 124,
    says: /"valid"/,
    graph: { nodes: [node('Relu', ['valid'], ['y'])], inputs: [valueInfo('valid', ['N', 4])] },
  },
  'weights without values': {
    code: 130,
    says: /a weight has no values in the model: w/,
    graph: { nodes: [node('MatMul', ['x', 'w'], ['y'])], inputs: [valueInfo('x', ['N', 4]), valueInfo('w', [4, 3])] },
  },
  'a constant without values': {
    code: 131,
    says: /no rule says how to draw: c/,
    graph: { nodes: [node('Mul', ['x', 'c'], ['y'])], inputs: [valueInfo('x', ['N', 4]), valueInfo('c', [4])] },
    options: { init: 'he-normal' },
  },
  'statistics to be trained': {
    code: 135,
    says: /running statistic/,
    graph: {
      nodes: [node('BatchNormalization', ['x', 'g', 'b', 'm', 'v'], ['y'])],
      initializers: ['g', 'b', 'm', 'v'].map((n) => floats(n, [4], [1, 2, 3, 4])),
    },
    options: { train: ['m'] },
  },
  'a slice of the batch': {
    code: 112,
    says: /a slice of the batch axis/,
    graph: {
      nodes: [node('Slice', ['x', 'from', 'to'], ['y'])],
      initializers: [ints('from', [1], [0]), ints('to', [1], [1])],
    },
  },
};

describe('broken models', () => {
  it.each(Object.entries(bad))('%s', (_name, { code, says, graph, options }) => {
    let error: unknown;
    try {
      load(onnxFile(graph), options);
    } catch (e) {
      error = e;
    }
    expect(error).toBeInstanceOf(UserError);
    const e = error as UserError;
    expect({ code: e.code, what: e.what }).toEqual({ code, what: expect.stringMatching(says) });
    expect(e.hint).not.toBe('');
  });

  it('says where: the node by its name', () => {
    const file = onnxFile({ nodes: [node('Frobnicate', ['x'], ['y'])] });
    expect(() => load(file)).toThrow(UserError);
    try {
      load(file);
    } catch (e) {
      expect((e as UserError).format()).toBe(
        'error E110: op Frobnicate (opset 13) is not supported\n  at onnx:Frobnicate_y(Frobnicate)\n' +
          '  express it by other ops before export, or cut it off the model',
      );
    }
  });

  it.each([
    ['nothing', new Uint8Array()],
    ['text', new TextEncoder().encode('this is no model')],
    ['zeros', new Uint8Array(100)],
  ])('%s is no model', (_name, bytes) => {
    expect(() => load(bytes)).toThrow(expect.objectContaining({ code: 101 }));
  });
});

/** Either a module that verifies, or a UserError. */
function survives(bytes: Uint8Array, what: string): 'module' | 'error' {
  try {
    verifyModule(load(bytes, { init: 'he-normal' }).module);
    return 'module';
  } catch (e) {
    if (!(e instanceof UserError)) throw new Error(`${what}: ${(e as Error).stack}`);
    return 'error';
  }
}

it('names of nodes in nested graphs grow with their depth, no faster', () => {
  const { module } = load(onnxFile(nested(40)));
  const names = module.functions.flatMap((f) => f.nodes.map((n) => (n.loc.kind === 'onnx' ? n.loc.node : '')));
  expect(Math.max(...names.map((n) => n.length))).toBeLessThan(40 * 10);
});

describe.runIf(hasData)('mutations', () => {
  const sources = hasData
    ? ['onnxruntime/mnist.onnx', 'torch-small/cifar_resnet20_op15.onnx', 'torchvision/resnet18_train_op16.onnx']
    : [];

  it.each(sources)('%s, cut off', (path) => {
    const whole = model(path);
    for (let i = 0; i < 60; i++)
      survives(whole.subarray(0, mix32(i) % whole.length), `${path}[:${mix32(i) % whole.length}]`);
  });

  it.each(sources)(
    '%s, with bytes changed',
    (path) => {
      const whole = model(path);
      // Weights are most of the bytes, and any weights are weights: the graph lies at the ends of the file.
      const end = Math.min(whole.length, 20_000);
      const outcomes = { module: 0, error: 0 };
      for (let i = 0; i < 500; i++) {
        const bytes = Uint8Array.from(whole);
        for (let k = 0; k <= i % 4; k++) {
          const r = mix32(i * 8 + k);
          const at = r & 1 ? (r >>> 9) % end : whole.length - 1 - ((r >>> 9) % end);
          bytes[at] = mix32(r) & 255;
        }
        outcomes[survives(bytes, `${path}, mutation ${i}`)]++;
      }
      expect(outcomes.error).toBeGreaterThan(50);
    },
    300_000,
  );
});
