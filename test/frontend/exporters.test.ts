/**
 * What exporters make of a model, and what is made of it here: layouts, folded normalisation, weights that are cast, shared,
 * copied, or tied. What is predicted is what onnxruntime predicts, of the file and of its export.
 */
import { describe, expect, it } from 'vitest';
import { runPasses } from '../../compiler/compile.js';
import { type ImportOptions, importOnnx } from '../../compiler/frontend/onnx/import.js';
import { evaluate } from '../../ir/evaluate.js';
import { findFunction, type Module } from '../../ir/graph.js';
import { printShape, storedCount } from '../../ir/types.js';
import { verifyModule } from '../../ir/verify.js';
import { exported, inputsOf, noise, onnxruntime, relativeError, run } from './forward.js';
import { floats, type Graph, ints, node, onnxFile, valueInfo } from './make-onnx.js';

const wave = (n: number, key = 1): number[] => [...noise(n, key)];
const trained = (m: Module): string[] => m.parameters.filter((p) => p.trainable).map((p) => p.name);

function load(g: Graph, options: Partial<ImportOptions> = {}) {
  const result = importOnnx(onnxFile(g), { fileName: 'test.onnx', seed: 7, ...options });
  verifyModule(result.module);
  return result;
}

/** Sums of at most a hundred f32 terms, a few layers deep, by onnxruntime. */
const TOLERANCE = 2e-6;

/** Two examples, by the evaluator and by onnxruntime: the file, and what is exported of it. */
async function agrees(g: Graph): Promise<ReturnType<typeof load>> {
  const result = load(g);
  const inputs = inputsOf(result.module, 2);
  const got = run(result.module, 'predict', 2, inputs).outputs;
  const [x] = findFunction(result.module, 'predict').inputs;
  const feed = { [x.name]: { data: inputs[x.name], shape: [2, ...(x.type.shape.slice(1) as number[])] } };
  for (const file of [onnxFile(g), exported(result)])
    for (const [name, want] of Object.entries(await onnxruntime(file, feed)))
      expect(relativeError(got[name], want), name).toBeLessThan(TOLERANCE);
  return result;
}

const half = (name: string, dims: number[], ...bits: number[]) => ({
  name,
  dims,
  dataType: 10,
  rawData: new Uint8Array(Uint16Array.from(bits).buffer),
});

describe('layouts', () => {
  it('NHWC as tf2onnx writes it: transposes around, a bias behind, rows flattened last', async () => {
    const { module } = await agrees({
      nodes: [
        node('Transpose', ['images'], ['nchw'], { perm: [0, 3, 1, 2] }),
        node('Transpose', ['hwio'], ['oihw'], { perm: [3, 2, 0, 1] }),
        node('Conv', ['nchw', 'oihw'], ['c'], { auto_pad: 'SAME_UPPER', strides: [2, 2] }),
        node('Transpose', ['c'], ['nhwc'], { perm: [0, 2, 3, 1] }),
        node('Add', ['nhwc', 'bias'], ['biased']),
        node('Relu', ['biased'], ['r']),
        node('Transpose', ['r'], ['back'], { perm: [0, 3, 1, 2] }),
        node('BatchNormalization', ['back', 'g', 'b', 'm', 'v'], ['n']),
        node('MaxPool', ['n'], ['p'], { kernel_shape: [2, 2], strides: [2, 2] }),
        node('Transpose', ['p'], ['last'], { perm: [0, 2, 3, 1] }),
        node('Reshape', ['last', 'rows'], ['flat']),
        node('MatMul', ['flat', 'kernel'], ['h']),
        node('Add', ['h', 'offset'], ['y']),
      ],
      inputs: [valueInfo('images', ['unk__1', 8, 8, 2])],
      initializers: [
        floats('hwio', [3, 3, 2, 4], wave(72)),
        floats('bias', [4], wave(4, 2)),
        ...['g', 'b', 'm'].map((n, i) => floats(n, [4], wave(4, 3 + i))),
        floats('v', [4], [1, 2, 0.5, 1]),
        ints('rows', [2], [-1, 16]),
        floats('kernel', [16, 3], wave(48, 8)),
        floats('offset', [3], wave(3, 9)),
      ],
    });
    expect(trained(module)).toEqual(['hwio', 'bias', 'g', 'b', 'kernel', 'offset']);
  });

  it('reads a fixed batch back from rows [T*N], as PyTorch writes attention with the sequence in front', () => {
    const { module } = load({
      nodes: [
        node('Transpose', ['x'], ['t'], { perm: [1, 0, 2] }),
        node('Reshape', ['t', 'heads'], ['h']),
        node('Transpose', ['h'], ['batched'], { perm: [1, 0, 2] }),
        node('Transpose', ['batched'], ['again'], { perm: [1, 0, 2] }),
        node('Reshape', ['again', 'rows'], ['r']),
        node('MatMul', ['r', 'w'], ['m']),
        node('Reshape', ['m', 'sequence'], ['s']),
        node('Transpose', ['s'], ['turned'], { perm: [1, 0, 2] }),
        node('Add', ['turned', 'x'], ['y']),
      ],
      inputs: [valueInfo('x', [2, 8, 16])],
      initializers: [
        ints('heads', [3], [8, 4, 8]),
        ints('rows', [2], [16, 16]),
        ints('sequence', [3], [8, 2, 16]),
        floats('w', [16, 16], wave(256)),
      ],
    });
    const shapes = findFunction(module, 'predict').nodes.map((n) => printShape(n.results[0].type.shape));
    const around = (inner: string[]): string[] => [
      '[8,N,16]',
      '[8,2*N,8]',
      ...inner,
      '[8,N,16]',
      '[N,8,16]',
      '[N,8,16]',
    ];
    expect(shapes).toEqual(around(['[2*N,8,8]', '[8,2*N,8]', '[8*N,16]', '[8*N,16]']));
  });
});

