#!/usr/bin/env node
/**
 * The `spngdc` command.
 */
import { runCommandLine } from './command-line.js';

process.exitCode = await runCommandLine(process.argv.slice(2));
