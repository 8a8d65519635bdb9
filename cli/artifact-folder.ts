/**
 * Writes an artifact: the whole folder under a temporary name beside its place, then one rename, so that there is never half
 * an artifact. An artifact that is there is replaced; any other folder is left alone.
 */
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { MANIFEST } from '../ir/artifact.js';
import { UserError } from '../ir/diagnostics/error.js';
import { cannotWrite, notOurFolder } from '../ir/diagnostics/run.js';
import { makeFolder, uninterrupted } from '../runtime/write-files.js';

/** UserError E503 where the folder cannot be written, E504 where it holds something else. */
export function writeArtifact(dir: string, files: ReadonlyMap<string, Uint8Array>): void {
  uninterrupted(() => replaceFolder(dir, files));
}

function replaceFolder(dir: string, files: ReadonlyMap<string, Uint8Array>): void {
  const target = resolve(dir);
  let temporary: string | undefined;
  try {
    if (existsSync(target) && !isReplaceable(target)) throw notOurFolder(dir);
    makeFolder(dirname(target));
    temporary = mkdtempSync(join(dirname(target), `.${basename(target)}.`));
    const fresh = join(temporary, 'new');
    for (const [path, bytes] of files) {
      makeFolder(dirname(join(fresh, path)));
      writeFileSync(join(fresh, path), bytes);
    }
    if (existsSync(target)) renameSync(target, join(temporary, 'old'));
    renameSync(fresh, target);
  } catch (e) {
    if (e instanceof UserError) throw e;
    throw cannotWrite(dir, (e as Error).message);
  } finally {
    if (temporary !== undefined) rmSync(temporary, { recursive: true, force: true });
  }
}

/** Whether a folder is empty or was written by us, which is told at the manifest's beginning: it may have tens of megabytes. */
function isReplaceable(dir: string): boolean {
  if (!statSync(dir).isDirectory()) return false;
  if (readdirSync(dir).length === 0) return true;
  return /^\s*\{[^{}]*"generator":\s*"spngdc /.test(beginning(join(dir, MANIFEST)));
}

function beginning(file: string): string {
  try {
    const fd = openSync(file, 'r');
    try {
      const bytes = Buffer.alloc(256);
      return bytes.toString('utf8', 0, readSync(fd, bytes));
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}
