/**
 * Shared libraries and programs of a Linux machine, found by name in the folders where its linker and its shell look.
 */
import { accessSync, constants, existsSync, readFileSync, realpathSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Debian's name of the processor in folder names. */
const triplets: Partial<Record<NodeJS.Architecture, string>> = {
  x64: 'x86_64-linux-gnu',
  arm64: 'aarch64-linux-gnu',
};

function libraryFolders(): string[] {
  const named = (process.env.LD_LIBRARY_PATH ?? '').split(':').filter((f) => f !== '');
  const triplet = triplets[process.arch];
  const own = triplet ? [`/usr/lib/${triplet}`, `/lib/${triplet}`] : [];
  return [...named, '/usr/local/lib', ...own, '/usr/lib64', '/lib64', '/usr/lib', '/lib'];
}

/** The file that a program gets which asks for the library `name`; undefined where there is none. */
export function findLibrary(name: string, folders: readonly string[] = libraryFolders()): string | undefined {
  const found = folders.map((f) => join(f, name)).find((path) => existsSync(path));
  return found && realpathSync(found);
}

/** The library `name` as this process has loaded it: not always the one that its folders would give. Linux only. */
export function loadedLibrary(name: string): string | undefined {
  const lines = readFileSync('/proc/self/maps', 'utf8').split('\n');
  const paths = lines.map((l) => l.slice(l.indexOf('/')).trim());
  const found = paths.find((p) => p.startsWith('/') && p.split('/').at(-1)!.startsWith(name));
  return found ?? findLibrary(name);
}

/** The program `name` on the PATH; undefined where there is none. */
export function findProgram(name: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((f) => f !== '');
  return folders
    .map((f) => join(f, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}
