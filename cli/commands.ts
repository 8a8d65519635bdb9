/**
 * The frame of a command line, from arguments to exit code: 0; 1 for what the user can mend (a UserError, or a command line
 * that commander refuses); 70 for a fault of ours, in one line unless SPNGDC_DEBUG is set. Which commands there are is up to
 * the entry point, so that a bundle holds no more than its own.
 */
import { Command, CommanderError } from 'commander';
import { USAGE_ERROR } from '../ir/diagnostics/command-line.js';
import { UserError } from '../ir/diagnostics/error.js';
import { VERSION } from '../ir/version.js';
import type { Terminal } from './terminal.js';

const EXIT_USER = 1;
/** EX_SOFTWARE of sysexits.h. */
const EXIT_FAULT = 70;
/** 128 + SIGPIPE, as for any command whose reader has seen enough (`| head`). */
const EXIT_PIPE = 141;

/** What a command line offers. */
export interface Commands {
  readonly description: string;
  readonly examples: string;
  readonly add: readonly ((program: Command, terminal: Terminal) => void)[];
}

export function buildProgram({ description, examples, add }: Commands, terminal: Terminal): Command {
  const program = new Command('spngdc').description(description).version(VERSION).addHelpText('after', examples);
  for (const addCommand of add) addCommand(program, terminal);
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
export async function runCommands(commands: Commands, args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    await buildProgram(commands, terminal).parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    return report(error, terminal);
  }
}

/** The command line of this process. */
export async function main(commands: Commands): Promise<void> {
  process.stdout.on('error', (e: NodeJS.ErrnoException) => {
    if (e.code !== 'EPIPE') throw e;
    process.exit(EXIT_PIPE);
  });
  process.exitCode = await runCommands(commands, process.argv.slice(2), process);
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
