/**
 * Forms in which exporters write layers, and what the importer makes of them: which tensors train, how a fixed batch becomes
 * symbolic, what shape arithmetic folds to, what training does that prediction does not.
 */
import { describe, expect, it } from 'vitest';
import { type ImportOptions, importOnnx } from '../../compiler/frontend/onnx/import.js';
import { findFunction, type Module, type TensorData } from '../../ir/graph.js';
import { printShape, tensor } from '../../ir/types.js';
import { verifyModule } from '../../ir/verify.js';
import { exported, noise, onnxruntime, relativeError, run } from './forward.js';
import { float, floats, type Graph, ints, node, onnxFile, valueInfo } from './make-onnx.js';

function load(g: Graph, options: Partial<ImportOptions> = {}) {
  const result = importOnnx(onnxFile(g), { fileName: 'test.onnx', seed: 7, ...options });
  verifyModule(result.module);
  return result;
}
const wave = (n: number, key = 1): number[] => [...noise(n, key)];
const trained = (m: Module): string[] => m.parameters.filter((p) => p.trainable).map((p) => p.name);
const outputShape = (m: Module, f = 'predict'): string => printShape(findFunction(m, f).outputs[0].value.type.shape);
const ops = (m: Module, f = 'predict'): string[] => findFunction(m, f).nodes.map((n) => n.op);

const w = floats('w', [4, 3], wave(12));
const b = floats('b', [3], wave(3, 2));

