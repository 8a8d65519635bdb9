/**
 * Models of several graphs: functions are put in place of their calls, conditionals on what is known are decided. onnxruntime,
 * which runs functions and conditionals itself, says what must come out, of the model as it came and of its export.
 */
import onnxProto from 'onnx-proto';
import protobuf from 'protobufjs/minimal.js';
import { describe, expect, it } from 'vitest';
import { importOnnx } from '../../compiler/frontend/onnx/import.js';
import type { Module } from '../../ir/graph.js';
import { verifyModule } from '../../ir/verify.js';
import { exported, noise, onnxruntime, relativeError, run } from './forward.js';
import { branch, call, floats, type Graph, ints, localFunction, node, onnxFile, valueInfo } from './make-onnx.js';

const wave = (n: number, key = 1): number[] => [...noise(n, key)];
const w = floats('w', [4, 3], wave(12));
const b = floats('b', [3], wave(3, 2));
const load = (file: Uint8Array) => importOnnx(file, { fileName: 'test.onnx', seed: 0 });
const trained = (m: Module): string[] => m.parameters.filter((p) => p.trainable).map((p) => p.name);
const refers = (name: string, type: number, refAttrName: string) => ({ name, type, refAttrName });

/** Sums of at most a dozen f32 terms by onnxruntime. */
const TOLERANCE = 1e-6;

async function agrees(file: Uint8Array): Promise<Module> {
  const result = load(file);
  verifyModule(result.module);
  const x = noise(8, 3);
  const feed = { x: { data: x, shape: [2, 4] } };
  const got = run(result.module, 'predict', 2, { x }).outputs.y;
  for (const model of [file, exported(result)])
    expect(relativeError(got, (await onnxruntime(model, feed)).y)).toBeLessThan(TOLERANCE);
  return result.module;
}

/** A dense layer with a leaky activation, whose slope the caller gives. */
const leaky = localFunction(
  'Leaky',
  ['X'],
  ['Y'],
  [{ ...node('LeakyRelu', ['X'], ['Y']), attribute: [refers('alpha', 1, 'slope')] }],
  ['slope'],
);
const layer = localFunction(
  'Layer',
  ['X', 'W', 'B'],
  ['Y', 'Sum'],
  [
    node('MatMul', ['X', 'W'], ['h']),
    node('Add', ['h', 'B'], ['Sum']),
    { ...call('Leaky', ['Sum'], ['Y']), attribute: [refers('slope', 1, 'slope')] },
  ],
  ['slope'],
);

describe('functions', () => {
  it('are inlined, called twice and one in the other, with the attributes of the call', async () => {
    const module = await agrees(
      onnxFile({
        nodes: [
          call('Layer', ['x', 'w', 'b'], ['h', ''], { slope: 0.25 }),
          call('Layer', ['h', 'v', 'c'], ['', 'y'], { slope: 0.5 }),
        ],
        initializers: [w, b, floats('v', [3, 3], wave(9, 5)), floats('c', [3], wave(3, 6))],
        functions: [layer, leaky],
      }),
    );
    expect(trained(module)).toEqual(['w', 'b', 'v', 'c']);
    expect(module.functions[0].nodes[0].loc).toMatchObject({ op: 'MatMul', node: 'Layer_h/MatMul_h' });
  });

  it('take what the call leaves out from their defaults', async () => {
    const { AttributeProto, FunctionProto } = onnxProto.onnx;
    const slope = AttributeProto.encode(AttributeProto.fromObject({ name: 'slope', type: 1, f: 0.125 })).finish();
    const whole = FunctionProto.encode(FunctionProto.fromObject({ ...leaky, attribute: [] })).finish();
    const withDefault = protobuf.Writer.create()
      .uint32((11 << 3) | 2)
      .bytes(slope)
      .finish();
    const base = onnxFile({ nodes: [call('Leaky', ['x'], ['y'])], functions: [] });
    const f = protobuf.Writer.create()
      .uint32((25 << 3) | 2)
      .bytes(Buffer.concat([whole, withDefault]))
      .finish();
    const module = await agrees(Buffer.concat([base, f]));
    expect([...run(module, 'predict', 1, { x: [-8, 0, 1, 2] }).outputs.y]).toEqual([-1, 0, 1, 2]);
  });

  it('may leave out inputs, give an input back, and hold conditionals', async () => {
    const clip = localFunction(
      'Clip0',
      ['X', 'Low', 'High'],
      ['Y', 'Same'],
      [
        node('Clip', ['X', 'Low', 'High'], ['c']),
        node('Constant', [], ['yes'], { value: { dims: [], dataType: 9, rawData: Uint8Array.of(1) } }),
        node('If', ['yes'], ['Y'], {
          then_branch: branch('then', [node('Neg', ['c'], ['t'])], ['t']),
          else_branch: branch('else', [node('Abs', ['c'], ['e'])], ['e']),
        }),
        node('Identity', ['X'], ['Same']),
      ],
    );
    await agrees(
      onnxFile({
        nodes: [
          call('Clip0', ['x', 'low'], ['h', 's']),
          call('Clip0', ['s', '', 'high'], ['g', '']),
          node('Add', ['h', 'g'], ['y']),
        ],
        initializers: [floats('low', [], [-0.25]), floats('high', [], [0.5])],
        functions: [clip],
      }),
    );
  });

  it.each<[string, Partial<Graph>, RegExp]>([
    [
      'that call themselves',
      { functions: [localFunction('F', ['X'], ['Y'], [call('F', ['X'], ['Y'])])] },
      /function local::F .* calls itself/,
    ],
    [
      'of another opset',
      { functions: [localFunction('F', ['X'], ['Y'], [node('Relu', ['X'], ['Y'])], [], 9)] },
      /written for opset 9, the model for 13/,
    ],
    [
      'of one name',
      { functions: [1, 2].map(() => localFunction('F', ['X'], ['Y'], [node('Relu', ['X'], ['Y'])])) },
      /overloaded/,
    ],
    ['with fewer inputs', { functions: [localFunction('F', [], ['Y'], [node('Relu', ['z'], ['Y'])])] }, /1 inputs/],
    [
      'that grow without bound',
      {
        functions: Array.from({ length: 40 }, (_, i) => {
          const next = i === 39 ? node : call;
          const op = i === 39 ? 'Relu' : `F${i + 1}`;
          return localFunction(i === 0 ? 'F' : `F${i}`, ['X'], ['Y'], [next(op, ['X'], ['t']), next(op, ['t'], ['Y'])]);
        }),
      },
      /grows without bound/,
    ],
  ])('%s are refused', (_name, g, says) => {
    const file = onnxFile({ nodes: [call('F', ['x'], ['y'])], ...g });
    expect(() => load(file)).toThrow(expect.objectContaining({ code: 117 }));
    expect(() => load(file)).toThrow(says);
  });
});

