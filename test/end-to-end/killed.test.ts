import { expect, it } from 'vitest';
import { Rng } from '../fuzz/rng.js';
import { compiledDigits, killed, uninterrupted } from './killed-run.js';

it.each([
  ['as it is', [], []],
  [
    'with all augmentation, on threads',
    ['--labels', 'soft'],
    ['--augment', 'flip,crop:1,mixup:0.4,erase:0.5', '--workers', '2'],
  ],
])(
  'a run %s that is killed three times and resumed takes the same course as one that is not',
  async (_, compiled, run) => {
    const artifact = compiledDigits(...compiled);
    const options = ['--epochs', '10', '--checkpoint-every', '5', ...run];
    const whole = uninterrupted(artifact, options);
    expect(whole.curve).toHaveLength(1 + 230 + 10);
    expect(await killed(artifact, options, 3, 30, new Rng(1))).toEqual(whole);
  },
);
