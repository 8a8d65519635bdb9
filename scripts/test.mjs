// npm test: sets up, checks types and style, runs all tests, and closes with one line `N passed, N failed`.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { systemPackages } from './packages.mjs';
import { root, run, setup } from './setup.mjs';

systemPackages();
setup();
const prove = process.argv.includes('--prove');
const lint = run(process.execPath, [
  join(root, 'node_modules/@biomejs/biome/bin/biome'),
  'check',
  '--diagnostic-level=error',
]);
const types = run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '--noEmit', '-p', 'tsconfig.json']);
const report = join(root, 'out', 'test-results.json');
rmSync(report, { force: true });
const tests = run(
  process.execPath,
  [
    join(root, 'node_modules/vitest/vitest.mjs'),
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile=${report}`,
  ],
  { env: { ...process.env, SPNGDC_PROVE: prove ? '1' : '' } },
);
let passed = 0;
let failed = (lint === 0 ? 0 : 1) + (types === 0 ? 0 : 1);
let skipped = 0;
if (existsSync(report)) {
  const r = JSON.parse(readFileSync(report, 'utf8'));
  passed = r.numPassedTests;
  failed += r.numFailedTests;
  skipped = r.numPendingTests + (r.numTodoTests ?? 0);
  // A file that does not load fails no test by itself.
  if (r.numFailedTests === 0 && !r.success) failed += 1;
} else failed += 1;
if (skipped > 0 && !existsSync(join(root, '../shared/data'))) {
  console.error(`reference data: ../shared/data is missing, so ${skipped} tests that need it did not run`);
}
if (lint !== 0) console.error('style: biome check failed');
if (types !== 0) console.error('types: tsc failed');
if (tests !== 0 && failed === 0) failed = 1;
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exit(failed === 0 ? 0 : 1);