describe('what trains', () => {
  it('takes weights and biases of layers, not scales, offsets and scalars', () => {
    const { module } = load({
      nodes: [
        node('Sub', ['x', 'mean'], ['centred']),
        node('Add', ['centred', 'offset'], ['moved']),
        node('MatMul', ['moved', 'w'], ['h']),
        node('Add', ['b', 'h'], ['s']),
        node('Mul', ['s', 'temperature'], ['t']),
        node('Add', ['t', 'epsilon'], ['y']),
      ],
      initializers: [
        floats('mean', [4], wave(4)),
        floats('offset', [4], wave(4)),
        w,
        b,
        floats('temperature', [3], wave(3)),
        floats('epsilon', [1], [1e-3]),
      ],
    });
    expect(trained(module)).toEqual(['w', 'b']);
    expect(module.parameters.find((p) => p.name === 'w')?.why).toBe('weight of MatMul MatMul_h');
    expect(module.parameters.find((p) => p.name === 'mean')?.why).toBe(
      'constant: what Sub Sub_centred reads is no parameter of a layer',
    );
  });

  it('sees weights through Transpose, Reshape and Identity; weights used twice are one', () => {
    const { module } = load({
      nodes: [
        node('Transpose', ['w'], ['wt'], { perm: [1, 0] }),
        node('Identity', ['wt'], ['wi']),
        node('Gemm', ['x', 'wi', 'bi'], ['h'], { transB: 1 }),
        node('Identity', ['b'], ['bi']),
        node('MatMul', ['h', 'wt'], ['back']),
        node('Gemm', ['back', 'w', 'b'], ['y']),
      ],
      initializers: [w, b],
    });
    // The copy of the bias has a name of its own: it is a parameter of its own.
    expect(trained(module)).toEqual(['w', 'b', 'bi']);
  });

  it('takes class tokens, and the scale of a branch that is added to another', () => {
    const { module } = load({
      nodes: [
        node('MatMul', ['x', 'w'], ['h']),
        node('Shape', ['h'], ['s']),
        node('Gather', ['s', 'zero'], ['n'], { axis: 0 }),
        node('Unsqueeze', ['n', 'zero'], ['n1']),
        node('Concat', ['n1', 'minus'], ['target'], { axis: 0 }),
        node('Expand', ['token', 'target'], ['tokens']),
        node('Concat', ['tokens', 'h'], ['t'], { axis: 1 }),
        node('Mul', ['gamma', 't'], ['branch']),
        node('Mul', ['t', 'rotation'], ['turned']),
        node('Add', ['t', 'branch'], ['u']),
        node('Add', ['u', 'turned'], ['y']),
      ],
      inputs: [valueInfo('x', ['N', 6, 4])],
      initializers: [
        w,
        ints('zero', [], [0]),
        ints('minus', [2], [1, 3]),
        floats('token', [1, 1, 3], [0, 0, 0]),
        floats('gamma', [3], wave(3)),
        // One number for each position and channel is no scale that is learned: a table of sines.
        floats('rotation', [7, 3], wave(21)),
      ],
    });
    expect(trained(module)).toEqual(['w', 'token', 'gamma']);
    expect(outputShape(module)).toBe('[N,7,3]');
  });

  it('freezes and trains by pattern', () => {
    const g: Graph = {
      nodes: [node('Gemm', ['x', 'fc.w', 'fc.b'], ['h']), node('Mul', ['h', 'scale'], ['y'])],
      initializers: [{ ...w, name: 'fc.w' }, { ...b, name: 'fc.b' }, floats('scale', [3], wave(3))],
    };
    const { module } = load(g, { freeze: ['fc.*'], train: ['*.b', 'scale'] });
    expect(trained(module)).toEqual(['fc.b', 'scale']);
    expect(module.parameters[0]).toMatchObject({ name: 'fc.w', trainable: false, why: 'frozen by --freeze fc.*' });
    expect(module.state.find((s) => s.name === 'fc.w')).toMatchObject({ role: 'parameter', lifetime: 'artifact' });
    expect(() => load(g, { freeze: ['conv*'] })).toThrow(/matches no weight/);
  });

  it('gives a running statistic that shares its tensor with a parameter a tensor of its own', async () => {
    const g: Graph = {
      nodes: [node('BatchNormalization', ['x', 'one', 'zero', 'zero', 'one'], ['y'])],
      initializers: [floats('one', [4], [1, 1, 1, 1]), floats('zero', [4], [0, 0, 0, 0])],
    };
    const result = load(g);
    const { module } = result;
    expect(trained(module)).toEqual(['one', 'zero']);
    const running = module.state.filter((s) => s.role === 'running-statistic').map((s) => s.name);
    expect(running).toEqual(['y.running_mean', 'y.running_variance']);
    expect(findFunction(module, 'train').updates.map((u) => u.state)).toEqual(running);
    const x = noise(8, 3);
    const want = await onnxruntime(exported(result), { x: { data: x, shape: [2, 4] } });
    expect(relativeError(run(module, 'predict', 2, { x }).outputs.y, want.y)).toBeLessThan(1e-6);
  });

  it('takes graph inputs of fixed shape in parameter slots as weights', () => {
    const g: Graph = {
      nodes: [node('MatMul', ['x', 'w'], ['h']), node('Add', ['h', 'b'], ['y'])],
      inputs: [valueInfo('x', [1, 4]), valueInfo('w', [4, 3]), valueInfo('b', [3])],
    };
    expect(trained(load(g, { init: 'he-normal' }).module)).toEqual(['w', 'b']);
    expect(outputShape(load(g, { init: 'he-normal' }).module)).toBe('[N,3]');
    expect(() => load(g)).toThrow(/2 weights have no values/);
    const data = (shape: number[], n: number) => ({ type: tensor('f32', shape), data: noise(n, 1) });
    const weights = new Map([
      ['w', data([4, 3], 12)],
      ['b', data([3], 3)],
    ]);
    expect(load(g, { weights }).module.weights.get('w')?.data).toEqual(noise(12, 1));
    const torch = new Map<string, TensorData>([
      ...weights,
      ['bn.num_batches_tracked', { type: tensor('i64', []), data: BigInt64Array.of(3n) }],
    ]);
    expect(load(g, { weights: torch }).module.weights.size).toBe(2);
    expect(() => load(g, { weights: new Map([...weights, ['c', data([3], 3)]]) })).toThrow(/has not: c/);
    expect(() => load(g, { weights: new Map([['w', data([3, 4], 12)]]) })).toThrow(
      /is f32\[3,4\], the model needs f32\[4,3\]/,
    );
    expect(() => load(g, { weights: new Map([['w', data([4, 3], 12)]]) })).toThrow(/a weight has no values.*: b/);
  });
});

describe('initialisation', () => {
  const g: Graph = {
    nodes: [
      node('Conv', ['x', 'k', 'c'], ['h'], { group: 2 }),
      node('Flatten', ['h'], ['f']),
      node('Gemm', ['f', 'w'], ['y'], { transB: 1 }),
    ],
    inputs: [
      valueInfo('x', ['N', 64, 6, 6]),
      valueInfo('k', [128, 32, 3, 3]),
      valueInfo('c', [128]),
      valueInfo('w', [50, 2048]),
    ],
  };
  const deviation = (v: Float32Array): number => Math.sqrt(v.reduce((s, x) => s + x * x, 0) / v.length);

  it("draws He's normal numbers, reproducibly, each tensor its own", () => {
    const { weights } = load(g, { init: 'he-normal' }).module;
    const [k, c, v] = ['k', 'c', 'w'].map((n) => weights.get(n)!.data as Float32Array);
    // 36,864 and 102,400 numbers: the deviation is known to 1 / sqrt(2 n), 0.4%; five times that is allowed.
    expect(Math.abs(deviation(k) / Math.sqrt(2 / (32 * 9)) - 1)).toBeLessThan(0.02);
    expect(Math.abs(deviation(v) / Math.sqrt(2 / 2048) - 1)).toBeLessThan(0.02);
    expect(c.every((x) => x === 0)).toBe(true);
    expect(load(g, { init: 'he-normal' }).module.weights.get('k')!.data).toEqual(k);
    expect(load(g, { init: 'he-normal', seed: 8 }).module.weights.get('k')!.data).not.toEqual(k);
    expect(k.slice(0, 100)).not.toEqual(v.slice(0, 100).map((x) => (x * deviation(k)) / deviation(v)));
  });
});

