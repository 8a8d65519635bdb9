#!/usr/bin/env node
/**
 * The `spngdc` command.
 */
import { commands } from './command-line.js';
import { main } from './commands.js';

await main(commands);
