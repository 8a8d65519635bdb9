#!/usr/bin/env node
/**
 * The `spngdc` command.
 */
import { runCommandLine } from './command-line.js';

/** 128 + SIGPIPE, as for any command whose reader has seen enough (`| head`). */
const EXIT_PIPE = 141;

process.stdout.on('error', (e: NodeJS.ErrnoException) => {
  if (e.code !== 'EPIPE') throw e;
  process.exit(EXIT_PIPE);
});
process.exitCode = await runCommandLine(process.argv.slice(2));