describe('training and prediction', () => {
  const dropping: Graph = {
    nodes: [node('Relu', ['x'], ['r']), node('Dropout', ['r', 'p', 'mode'], ['d']), node('MatMul', ['d', 'w'], ['y'])],
    inputs: [valueInfo('x', ['N', 4])],
    initializers: [w, floats('p', [], [0.25]), { name: 'mode', dims: [], dataType: 9, rawData: Uint8Array.of(1) }],
  };

  it('drops in training only, example by example', () => {
    const { module } = load(dropping);
    expect(ops(module)).toEqual(['relu', 'matmul']);
    expect(findFunction(module, 'train').inputs.map((i) => i.name)).toEqual(['x', 'rng']);
    const x = new Float64Array(4 * 400).fill(1);
    const drawn = (first: number, n: number) =>
      run(module, 'train', n, { x: x.slice(0, 4 * n), rng: [7, 3, first] }).values.get('d')!;
    const d = drawn(0, 400);
    // 1,600 draws of probability 1/4: a deviation of 17.
    expect(Math.abs(d.filter((v) => v === 0).length - 400)).toBeLessThan(70);
    expect(d.every((v) => v === 0 || Math.abs(v - 4 / 3) < 1e-7)).toBe(true);
    expect(drawn(100, 10)).toEqual(d.slice(400, 440));
    expect(ops(load(dropping, { dropout: false }).module, 'train')).toEqual(['relu', 'matmul']);
  });

  it('exports without dropout', async () => {
    const result = load(dropping);
    const x = noise(8, 3);
    const want = await onnxruntime(exported(result), { x: { data: x, shape: [2, 4] } });
    expect(relativeError(run(result.module, 'predict', 2, { x }).outputs.y, want.y)).toBeLessThan(1e-6);
  });

  it('leaves padding rows out of a mean over the batch', () => {
    const { module } = load({
      nodes: [node('MatMul', ['x', 'w'], ['h']), node('ReduceMean', ['h'], ['y'], { keepdims: 0 })],
      initializers: [w],
    });
    const x = noise(12, 5);
    const two = run(module, 'predict', 2, { x: x.slice(0, 8) }).outputs.y;
    const padded = run(module, 'train', 3, { x, valid: [1, 1, 0] }).outputs.y;
    expect(relativeError(padded, two)).toBeLessThan(1e-14);
  });
});

describe('a fixed batch becomes symbolic', () => {
  const image = [valueInfo('x', [2, 3, 4, 4])];
  it.each([
    [[2, 48], '[N,48]'],
    [[2, -1], '[N,48]'],
    [[-1, 48], '[N,48]'],
    [[2, 3, -1], '[N,3,16]'],
    [[6, 4, 4], '[3*N,4,4]'],
    [[6, -1], '[3*N,16]'],
    [[-1, 4], '[12*N,4]'],
    [[0, -1], '[N,48]'],
  ])('Reshape to %j', (target, shape) => {
    const { module, notices } = load({
      nodes: [node('Reshape', ['x', 't'], ['y'])],
      inputs: image,
      initializers: [ints('t', [target.length], target)],
    });
    expect(outputShape(module)).toBe(shape);
    expect(notices[0]).toContain('a batch of 2');
  });

  it('does not hide a misfit where the batch is symbolic', () => {
    const nodes = [node('Reshape', ['x', 't'], ['y'])];
    expect(() => load({ nodes, initializers: [ints('t', [2], [1, 4])] })).toThrow(/cannot be reshaped/);
  });
});

