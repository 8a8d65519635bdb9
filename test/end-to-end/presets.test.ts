/** What a preset of the paper sets beyond numbers: staleness in the graph, soft labels for mixed examples, and mixup in the run. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { loadTrainingData } from '../../cli/train.js';
import { type CompileOptions, compile } from '../../compiler/compile.js';
import { MANIFEST, type Manifest } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import { presetMisfits } from '../../runtime/training/settings.js';

const model = readFileSync('examples/digits/digits.onnx');

function manifestOf(options: CompileOptions): Manifest {
  const { files } = compile(model, 'digits.onnx', { init: 'he-normal', targets: ['wasm'], ...options });
  return manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get(MANIFEST))));
}

const guards = (m: Manifest): number =>
  m.programs[0].functions.flatMap((f) => f.segments).filter((s) => s.guard?.includes('inverse')).length;

describe('a preset of the paper', () => {
  const four = manifestOf({ preset: 'sp-ngd-4k' });
  const plain = manifestOf({});

  it('is stale where the paper was', () => {
    expect(four.defaults).toMatchObject({ staleness: 'adaptive', staleness_alpha: 0.1 });
    expect(guards(four)).toBeGreaterThan(0);
    expect(manifestOf({ preset: 'sp-ngd-64k' }).defaults.staleness).toBe('off');
    expect(manifestOf({ preset: 'sp-ngd-4k', staleness: 'off' }).defaults.staleness).toBe('off');
    expect(guards(plain)).toBe(0);
  });

  it('is resolved for the examples of a whole step', () => {
    expect(manifestOf({ batch: 32, accumulate: 32 }).defaults).toMatchObject({
      accumulate: 32,
      lr: 0.1,
      kl_clip: 1e-2,
    });
    expect(manifestOf({ batch: 32 }).defaults).toMatchObject({ lr: 0.02, kl_clip: 1e-3 });
  });

  const augmentation = (m: Manifest, flags: object) =>
    loadTrainingData(m, { data: 'examples/digits/digits.csv.gz', normalize: '0,16', ...flags }).augmentation;

  it('mixes examples, unless the run says otherwise', () => {
    expect(four.loss.target).toMatchObject({ dtype: 'f32', classes: 10 });
    expect(augmentation(four, {})).toEqual({ mixup: 0.4 });
    expect(augmentation(four, { preset: 'sp-ngd-128k' })).toEqual({ mixup: 1 });
    expect(augmentation(four, { preset: 'default' })).toBeUndefined();
    expect(augmentation(four, { augment: 'none' })).toEqual({});
    expect(augmentation(plain, {})).toBeUndefined();
  });

  it('does not mix where labels are numbers of classes', () => {
    expect(plain.loss.target?.dtype).toBe('i32');
    const index = manifestOf({ preset: 'sp-ngd-4k', labels: 'index' });
    expect(index.loss.target?.dtype).toBe('i32');
    expect(augmentation(index, {})).toBeUndefined();
    expect(augmentation(plain, { preset: 'sp-ngd-4k' })).toBeUndefined();
    expect(presetMisfits(plain, 'sp-ngd-4k')).toContain('adaptive staleness (compile --staleness adaptive)');
  });
});
