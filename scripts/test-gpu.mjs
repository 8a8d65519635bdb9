// npm run test:gpu: sets up, then runs every kind of kernel on this machine's GPU, and a short training run. Options: --help.
import { join } from 'node:path';
import { root, run, setup } from './setup.mjs';

setup();
process.exit(run(process.execPath, [join(root, 'dist/test-gpu.mjs'), ...process.argv.slice(2)]));
