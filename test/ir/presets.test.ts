import { describe, expect, it } from 'vitest';
import { defaultsSchema } from '../../ir/artifact-schema.js';
import { optimizers, presetNames, resolvePreset } from '../../ir/presets.js';

describe('presets', () => {
  it('follow the batch', () => {
    expect(resolvePreset('default', 'spngd', 64)).toMatchObject({ lr: 0.02, damping: 1e-2, kl_clip: 1e-3 });
    expect(resolvePreset('default', 'spngd', 4096)).toMatchObject({
      lr: 0.1,
      kl_clip: 1e-2,
      momentum: 0.9,
      momentum_rule: 'tied',
    });
    expect(resolvePreset('default', 'spngd', 16_384).lr).toBe(0.25);
  });

  it('scale the learning rate of SGD with the batch, from 0.1 at 256 on by a warm-up', () => {
    const sgd = (batch: number) => resolvePreset('default', 'sgd', batch);
    expect(sgd(128)).toMatchObject({ lr: 0.05, warmup_epochs: 0, weight_decay: 1e-4 });
    const large = sgd(1024);
    expect(large.lr).toBeCloseTo(0.4, 12);
    expect(sgd(65_536).lr).toBe(0.8);
    expect(large.warmup_epochs).toBeGreaterThan(0);
    expect(large.lr * large.warmup_from!).toBeCloseTo(0.1, 12);
  });

  it('have the numbers of Table 2', () => {
    expect(presetNames).toHaveLength(7);
    expect(resolvePreset('sp-ngd-32k', 'spngd', 64)).toMatchObject({
      ...{
        mixup: 0.6,
        lr_power: 3.5,
        lr_start: 1.5,
        lr_end: 49.5,
        lr: 3e-2,
        momentum: 0.97,
        damping: 2e-4,
        epochs: 45,
      },
      ...{ momentum_rule: 'tied', weight_rescaling: 'always', weight_decay: 0, kl_clip: 0 },
    });
  });

  it('fit the schema, with keys in its order', () => {
    const all = [
      ...presetNames.map((name) => resolvePreset(name, 'spngd', 64)),
      ...optimizers.map((optimizer) => resolvePreset('default', optimizer, 4096)),
    ];
    for (const defaults of all) expect(JSON.stringify(defaultsSchema.parse(defaults))).toBe(JSON.stringify(defaults));
  });

  it('of the paper are for natural gradient: E605', () => {
    expect(() => resolvePreset('sp-ngd-4k', 'sgd', 64)).toThrow(expect.objectContaining({ code: 605 }));
  });
});
