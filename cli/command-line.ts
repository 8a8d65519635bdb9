/**
 * The command line from arguments to exit code: 0; 1 for what the user can mend (a UserError, or a command line that
 * commander refuses); 70 for a fault of ours, in one line unless SPNGDC_DEBUG is set.
 */
import { Command, CommanderError } from 'commander';
import { USAGE_ERROR } from '../ir/diagnostics/command-line.js';
import { UserError } from '../ir/diagnostics/error.js';
import { VERSION } from '../ir/version.js';
import { addCompile } from './compile.js';
import { addInspect } from './inspect.js';
import { addRun } from './run.js';
import type { Terminal } from './terminal.js';

const EXIT_USER = 1;
/** EX_SOFTWARE of sysexits.h. */
const EXIT_FAULT = 70;

const examples = `
Examples:
  $ spngdc compile model.onnx -o model.spngd --batch 64     compile for training with natural gradient
  $ spngdc inspect model.spngd                              what will be trained, how, and what it takes
  $ spngdc run model.spngd --data mnist/ --epochs 2         train; writes the trained .onnx

Exit codes: 0 done; 1 something that you can mend (the message says how); 70 a fault of spngdc.
'spngdc COMMAND --help' explains a command.`;

export function buildProgram(terminal: Terminal): Command {
  const program = new Command('spngdc')
    .description('Compiles an ONNX model into a program that trains it with natural gradient (SP-NGD), and runs it.')
    .version(VERSION)
    .addHelpText('after', examples);
  addCompile(program, terminal);
  addRun(program, terminal);
  addInspect(program, terminal);
  for (const command of [program, ...program.commands]) {
    command
      .exitOverride()
      .showHelpAfterError(`(${command === program ? 'spngdc' : `spngdc ${command.name()}`} --help explains)`)
      .configureOutput({
        writeOut: (text) => terminal.stdout.write(text),
        writeErr: (text) => terminal.stderr.write(text),
        outputError: (text, write) => write(text.replace(/^error: /, `error E${USAGE_ERROR}: `)),
      });
  }
  return program;
}

/** Runs one command line (without node and script) and returns its exit code. */
export async function runCommandLine(args: readonly string[], terminal: Terminal = process): Promise<number> {
  try {
    await buildProgram(terminal).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    return report(error, terminal);
  }
}

function report(error: unknown, { stderr }: Terminal): number {
  // Commander has printed its own message.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USER;
  if (error instanceof UserError) {
    stderr.write(`${error.format()}\n`);
    return EXIT_USER;
  }
  const e = error instanceof Error ? error : new Error(String(error));
  const more = process.env.SPNGDC_DEBUG ? `\n${e.stack}` : ' (SPNGDC_DEBUG=1 shows where)';
  stderr.write(`fault: ${e.message.split('\n')[0]}: this is a fault of spngdc${more}\n`);
  return EXIT_FAULT;
}
