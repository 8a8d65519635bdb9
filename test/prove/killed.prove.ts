/**
 * Checkpoints: killed at 20 random moments and resumed each time, the curve and the trained model are those of one run.
 */
import { expect, it } from 'vitest';
import { compiledDigits, killed, uninterrupted } from '../end-to-end/killed-run.js';
import { Rng } from '../fuzz/rng.js';

it.each([
  ['each third step', '3'],
  ['each epoch', 'epoch'],
])(
  'with a checkpoint %s',
  async (_, every) => {
    const artifact = compiledDigits();
    const options = ['--epochs', '60', '--checkpoint-every', every];
    const whole = uninterrupted(artifact, options);
    expect(await killed(artifact, options, 20, 40, new Rng(2))).toEqual(whole);
  },
  600_000,
);
