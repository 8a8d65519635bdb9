/**
 * Writes a job as .tar.xz: parts in a folder beside the archive (links, where nothing has to be done to a file), through tar
 * and xz into a temporary file, then one rename. The same parts give the same bytes: names are sorted, times and owners zero.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  createWriteStream,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { UserError } from '../ir/diagnostics/error.js';
import { notAnArchive, toolFailed } from '../ir/diagnostics/pack.js';
import { cannotWrite } from '../ir/diagnostics/run.js';
import { makeFolder } from '../runtime/write-files.js';
import type { Part } from './parts.js';
import type { Tools } from './tools.js';

export interface ArchiveOptions {
  /** 0 fast to 9 small: xz's presets; 9 with all that helps machine code. */
  readonly compression: number;
  /** Told how many of `total` bytes are compressed. */
  readonly progress?: (bytes: number, total: number) => void;
}

/** Bytes of the archive. UserError E503, E703, E709. */
export async function writeArchive(
  out: string,
  parts: readonly Part[],
  tools: Tools,
  options: ArchiveOptions,
): Promise<number> {
  const target = resolve(out);
  const [, name] = /^(.+)\.tar\.xz$/.exec(basename(target)) ?? [];
  if (name === undefined) throw notAnArchive(out);
  const programs = new Programs();
  let temporary: string | undefined;
  try {
    makeFolder(dirname(target));
    temporary = mkdtempSync(join(dirname(target), `.${name}.`));
    const folder = join(temporary, name);
    for (const part of parts) await stage(folder, part, tools, programs);
    const packed = join(temporary, 'packed');
    await compress(temporary, name, packed, tools, programs, options);
    renameSync(packed, target);
    return statSync(target).size;
  } catch (e) {
    if (programs.interrupted || e instanceof UserError) throw e;
    throw cannotWrite(out, (e as Error).message);
  } finally {
    if (temporary !== undefined) rmSync(temporary, { recursive: true, force: true });
    programs.close();
  }
}

/** Programs that are running: an interrupt ends them, so that what they wrote is removed before this process ends too. */
class Programs {
  interrupted = false;
  private readonly running = new Set<ChildProcess>();
  private readonly end = (): void => {
    this.interrupted = true;
    for (const p of this.running) p.kill();
  };

  constructor() {
    process.on('SIGINT', this.end);
  }

  start(path: string, args: readonly string[]): { process: ChildProcess; done: Promise<void> } {
    const child = spawn(path, args, { env: { ...process.env, LC_ALL: 'C', XZ_OPT: '', TAR_OPTIONS: '' } });
    this.running.add(child);
    let complaint = '';
    child.stderr.on('data', (text) => {
      complaint += text;
    });
    const done = new Promise<void>((resolve, reject) => {
      child.on('error', (e) => reject(toolFailed(basename(path), e.message)));
      child.on('close', (code) => {
        this.running.delete(child);
        if (code === 0) resolve();
        else reject(toolFailed(basename(path), complaint.trim().split('\n')[0]));
      });
    });
    return { process: child, done };
  }

  close(): void {
    process.off('SIGINT', this.end);
    if (this.interrupted) process.kill(process.pid, 'SIGINT');
  }
}

async function stage(
  folder: string,
  { path, from, executable, strip }: Part,
  tools: Tools,
  programs: Programs,
): Promise<void> {
  const to = join(folder, path);
  makeFolder(dirname(to));
  if ('text' in from) writeFileSync(to, from.text, { mode: executable ? 0o755 : 0o644 });
  else if (strip) await programs.start(tools.strip, ['-o', to, from.file]).done;
  else symlinkSync(resolve(from.file), to);
}

async function compress(
  dir: string,
  name: string,
  to: string,
  tools: Tools,
  programs: Programs,
  { compression, progress }: ArchiveOptions,
): Promise<void> {
  const order = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--mode=u=rwX,go=rX'];
  const tar = programs.start(tools.tar, [...order, '-C', dir, '-chf', '-', name]);
  // Calls of machine code are made absolute before they are compressed: equal targets become equal bytes.
  const filter = process.arch === 'x64' ? ['--x86'] : [];
  const best = compression === 9 ? 'preset=9e,dict=128MiB' : `preset=${compression}`;
  const xz = programs.start(tools.xz, ['-c', '-T1', ...filter, `--lzma2=${best}`]);
  const total = folderSize(join(dir, name));
  let bytes = 0;
  const count = new Transform({
    transform(chunk, _encoding, next) {
      bytes += chunk.length;
      progress?.(Math.min(bytes, total), total);
      next(null, chunk);
    },
  });
  const through = pipeline(tar.process.stdout!, count, xz.process.stdin!);
  const written = pipeline(xz.process.stdout!, createWriteStream(to));
  // What a program says against it tells more than that its pipe was closed.
  const all = await Promise.allSettled([tar.done, xz.done, written, through]);
  for (const one of all) if (one.status === 'rejected') throw one.reason;
}

function folderSize(dir: string): number {
  const files = readdirSync(dir, { recursive: true, encoding: 'utf8' }).map((f) => statSync(join(dir, f)));
  return files.reduce((n, f) => n + (f.isFile() ? f.size : 0), 0);
}
