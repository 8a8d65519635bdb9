import { expect, it } from 'vitest';
import { Rng } from '../fuzz/rng.js';
import { compiledDigits, killed, uninterrupted } from './killed-run.js';

it('a run that is killed three times and resumed takes the same course as one that is not', async () => {
  const artifact = compiledDigits();
  const options = ['--epochs', '10', '--checkpoint-every', '5'];
  const whole = uninterrupted(artifact, options);
  expect(whole.curve).toHaveLength(1 + 230 + 10);
  expect(await killed(artifact, options, 3, 30, new Rng(1))).toEqual(whole);
});
