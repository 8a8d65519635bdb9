/**
 * `npm run demo`: sets up, then compiles and trains the digits example with SP-NGD and with SGD.
 */
import { root, setup } from './setup.mjs';

setup();
process.chdir(root);
const { demo } = await import('../dist/cli/demo.js');
await demo('out/demo', process);