describe('shape arithmetic', () => {
  it('flows through the batch: x.view(x.size(0) * 2, -1) and back', () => {
    const { module } = load({
      nodes: [
        node('Shape', ['x'], ['s']),
        node('Gather', ['s', 'zero'], ['n'], { axis: 0 }),
        node('Mul', ['n', 'two'], ['n2']),
        node('Unsqueeze', ['n2', 'axis'], ['u']),
        node('Concat', ['u', 'rest'], ['target'], { axis: 0 }),
        node('Reshape', ['x', 'target'], ['h']),
        node('Reshape', ['h', 's'], ['y']),
      ],
      initializers: [ints('zero', [], [0]), ints('two', [], [2]), ints('axis', [1], [0]), ints('rest', [1], [-1])],
    });
    expect(findFunction(module, 'predict').nodes.map((n) => printShape(n.results[0].type.shape))).toEqual([
      '[2*N,2]',
      '[N,4]',
    ]);
    expect(module.state).toEqual([]);
  });

  it('refuses what is no multiple of the batch', () => {
    const nodes = [
      node('Shape', ['x'], ['s']),
      node('Gather', ['s', 'zero'], ['n']),
      node('Add', ['n', 'one'], ['m']),
      node('Cast', ['m'], ['f'], { to: 1 }),
      node('Mul', ['x', 'f'], ['y']),
    ];
    expect(() => load({ nodes, initializers: [ints('zero', [], [0]), ints('one', [], [1])] })).toThrow(/batch size/);
  });
});

