/**
 * Transformers as PyTorch exported them, on every target, against PyTorch's float64 numbers: loss, gradients, raw factors and
 * 2x2 blocks, natural gradients.
 */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { allTargets, type Target } from '../../compiler/targets/targets.js';
import { DATA, goldenFactor } from '../golden/compare.js';
import { type GoldenModel, goldenBatch, modelBytes, transformers } from '../golden/transformers.js';
import { float64, readNpz } from '../npy.js';
import { direction, goldenStep, type Stepped } from './golden-step.js';
import { relativeError } from './relative-error.js';

/** Relative to the largest element of each tensor, as for the convolutional net: f32 sums, through three blocks of attention. */
const RAW = 1e-4;
const PRECONDITIONED: Readonly<Record<string, number>> = { '1e-2': 2e-4, '1e-4': 1e-3 };

function step(target: Target, model: GoldenModel, optimizer: 'spngd' | 'sgd', damping: number): Promise<Stepped> {
  const { name, batch } = model;
  return goldenStep(
    target,
    modelBytes(model),
    `${name}.onnx`,
    { batch, optimizer, dropout: false },
    goldenBatch(model),
    damping,
  );
}

/** A software GPU takes minutes to compile the larger one's kernels: `npm run prove`. */
const small = ({ name }: GoldenModel): boolean =>
  name === 'torch_transformer_encoder' || Boolean(process.env.SPNGDC_PROVE);
const cases = transformers.flatMap((model) =>
  allTargets.filter((t) => t === 'wasm' || small(model)).map((target) => ({ ...model, model, target })),
);

/** A software GPU compiles hundreds of kernels first. */
vi.setConfig({ testTimeout: 600_000 });

describe.runIf(existsSync(`${DATA}/golden`)).each(cases)('$name on $target', ({ model, target }) => {
  const golden = `${DATA}/golden/${model.name}`;

  it('loss and gradients agree with PyTorch', async () => {
    const on = await step(target, model, 'sgd', 0);
    const { loss } = JSON.parse(readFileSync(`${golden}/golden.json`, 'utf8'));
    expect(Math.abs(on.read('metrics')[0] / loss - 1)).toBeLessThan(RAW);
    const gradients = Object.entries(readNpz(`${golden}/grads.npz`));
    expect(gradients.length).toBe(on.stages.placed.parameters.length);
    for (const [name, g] of gradients) expect(relativeError(direction(on, name), float64(g)), name).toBeLessThan(RAW);
  });

  it.each(['1e-2', '1e-4'])('factors, blocks and natural gradients agree at damping %s', async (damping) => {
    const on = await step(target, model, 'spngd', Number(damping));
    for (const [name, want] of Object.entries(readNpz(`${golden}/spngd_factors.npz`)))
      expect(
        relativeError(
          goldenFactor(name, (s) => on.read(s)),
          float64(want),
        ),
        name,
      ).toBeLessThan(RAW);
    const natural = Object.entries(readNpz(`${golden}/spngd_precond_${damping}.npz`));
    expect(natural.length).toBe(on.stages.placed.parameters.length - model.plain.length);
    for (const [name, want] of natural)
      expect(relativeError(direction(on, name), float64(want)), name).toBeLessThan(PRECONDITIONED[damping]);
  });
});
