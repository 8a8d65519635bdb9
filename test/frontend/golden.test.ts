/**
 * cifar_resnet20 as PyTorch exported it, against PyTorch's float64 numbers: logits of both modes, running statistics after one
 * step in both definitions. The evaluator is float64, too; what differs is that the file holds epsilon and momentum as f32
 * (relative error 2^-25), which twenty layers carry to the logits: 1e-6.
 */
import { describe, expect, it } from 'vitest';
import { importOnnx } from '../../compiler/frontend/onnx/import.js';
import { float64, readNpy, readNpz } from '../npy.js';
import { DATA, hasData, model, relativeError, run } from './forward.js';

const TOLERANCE = 1e-6;
const golden = `${DATA}/golden/cifar_resnet20`;

describe.runIf(hasData).each([13, 15])('cifar_resnet20, opset %i', (opset) => {
  const file = `cifar_resnet20_op${opset}.onnx`;
  // The golden numbers belong to the opset 15 file; exporting the other one has moved its running statistics.
  const weights = () =>
    importOnnx(model('torch-small/cifar_resnet20_op15.onnx'), { fileName: file, seed: 0 }).module.weights;
  const load = (bnVariance?: 'unbiased') =>
    importOnnx(model(`torch-small/${file}`), { fileName: file, seed: 0, bnVariance, weights: weights() }).module;
  const x = () => float64(readNpy(`${golden}/x.npy`));

  it('predict gives the logits of evaluation mode', () => {
    const { outputs } = run(load(), 'predict', 8, { x: x() });
    expect(relativeError(outputs.logits, float64(readNpy(`${golden}/logits_eval.npy`)))).toBeLessThan(TOLERANCE);
  });

  const statistics = [
    ['population', undefined, 'bn_running_population.npz'],
    ['unbiased', 'unbiased', 'bn_running_after_1step.npz'],
  ] as const;
  it.each(statistics.slice(0, opset === 15 ? 2 : 1))(
    'train gives the logits of training mode and %s running statistics',
    (_name, variance, file) => {
      const { outputs, state } = run(load(variance), 'train', 8, { x: x(), valid: new Float64Array(8).fill(1) });
      expect(relativeError(outputs.logits, float64(readNpy(`${golden}/logits.npy`)))).toBeLessThan(TOLERANCE);
      const want = Object.entries(readNpz(`${golden}/${file}`)).filter(([name]) => /running_(mean|var)$/.test(name));
      expect(want.length).toBe(38);
      for (const [name, a] of want) expect(relativeError(state[name], float64(a)), name).toBeLessThan(TOLERANCE);
    },
  );
});