describe('layers', () => {
  const rows = [valueInfo('x', ['N', 6, 4])];

  it('writes a product of [N,T,in] with one matrix over rows', () => {
    const { module } = load({
      nodes: [node('MatMul', ['x', 'w'], ['h']), node('Add', ['h', 'b'], ['y'])],
      inputs: rows,
      initializers: [w, b],
    });
    expect(ops(module)).toEqual(['reshape', 'matmul', 'reshape', 'add']);
    expect(outputShape(module)).toBe('[N,6,3]');
  });

  it.each<[string, Graph, number[]]>([
    [
      'Gemm with alpha, beta, transA',
      {
        nodes: [
          node('Transpose', ['x'], ['xt']),
          node('Gemm', ['xt', 'w', 'b'], ['y'], { alpha: 0.5, beta: 0.25, transA: 1 }),
        ],
        initializers: [w, b],
      },
      [4],
    ],
    [
      '1-D convolution, dilated, grouped, with bias',
      {
        nodes: [node('Conv', ['x', 'k', 'c'], ['y'], { dilations: [2], group: 2, pads: [1, 2], strides: [2] })],
        inputs: rows,
        initializers: [floats('k', [4, 3, 2], wave(24)), floats('c', [4], wave(4))],
      },
      [6, 4],
    ],
    [
      '1-D pooling in ceil mode',
      { nodes: [node('MaxPool', ['x'], ['y'], { kernel_shape: [3], strides: [2], ceil_mode: 1 })], inputs: rows },
      [6, 4],
    ],
    [
      'softmax over all axes from 1 on, before opset 13',
      { nodes: [node('Softmax', ['x'], ['y'], { axis: 1 })], inputs: rows, opset: 11 },
      [6, 4],
    ],
    [
      'softmax along one axis, from opset 13 on',
      { nodes: [node('Softmax', ['x'], ['y'], { axis: 1 })], inputs: rows },
      [6, 4],
    ],
    ['Clip by attributes', { nodes: [node('Clip', ['x'], ['y'], { min: -0.25, max: 0.5 })], opset: 9 }, [4]],
    [
      'SAME_LOWER padding',
      {
        nodes: [node('Conv', ['x', 'k'], ['y'], { auto_pad: 'SAME_LOWER', strides: [2, 2] })],
        inputs: [valueInfo('x', ['N', 2, 5, 6])],
        initializers: [floats('k', [3, 2, 2, 4], wave(48))],
      },
      [2, 5, 6],
    ],
    [
      'layer normalisation',
      {
        nodes: [node('LayerNormalization', ['x', 's', 'o'], ['y'])],
        initializers: [floats('s', [4], wave(4)), floats('o', [4], wave(4, 3))],
        opset: 17,
      },
      [4],
    ],
  ])('%s is what onnxruntime computes', async (_name, g, shape) => {
    const n = 3 * shape.reduce((p, d) => p * d, 1);
    const result = load(g);
    const x = noise(n, 9);
    const want = await onnxruntime(onnxFile(g), { x: { data: x, shape: [3, ...shape] } });
    expect(relativeError(run(result.module, 'predict', 3, { x }).outputs.y, want.y)).toBeLessThan(1e-6);
    const again = await onnxruntime(exported(result), { x: { data: x, shape: [3, ...shape] } });
    expect(again.y).toEqual(want.y);
  });

  it('writes out attention and its normalisations with an open batch', async () => {
    const g: Graph = {
      nodes: [
        node('GroupNormalization', ['x', 'gs', 'gb'], ['g'], { num_groups: 2 }),
        node('RMSNormalization', ['g', 's'], ['r']),
        node('Attention', ['r', 'r', 'r'], ['a'], { q_num_heads: 2, kv_num_heads: 2, is_causal: 1 }),
        node('Trilu', ['a'], ['y'], { upper: 0 }),
      ],
      inputs: [valueInfo('x', ['N', 4, 6])],
      initializers: [floats('gs', [4], wave(4)), floats('gb', [4], wave(4, 2)), floats('s', [6], wave(6, 3))],
      opset: 23,
    };
    const result = load(g);
    expect(trained(result.module)).toEqual(['gs', 'gb', 's']);
    expect(outputShape(result.module, 'train')).toBe('[N,4,6]');
    const x = noise(72, 9);
    const want = await onnxruntime(onnxFile(g), { x: { data: x, shape: [3, 4, 6] } });
    // Sums of at most 12 terms in f32 by onnxruntime.
    expect(relativeError(run(result.module, 'predict', 3, { x }).outputs.y, want.y)).toBeLessThan(1e-6);
  });

  it('reads half, double and bfloat16 as float, and exports them so', async () => {
    // 1.5 and -2 in float16 and bfloat16.
    const raw = (...v: number[]): Uint8Array => new Uint8Array(Uint16Array.from(v).buffer);
    const g: Graph = {
      nodes: [node('Mul', ['x', 'h'], ['p']), node('Mul', ['p', 'q'], ['r']), node('Add', ['r', 'd'], ['y'])],
      inputs: [valueInfo('x', ['N', 2])],
      initializers: [
        { name: 'h', dims: [2], dataType: 10, rawData: raw(0x3e00, 0xc000) },
        { name: 'q', dims: [2], dataType: 16, rawData: raw(0x3fc0, 0xc000) },
        { name: 'd', dims: [2], dataType: 11, doubleData: [0.5, 1e-3] },
      ],
    };
    const result = load(g);
    expect(result.notices.map((n) => n.split(':')[0])).toEqual(
      ['float16', 'bfloat16', 'double'].map((t) => `the model has tensors of type ${t}`),
    );
    const want = [1.5 * 1.5 * 2 + 0.5, 4 * 3 + Math.fround(1e-3)];
    expect([...run(result.module, 'predict', 1, { x: [2, 3] }).outputs.y]).toEqual(want);
    const { y } = await onnxruntime(exported(result), { x: { data: Float32Array.of(2, 3), shape: [1, 2] } });
    expect(relativeError(y, want)).toBeLessThan(1e-7);
  });

  it('takes the shape of --input', () => {
    const nodes = [node('Conv', ['x:0', 'k'], ['y'])];
    const g: Graph = {
      nodes,
      inputs: [valueInfo('x:0', ['b', 1, 8, 8])],
      initializers: [floats('k', [2, 1, 3, 3], wave(18))],
    };
    expect(outputShape(load(g).module)).toBe('[N,2,6,6]');
    expect(outputShape(load(g, { inputs: ['x:0:Nx1x5x7'] }).module)).toBe('[N,2,3,5]');
    expect(outputShape(load(g, { inputs: ['x:0'] }).module)).toBe('[N,2,6,6]');
    for (const bad of ['z', 'x:0:Nx1x5', 'x:0:Nx1xNx7', 'x:0:Nx1x5x0', 'x:0:1.5x2'])
      expect(() => load(g, { inputs: [bad] })).toThrow(expect.objectContaining({ code: 122 }));
  });

  it('keeps a learned scale and shift trainable, as a written-out normalisation has them', () => {
    const { module } = load({
      nodes: [node('MatMul', ['x', 'w'], ['h']), node('Mul', ['h', 's'], ['m']), node('Add', ['m', 'b'], ['y'])],
      initializers: [w, floats('s', [3], wave(3)), b],
    });
    expect(trained(module)).toEqual(['w', 's', 'b']);
  });

  it('knows epsilon and slope attributes', () => {
    const { module } = load({ nodes: [node('LeakyRelu', ['x'], ['y'], { alpha: float(2) })] });
    expect([...run(module, 'predict', 1, { x: [-1, 0, 1, 2] }).outputs.y]).toEqual([-2, 0, 1, 2]);
  });
});
