/**
 * Writes files so that nothing half-written is ever seen: all under temporary names first, then renamed.
 */
import { accessSync, constants, existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { cannotWrite } from '../ir/diagnostics/run.js';

/**
 * Makes a folder and those above it, one at a time: node's own `recursive` never returns where a file system has the folder
 * above but refuses new ones (/proc).
 */
export function makeFolder(dir: string): void {
  const full = resolve(dir);
  if (existsSync(full)) return;
  makeFolder(dirname(full));
  mkdirSync(full);
}

/** Runs `write` to its end before an interrupt (Ctrl-C) is heard, so that no temporary file is left behind. */
export function uninterrupted(write: () => void): void {
  const later = (): void => {};
  process.on('SIGINT', later);
  try {
    write();
  } finally {
    process.off('SIGINT', later);
  }
}

/** Writes `files` (path in `dir` -> bytes), replacing those that exist. UserError E503 where that fails; then none was changed. */
export function writeFiles(dir: string, files: ReadonlyMap<string, Uint8Array>): void {
  uninterrupted(() => writeAll(dir, files));
}

function writeAll(dir: string, files: ReadonlyMap<string, Uint8Array>): void {
  const pending: { temporary: string; final: string }[] = [];
  try {
    for (const [path, bytes] of files) {
      const final = join(dir, path);
      const temporary = `${final}.${process.pid}.tmp`;
      makeFolder(dirname(final));
      pending.push({ temporary, final });
      writeFileSync(temporary, bytes);
    }
    for (const { temporary, final } of pending) renameSync(temporary, final);
  } catch (e) {
    for (const { temporary } of pending) rmSync(temporary, { force: true });
    throw cannotWrite(dir, (e as Error).message);
  }
}

/**
 * Whether files could be written to `dir`, made where it is missing: asked before a long run rather than after it. Changes
 * nothing. UserError E503.
 */
export function checkWritable(dir: string): void {
  let at = resolve(dir);
  while (!existsSync(at)) at = dirname(at);
  try {
    if (!statSync(at).isDirectory()) throw new Error(`${at} is not a folder`);
    accessSync(at, constants.W_OK);
  } catch (e) {
    throw cannotWrite(dir, (e as Error).message);
  }
}
