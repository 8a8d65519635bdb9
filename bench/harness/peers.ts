/**
 * Other people's programs that the table compares with. They are installed here, into node_modules/.cache, when a benchmark
 * first asks for one: none is a dependency of the product. Where one cannot be installed the rows that need it say so.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = join(dirname(fileURLToPath(import.meta.url)), '..');
/** What is installed, and everything that belongs to it. */
const folder = join(here, '..', 'node_modules', '.cache', 'bench-peers');

const versions = {
  '@jax-js/jax': '0.1.25',
  '@tensorflow/tfjs': '4.22.0',
  '@tensorflow/tfjs-backend-wasm': '4.22.0',
} as const;
type Package = keyof typeof versions;

export const used = new Map<string, string>();
/** Versions of the peers that took part. */
export const peerVersions = (): ReadonlyMap<string, string> => used;

function install(note: (text: string) => void): boolean {
  const wanted = Object.entries(versions);
  const there = (name: string, version: string): boolean => {
    const path = join(folder, 'node_modules', name, 'package.json');
    return existsSync(path) && JSON.parse(readFileSync(path, 'utf8')).version === version;
  };
  if (wanted.every(([n, v]) => there(n, v))) return true;
  note('installing peers from npm ...');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  const quiet = ['--no-save', '--ignore-scripts', '--no-fund', '--no-audit', '--loglevel=error'];
  const { status } = spawnSync('npm', ['install', ...quiet, ...wanted.map(([n, v]) => `${n}@${v}`)], {
    cwd: folder,
    stdio: 'inherit',
  });
  return status === 0;
}

/** The package's module, or undefined where it cannot be had. */
export async function peerModule(
  name: Package,
  entry: string,
  note: (text: string) => void,
  // biome-ignore lint/suspicious/noExplicitAny: the peer is not there when types are checked
): Promise<any> {
  if (!install(note)) {
    note(`${name} is left out: npm could not install it`);
    return undefined;
  }
  used.set(name, versions[name]);
  return import(pathToFileURL(join(folder, 'node_modules', name, entry)).href);
}

export const peerFile = (...path: string[]): string => join(folder, ...path);
export { folder as peerFolder, here as benchFolder };
