import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { demo } from '../../cli/demo.js';
import { temporaryFolder } from '../runtime/tiny-artifact.js';

it('the demonstration reaches 98% with SP-NGD, in under a minute, and leaves its files', async () => {
  const out = temporaryFolder();
  let text = '';
  const started = performance.now();
  const trained = await demo(out, { stdout: { write: (t) => (text += t) }, stderr: { write: () => {} } });
  expect((performance.now() - started) / 1000).toBeLessThan(60);
  const spngd = trained.find((t) => t.name === 'SP-NGD')!;
  expect(spngd.done.epochs.at(-1)!.validation!.accuracy).toBeGreaterThanOrEqual(0.98);
  expect(readdirSync(out).sort()).toEqual([
    'curves.svg',
    ...['digits-sgd.onnx', 'digits-sgd.spngd', 'digits-spngd.onnx', 'digits-spngd.spngd'],
    ...['weights-sgd.safetensors', 'weights-spngd.safetensors'],
  ]);
  expect(text).toContain('test accuracy');
});
