/**
 * A root folder with nothing in it but a shell and the C library: the barest Linux there is. Files are copied, so that a
 * program inside of it can reach nothing else.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { findProgram } from '../../runtime/machine/libraries.js';

/** What packing, and running in a bare root, need of this machine; empty where all is there. */
export function lacking(): string[] {
  const chroot = findChroot() ? [] : ['chroot'];
  const tools = ['strip', 'readelf', 'tar', 'xz', 'ldd'].filter((t) => findProgram(t) === undefined);
  const linux = process.platform === 'linux' ? [] : ['Linux'];
  return [...linux, ...(process.getuid?.() === 0 ? [] : ['root']), ...chroot, ...tools];
}

const findChroot = (): string | undefined => findProgram('chroot') ?? findProgram('../sbin/chroot');

export function makeBareRoot(root: string): void {
  for (const file of ['/bin/sh', ...librariesOf('/bin/sh'), ...librariesOf(process.execPath)]) {
    // The C++ library is not part of a bare system.
    if (/lib(stdc\+\+|gcc_s)/.test(file)) continue;
    mkdirSync(join(root, dirname(file)), { recursive: true });
    copyFileSync(file, join(root, file));
  }
  mkdirSync(join(root, 'tmp'));
}

function librariesOf(program: string): string[] {
  const text = execFileSync('ldd', [program], { encoding: 'utf8' });
  return [...text.matchAll(/(\/\S+) \(0x/g)].map((m) => m[1]);
}

export interface Ran {
  readonly out: string;
  readonly err: string;
  readonly code: number | null;
}

/** Runs a command inside, with no environment but `env`. */
export function runInside(root: string, command: readonly string[], env: Record<string, string> = {}): Ran {
  const { stdout, stderr, status } = spawnSync(findChroot()!, [root, ...command], { env, encoding: 'utf8' });
  return { out: stdout, err: stderr, code: status };
}
