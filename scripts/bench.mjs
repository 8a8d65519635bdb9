/**
 * `npm run bench`: sets up the dependencies, then runs the benchmarks of bench/; arguments are theirs (`npm run bench -- gemm`).
 */
import { run, setup } from './setup.mjs';

setup({ build: false });
process.exit(run(process.execPath, ['--import', 'tsx', 'bench/main.ts', ...process.argv.slice(2)]));
