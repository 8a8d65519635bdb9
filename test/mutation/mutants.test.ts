/**
 * A sample of the mutants that `npm run prove` tries: no crash, no hang, nothing written beside the output. Each ends in a sound
 * artifact or in a numbered error.
 */
import { expect, it } from 'vitest';
import { hasData } from './sources.js';
import { tryMutants } from './try-mutants.js';

if (!hasData) console.error('reference data: ../shared/data is missing, so mutants are made from our own models alone');

it('150 mutants of ONNX files', async () => {
  const { failures, counts } = await tryMutants('onnx', 150);
  expect(failures).toEqual([]);
  expect(counts.ok).toBeGreaterThan(10);
}, 600_000);

it('50 mutants of artifacts', async () => {
  const { failures, counts } = await tryMutants('artifact', 50);
  expect(failures).toEqual([]);
  expect(counts['run ok']).toBeGreaterThan(10);
  expect(counts['webgpu ok']).toBeGreaterThan(10);
}, 600_000);
