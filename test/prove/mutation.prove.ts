/**
 * 10,000 mutants of ONNX files and 2,000 of artifacts. The state lies in out/mutation-*.json: an interrupted run goes on from
 * there. SPNGDC_MUTATION_FROM is the first seed instead, to see a failure again.
 */
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { hasData } from '../mutation/sources.js';
import { tryMutants } from '../mutation/try-mutants.js';

const out = (name: string): string => fileURLToPath(new URL(`../../out/${name}`, import.meta.url));
const from = Number(process.env.SPNGDC_MUTATION_FROM ?? 0);
if (!hasData) console.error('reference data: ../shared/data is missing, so mutants are made from our own models alone');

it.each([
  ['onnx', 10_000],
  ['artifact', 2_000],
] as const)(
  'mutants of %s, %i',
  async (kind, count) => {
    const { failures, counts, peakMiB, slowest } = await tryMutants(kind, count, out(`mutation-${kind}.json`), from);
    console.log(`${kind}: ${JSON.stringify(counts)}, at most ${peakMiB} MiB and ${slowest.toFixed(1)} s`);
    expect(failures).toEqual([]);
  },
  7_200_000,
);
