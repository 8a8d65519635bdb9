/**
 * One net in the forms that each opset from 7 on has for it: attributes that became inputs, defaults and meanings that changed.
 * onnxruntime, which knows the forms of every opset, says what must come out.
 */
import { describe, expect, it } from 'vitest';
import { importOnnx } from '../../compiler/frontend/onnx/import.js';
import { verifyModule } from '../../ir/verify.js';
import { exported, noise, onnxruntime, relativeError, run } from './forward.js';
import { float, floats, ints, node, onnxFile, valueInfo } from './make-onnx.js';

const wave = (n: number, key: number): number[] => [...noise(n, key)];

/** A net whose parameters move between attributes and inputs. */
function net(opset: number): Uint8Array {
  // Columns in the end: pooling in ceil mode leaves one more, which is resized to two.
  const width = opset < 10 ? 4 : 6;
  const initializers: object[] = [
    floats('k', [4, 2, 3, 3], wave(72, 1)),
    floats('c', [4], wave(4, 2)),
    ...['g', 'b', 'm'].map((name, i) => floats(name, [4], wave(4, 3 + i))),
    floats('v', [4], [1, 2, 0.5, 1]),
    floats('w', [6, 2 * width], wave(12 * width, 7)),
    floats('o', [6], wave(6, 8)),
    floats('s', [4], [1, 0.5, 2, 1]),
  ];
  const given = (name: string, data: readonly number[]): string => {
    initializers.push(ints(name, [data.length], data));
    return name;
  };
  const scalar = (name: string, value: number): string => {
    initializers.push(floats(name, [], [value]));
    return name;
  };
  /** A list that is an attribute before `since`, and an input from it on. */
  const moved = (op: string, x: string, y: string[], attribute: string, list: number[], since: number, more = {}) =>
    opset < since
      ? node(op, [x], y, { [attribute]: list, ...more })
      : node(op, [x, given(`${y[0]}.${attribute}`, list)], y, more);
  const nodes: object[] = [
    node('Conv', ['x', 'k', 'c'], ['h1'], { pads: [1, 1, 1, 1] }),
    node('BatchNormalization', ['h1', 'g', 'b', 'm', 'v'], ['h2'], { epsilon: 1e-3 }),
    node('PRelu', ['h2', 'slope'], ['h3']),
    opset < 11
      ? node('Clip', ['h3'], ['h4'], { min: float(-0.5), max: float(2) })
      : node('Clip', ['h3', scalar('low', -0.5), scalar('high', 2)], ['h4']),
    moved('Pad', 'h4', ['h5'], 'pads', [0, 0, 1, 0, 0, 0, 0, 1], 11),
    node('MaxPool', ['h5'], ['h6'], { kernel_shape: [2, 2], strides: [2, 2], ...(opset >= 10 && { ceil_mode: 1 }) }),
    node('AveragePool', ['h6'], ['h7'], { kernel_shape: [2, 2], pads: [0, 0, 1, 1], count_include_pad: 1 }),
    opset < 10
      ? node('Slice', ['h7'], ['h8'], { starts: [1], ends: [100], axes: [3] })
      : node('Slice', ['h7', given('starts', [1]), given('ends', [100]), given('axes', [3])], ['h8']),
    resize(),
    moved('ReduceMean', 'h9', ['h10'], 'axes', [2], 18, { keepdims: 1 }),
    moved('Squeeze', 'h10', ['h11'], 'axes', [2], 13),
    moved('Unsqueeze', 'h11', ['h12'], 'axes', [1], 13),
    // Before opset 13 over all axes from the one that is named, [1, 4, 4], as if they were one.
    node('Softmax', ['h12'], ['h13'], { axis: 1 }),
    moved('Split', 'h13', ['a', 'b2'], 'split', [1, 3], 13, { axis: 2 }),
    moved('ReduceSum', 'b2', ['h14'], 'axes', [2], 13, { keepdims: 1 }),
    node('Concat', ['a', 'h14'], ['h15'], { axis: 2 }),
    node('Flatten', ['h15'], ['h16']),
    opset < 12
      ? node('Dropout', ['h16'], ['h17'], { ratio: float(0.25) })
      : node('Dropout', ['h16', scalar('ratio', 0.25)], ['h17']),
    node('Gemm', ['h17', 'w', 'o'], ['y'], { transB: 1 }),
  ];
  initializers.push(floats('slope', [4, 1, 1], wave(4, 9)));

  function resize(): object {
    const scales = floats('scales', [4], [1, 1, 2, 2]);
    if (opset < 9)
      return node('Upsample', ['h8'], ['h9'], { mode: 'nearest', scales: { type: 6, floats: [1, 1, 2, 2] } });
    initializers.push(scales);
    if (opset < 10) return node('Upsample', ['h8', 'scales'], ['h9'], { mode: 'nearest' });
    if (opset < 11) return node('Resize', ['h8', 'scales'], ['h9'], { mode: 'linear' });
    if (opset < 13) initializers.push(floats('roi', [0], []));
    return node('Resize', ['h8', opset < 13 ? 'roi' : '', 'scales'], ['h9'], {
      mode: 'linear',
      coordinate_transformation_mode: 'asymmetric',
    });
  }
  return onnxFile({ nodes, initializers, inputs: [valueInfo('x', ['N', 2, 4, 6])], opset });
}

/** What onnxruntime 1.30 loads. */
const opsets = Array.from({ length: 19 }, (_, i) => 7 + i);

describe('opsets', () => {
  it.each(opsets)('%i means what onnxruntime says', async (opset) => {
    const file = net(opset);
    const result = importOnnx(file, { fileName: 'net.onnx', seed: 0 });
    verifyModule(result.module);
    const parameters = result.module.parameters.filter((p) => p.trainable).map((p) => p.name);
    expect(parameters.sort()).toEqual(['b', 'c', 'g', 'k', 'o', 'slope', 'w']);
    const x = noise(2 * 48, 5);
    const feed = { x: { data: x, shape: [2, 2, 4, 6] } };
    const got = run(result.module, 'predict', 2, { x }).outputs.y;
    // A dozen layers in f32 by onnxruntime, sums of at most 18 terms.
    for (const model of [file, exported(result)])
      expect(relativeError(got, (await onnxruntime(model, feed)).y)).toBeLessThan(2e-6);
  });
});