describe('a batch that was fixed', () => {
  it.each([1, 2])('of %i: a class token repeated for each example', (batch) => {
    const { module } = load({
      nodes: [
        node('MatMul', ['x', 'w'], ['h']),
        node('Expand', ['token', 'shape'], ['tokens']),
        node('Concat', ['tokens', 'h'], ['y'], { axis: 1 }),
      ],
      inputs: [valueInfo('x', [batch, 3, 4])],
      initializers: [
        floats('w', [4, 4], wave(16)),
        floats('token', [1, 1, 4], wave(4)),
        ints('shape', [3], [batch, 1, 4]),
      ],
    });
    expect(printShape(findFunction(module, 'predict').outputs[0].value.type.shape)).toBe('[N,4,4]');
    expect(trained(module)).toEqual(['w', 'token']);
  });
});

describe('weights', () => {
  it('of half width stand behind casts: they train, and are exported, as float', async () => {
    // 1, -2, 0.5, 1.5 in float16.
    const result = load({
      nodes: [
        node('Cast', ['w16'], ['w'], { to: 1 }),
        node('Cast', ['x'], ['x16'], { to: 10 }),
        node('Cast', ['x16'], ['x32'], { to: 1 }),
        node('MatMul', ['x32', 'w'], ['h']),
        node('Cast', ['b16'], ['b'], { to: 1 }),
        node('Add', ['h', 'b'], ['y']),
      ],
      inputs: [valueInfo('x', ['N', 2])],
      initializers: [half('w16', [2, 2], 0x3c00, 0xc000, 0x3800, 0x3e00), half('b16', [2], 0x3c00, 0xc000)],
    });
    expect(trained(result.module)).toEqual(['w16', 'b16']);
    const x = [2, 4];
    const want = [2 + 2 + 1, -4 + 6 - 2];
    expect([...run(result.module, 'predict', 1, { x }).outputs.y]).toEqual(want);
    const { y } = await onnxruntime(exported(result), { x: { data: Float32Array.from(x), shape: [1, 2] } });
    expect([...y]).toEqual(want);
  });

  it('stand in Constant nodes, as tensors and as lists', async () => {
    const { module } = await agrees({
      nodes: [
        node('Constant', [], ['w'], { value: floats('', [4, 3], wave(12)) }),
        node('MatMul', ['x', 'w'], ['h']),
        node('Constant', [], ['b'], { value_floats: { type: 6, floats: [0.5, 0.25, -1] } }),
        node('Add', ['h', 'b'], ['y']),
      ],
    });
    expect(trained(module)).toEqual(['w', 'b']);
  });

  const square = floats('w', [4, 4], wave(16));
  const norms = (a: readonly string[], b: readonly string[]) => [
    node('LayerNormalization', ['x', ...a], ['p']),
    node('MatMul', ['p', 'w'], ['h']),
    node('LayerNormalization', ['h', ...b], ['y']),
  ];

  it('that were equal and are stored once train each by itself, copies and shared ones', async () => {
    const copies = await agrees({
      nodes: [
        node('Identity', ['w'], ['w2']),
        node('MatMul', ['x', 'w'], ['h']),
        node('Relu', ['h'], ['r']),
        node('MatMul', ['r', 'w2'], ['y']),
      ],
      initializers: [square],
    });
    expect(trained(copies.module)).toEqual(['w', 'w2']);
    const shared = await agrees({
      nodes: norms(['one', 'zero'], ['one', 'zero']),
      initializers: [square, floats('one', [4], [1, 1, 1, 1]), floats('zero', [4], [0, 0, 0, 0])],
      opset: 17,
    });
    expect(trained(shared.module)).toEqual(['w', 'one', 'zero', 'y.scale', 'y.bias']);
  });

  it('that are not equal all over are shared on purpose', () => {
    const { module } = load({
      nodes: norms(['s', 'b'], ['s', 'b']),
      initializers: [square, floats('s', [4], wave(4)), floats('b', [4], wave(4, 2))],
      opset: 17,
    });
    expect(trained(module)).toEqual(['w', 's', 'b']);
  });

  it('that are tied get the sum of their gradients, and no factors', () => {
    // A table that is looked up, and transposed gives the scores; the copy has a name of its own, and stays tied.
    const file = onnxFile({
      nodes: [
        node('Identity', ['table'], ['head']),
        node('Gather', ['table', 'x'], ['e']),
        node('Relu', ['e'], ['h']),
        node('Transpose', ['head'], ['t'], { perm: [1, 0] }),
        node('MatMul', ['h', 't'], ['y']),
      ],
      inputs: [valueInfo('x', ['N', 2], 7)],
      initializers: [floats('table', [5, 3], wave(15))],
    });
    const stages = runPasses(file, 'tied.onnx', { batch: 2, optimizer: 'spngd' });
    const parameter = { name: 'table', trainable: true, rule: 'plain' };
    expect(stages.placed.parameters).toEqual([expect.objectContaining(parameter)]);
    const train = findFunction(stages.placed, 'train');
    const table = Float64Array.from(noise(15, 1));
    const given: Record<string, number[]> = {
      x: [0, 3, 4, 0],
      target: [1, 2, 0, 4],
      valid: [1, 1],
      lr: [1],
      momentum: [0],
      damping: [1e-2],
      kl_bound: [3e38],
      weight_decay: [0],
    };
    const state = (values: Float64Array) =>
      Object.fromEntries(
        stages.placed.state.map((s) => [s.name, s.name === 'table' ? values : new Float64Array(storedCount(s.type))]),
      );
    const loss = (values: Float64Array): number => evaluate(train, given, state(values)).outputs.metrics[0];
    const velocity = evaluate(train, given, state(table)).state['table.velocity'];
    // Central differences in float64: the step squared is the error of the quotient.
    table.forEach((v, i) => {
      const at = (d: number) => loss(table.map((w, j) => (j === i ? v + d : w)));
      expect(Math.abs(-velocity[i] - (at(1e-5) - at(-1e-5)) / 2e-5)).toBeLessThan(1e-8);
    });
  });

  it('of tables are found where data are graph inputs of fixed size', () => {
    const { module } = load({
      nodes: [node('Gather', ['table', 'x'], ['y'])],
      inputs: [valueInfo('x', [2, 3], 7)],
      initializers: [floats('table', [5, 4], wave(20))],
    });
    expect(trained(module)).toEqual(['table']);
  });
});

describe('folded normalisation', () => {
  const net = (second: string[], ...more: object[]): Graph => ({
    nodes: [
      node('Conv', ['x', 'k', 'c'], ['h'], { pads: [1, 1, 1, 1] }),
      node('Relu', ['h'], ['r']),
      node('Conv', ['r', 'l', ...second], ['s'], { pads: [1, 1, 1, 1] }),
      node('Add', ['s', 'x'], ['y']),
    ],
    inputs: [valueInfo('x', ['N', 2, 4, 4])],
    initializers: [
      floats('k', [2, 2, 3, 3], wave(36)),
      floats('l', [2, 2, 3, 3], wave(36, 2)),
      floats('c', [2], wave(2)),
      ...more,
    ],
  });

  it('is told in a notice, where all speaks for it', () => {
    const told = (g: Graph): boolean => load(g).notices.some((n) => n.startsWith('no BatchNormalization is trained'));
    expect(told(net(['c']))).toBe(true);
    expect(told(net([]))).toBe(false);
  });
});
