import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 120_000,
    // Two cores are what a CI machine has; forks keep WebAssembly memories of test files apart.
    pool: 'forks',
    maxWorkers: 2,
  },
});
