/**
 * The whole command line: all commands.
 */

import { type Commands, runCommands } from './commands.js';
import { addCompile } from './compile.js';
import { addDoctor } from './doctor.js';
import { addInspect } from './inspect.js';
import { addPack } from './pack.js';
import { addRun } from './run.js';
import type { Terminal } from './terminal.js';

export const commands: Commands = {
  description: 'Compiles an ONNX model into a program that trains it with natural gradient (SP-NGD), and runs it.',
  examples: `
Examples:
  $ spngdc compile model.onnx -o model.spngd --batch 64     compile for training with natural gradient
  $ spngdc inspect model.spngd                              what will be trained, how, and what it takes
  $ spngdc run model.spngd --data mnist/ --epochs 2         train; writes the trained .onnx

Exit codes: 0 done; 1 something that you can mend (the message says how); 70 a fault of spngdc.
'spngdc COMMAND --help' explains a command.`,
  add: [addCompile, addRun, addInspect, addPack, addDoctor],
};

/** Runs one command line (without node and script) and returns its exit code. */
export async function runCommandLine(args: readonly string[], terminal: Terminal = process): Promise<number> {
  return runCommands(commands, args, terminal);
}