describe('If', () => {
  const truth = (name: string, value: boolean) => ({
    name,
    dims: [],
    dataType: 9,
    rawData: Uint8Array.of(Number(value)),
  });
  const arms = {
    then_branch: branch('a', [node('MatMul', ['x', 'w'], ['t'])], ['t'], []),
    else_branch: branch(
      'b',
      [node('MatMul', ['x', 'k'], ['t']), node('Add', ['t', 'kb'], ['s'])],
      ['s'],
      [floats('k', [4, 3], wave(12, 7)), floats('kb', [3], wave(3, 8))],
    ),
  };

  it.each([true, false])('on a constant %s takes that branch, with its weights', async (value) => {
    const module = await agrees(
      onnxFile({ nodes: [node('If', ['cond'], ['y'], arms)], initializers: [w, truth('cond', value)] }),
    );
    expect(trained(module)).toEqual(value ? ['w'] : ['k', 'kb']);
  });

  it('on a shape, as PyTorch writes squeeze, one in the other, in any order', async () => {
    const rank = [
      node('Shape', ['h'], ['s']),
      node('Gather', ['s', 'last'], ['d'], { axis: 0 }),
      node('Equal', ['d', 'three'], ['is3']),
      node('Not', ['is3'], ['no']),
    ];
    const inner = node('If', ['no'], ['u'], {
      then_branch: branch('c', [node('Neg', ['h'], ['v'])], ['v']),
      else_branch: branch('d', [node('Identity', ['h'], ['same'])], ['same']),
    });
    const outer = node('If', ['is3'], ['y'], {
      then_branch: branch('a', [inner, node('Relu', ['u'], ['t'])], ['t']),
      else_branch: branch('b', [node('Sigmoid', ['h'], ['t'])], ['t']),
    });
    const file = (nodes: readonly object[]) =>
      onnxFile({ nodes, initializers: [w, ints('last', [], [-1]), ints('three', [], [3])] });
    await agrees(file([node('MatMul', ['x', 'w'], ['h']), ...rank, outer]));
    // onnxruntime wants its nodes sorted.
    const reversed = load(file([outer, ...rank.reverse(), node('MatMul', ['x', 'w'], ['h'])])).module;
    expect(reversed.functions[1].nodes.map((n) => n.op)).toEqual(['matmul', 'relu']);
  });

  it('on data is refused, but not where nothing reads it', () => {
    const nodes = [
      node('ReduceSum', ['x'], ['sum'], { keepdims: 0 }),
      node('Cast', ['sum'], ['cond'], { to: 9 }),
      node('If', ['cond'], ['y'], arms),
    ];
    expect(() => load(onnxFile({ nodes, initializers: [w] }))).toThrow(
      expect.objectContaining({ code: 115, what: expect.stringContaining('the condition (input #0, "cond")') }),
    );
    const unread = onnxFile({
      nodes: [...nodes, node('MatMul', ['x', 'w'], ['z'])],
      initializers: [w],
      outputs: ['z'],
    });
    expect(trained(load(unread).module)).toEqual(['w']);
  });

  it('leaves names of its own to each branch', async () => {
    const again = {
      then_branch: branch('a', [node('Neg', ['h'], ['t'])], ['t']),
      else_branch: branch('b', [node('Abs', ['h'], ['t'])], ['t']),
    };
    await agrees(
      onnxFile({
        nodes: [node('If', ['yes'], ['h'], arms), node('If', ['no'], ['y'], again)],
        inputs: [valueInfo('x', ['N', 4])],
        initializers: [w, truth('yes', true), truth('no', false)],
      }),
    );
  });
});
