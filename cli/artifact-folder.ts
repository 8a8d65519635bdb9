/**
 * Writes an artifact: the whole folder under a temporary name beside its place, then one rename, so that there is never half
 * an artifact. An artifact that is there is replaced; any other folder is left alone. A signal while the folder is on its way
 * (Ctrl-C, or the end of a job) removes it before it ends the process.
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
  writeFile,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { MANIFEST } from '../ir/artifact.js';
import { cannotWrite, notOurFolder } from '../ir/diagnostics/run.js';
import { checkWritable, makeFolder } from '../runtime/write-files.js';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Writes a whole artifact. UserError E503 where the folder cannot be written, E504 where it holds something else. */
export function writeArtifact(dir: string, files: ReadonlyMap<string, Uint8Array>): void {
  const folder = new ArtifactFolder(dir);
  try {
    folder.finish(files);
  } finally {
    folder.discard();
  }
}

/** Whether an artifact could be written to `dir`: asked before the work. Changes nothing. UserError E503, E504. */
export function checkPlace(dir: string): void {
  const target = resolve(dir);
  let replaceable: boolean;
  try {
    replaceable = !existsSync(target) || isReplaceable(target);
  } catch (e) {
    throw cannotWrite(dir, (e as Error).message);
  }
  if (!replaceable) throw notOurFolder(dir);
  checkWritable(dirname(target));
}

/** An artifact on its way: who makes one finishes it, and discards it in any case. */
export class ArtifactFolder {
  /** Beside the target, or beside the first folder above it that is to be made. */
  private readonly temporary: string;

  /** UserError E503 where the folder cannot be written, E504 where it holds something else. */
  constructor(private readonly dir: string) {
    checkPlace(dir);
    let place = resolve(dir);
    while (!existsSync(dirname(place))) place = dirname(place);
    for (const signal of signals) process.on(signal, this.interrupted);
    try {
      this.temporary = mkdtempSync(join(dirname(place), `.${basename(place)}.`));
    } catch (e) {
      this.hearNothing();
      throw cannotWrite(dir, (e as Error).message);
    }
  }

  /** Where a file of the artifact lies until all are there. */
  pathOf(file: string): string {
    return join(this.temporary, 'new', file);
  }

  /** Begins to write a file, beside other work. The promise says whether it lies there; where not, `finish` will see why. */
  begin(file: string, bytes: Uint8Array): Promise<boolean> {
    const path = this.pathOf(file);
    try {
      makeFolder(dirname(path));
      // Opened now, so that nothing appears any more in a folder that is discarded meanwhile.
      const descriptor = openSync(path, 'wx');
      return new Promise((resolve) =>
        writeFile(descriptor, bytes, (error) => {
          closeSync(descriptor);
          resolve(error === null);
        }),
      );
    } catch {
      return Promise.resolve(false);
    }
  }

  /** Writes the files but those in `written`, which lie at their paths, and puts the artifact into its place. UserError E503. */
  finish(files: ReadonlyMap<string, Uint8Array>, written: ReadonlySet<string> = new Set()): void {
    const target = resolve(this.dir);
    try {
      for (const [file, bytes] of files) {
        if (written.has(file)) continue;
        makeFolder(dirname(this.pathOf(file)));
        writeFileSync(this.pathOf(file), bytes);
      }
      makeFolder(dirname(target));
      if (existsSync(target)) renameSync(target, join(this.temporary, 'old'));
      renameSync(this.pathOf(''), target);
    } catch (e) {
      throw cannotWrite(this.dir, (e as Error).message);
    }
  }

  /** Leaves nothing but what `finish` put into its place. */
  discard(): void {
    rmSync(this.temporary, { recursive: true, force: true });
    this.hearNothing();
  }

  private readonly interrupted = (signal: NodeJS.Signals): void => {
    this.discard();
    // Nobody listens any more, so that the process ends as by any signal.
    process.kill(process.pid, signal);
  };

  private hearNothing(): void {
    for (const signal of signals) process.off(signal, this.interrupted);
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
