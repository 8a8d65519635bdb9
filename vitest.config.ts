import { defineConfig } from 'vitest/config';

/** `npm run prove` adds the long proofs, *.prove.ts, to the tests. */
const prove = Boolean(process.env.SPNGDC_PROVE);

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts', ...(prove ? ['test/**/*.prove.ts'] : [])],
    testTimeout: 120_000,
    // Two cores are what a CI machine has; forks keep WebAssembly memories of test files apart.
    pool: 'forks',
    maxWorkers: 2,
  },
});
