#!/usr/bin/env node
/**
 * The runtime alone, for machines that train what was compiled elsewhere: `run` and `inspect`, without the compiler. Bundled
 * into one file that needs nothing but Node (scripts/bundle.mjs).
 */
import { main } from './commands.js';
import { addDoctor } from './doctor.js';
import { addInspect } from './inspect.js';
import { addRun } from './run.js';

await main({
  description: 'Trains what spngdc compiled.',
  examples: `
Examples:
  $ spngdc inspect model.spngd                              what will be trained, how, and what it takes
  $ spngdc run model.spngd --data mnist/ --epochs 2         train; writes the trained .onnx

Exit codes: 0 done; 1 something that you can mend (the message says how); 70 a fault of spngdc.
'spngdc COMMAND --help' explains a command.`,
  add: [addRun, addInspect, addDoctor],
});
