/**
 * Mutants of artifact folders: manifests that say something else, kernels and weights that were damaged (with and without a hash
 * that admits it), files that are missing, or are links to elsewhere.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { MANIFEST } from '../../ir/artifact.js';
import type { Rng } from '../fuzz/rng.js';
import { damaged } from './onnx-mutations.js';

// biome-ignore lint/suspicious/noExplicitAny: a mutation sets what its type forbids
type Json = any;

export interface MutantArtifact {
  /** Code that runs was damaged, and the manifest admits it: then a kernel may run for ever. */
  readonly code: boolean;
}

const numbers = [
  0,
  -1,
  0.5,
  1,
  2,
  3,
  255,
  256,
  65535,
  65536,
  2 ** 24,
  2 ** 31,
  2 ** 32,
  2 ** 40,
  2 ** 53,
  1e308,
  -0,
  1e-9,
];
const texts = [
  '',
  '..',
  '../../x',
  '/etc/passwd',
  '__proto__',
  'constructor',
  'a\0b',
  'x'.repeat(3000),
  '\n',
  'metrics',
];

interface Place {
  readonly parent: Json;
  readonly key: string | number;
}

/** All values in the tree, by the name of their field. */
function placesOf(tree: Json): Map<string, Place[]> {
  const found = new Map<string, Place[]>();
  const walk = (parent: Json, field: string): void => {
    for (const key of Object.keys(parent)) {
      const name = Array.isArray(parent) ? `${field}[]` : key;
      const list = found.get(name);
      const place = { parent, key: Array.isArray(parent) ? Number(key) : key };
      if (list) list.push(place);
      else found.set(name, [place]);
      if (parent[key] !== null && typeof parent[key] === 'object') walk(parent[key], name);
    }
  };
  walk(tree, '');
  return found;
}

/** What devices build on. */
const deep = [
  ...[
    'offset',
    'bytes',
    'shape[]',
    'dtype',
    'layout',
    'memory',
    'role',
    'grid',
    'scratch',
    'kernel',
    'args[]',
    'buffer',
  ],
  ...[
    'workgroups[]',
    'access[]',
    'guard',
    'metrics[]',
    'features[]',
    'limits',
    'name',
    'train',
    'eval',
    'classes',
    'init',
  ],
];

/** A manifest that its schema admits, most of the time. */
function misleadManifest(manifest: Json, r: Rng): void {
  const places = placesOf(manifest);
  const list = places.get(r.pick(deep.filter((name) => places.has(name))))!;
  const [{ parent, key }, other] = [r.pick(list), r.pick(list)];
  const value = parent[key];
  if (typeof value === 'number' && r.chance(0.6))
    parent[key] = r.pick([
      0,
      1,
      2,
      256,
      65535,
      2 ** 20,
      2 ** 31,
      2 ** 32,
      2 ** 40,
      value + 1,
      value + 256,
      value * 2,
      value >> 1,
    ]);
  else if (Array.isArray(parent) && r.chance(0.3)) parent.splice(Number(key), 1);
  else [parent[key], other.parent[other.key]] = [other.parent[other.key], value];
}

function changeManifest(manifest: Json, r: Rng): void {
  const places = placesOf(manifest);
  const list = places.get(r.pick([...places.keys()]))!;
  const { parent, key } = r.pick(list);
  const value = parent[key];
  const other = r.pick(list);
  const choices: (() => void)[] = [
    // Another value of the same field: right in form, wrong in place.
    () => ([parent[key], other.parent[other.key]] = [other.parent[other.key], parent[key]]),
    () => (parent[key] = structuredClone(other.parent[other.key])),
    () => (Array.isArray(parent) ? parent.splice(Number(key), 1) : delete parent[key]),
    () => (parent[key] = r.pick([null, true, 7, 'x', [], {}, [[[]]]])),
  ];
  if (typeof value === 'number') {
    choices.push(() => (parent[key] = r.pick(numbers)));
    for (const f of [
      (n: number) => n + 1,
      (n: number) => n * 2,
      (n: number) => -n,
      (n: number) => n + 256,
      (n: number) => n >> 1,
    ])
      choices.push(() => (parent[key] = f(value)));
  }
  if (typeof value === 'string')
    choices.push(
      () => (parent[key] = r.pick(texts)),
      () => (parent[key] = `${value}'`),
    );
  if (Array.isArray(value)) {
    choices.push(() => value.reverse());
    if (value.length > 0)
      choices.push(
        () => value.push(structuredClone(r.pick(value))),
        () => value.splice(0),
      );
  } else if (value !== null && typeof value === 'object')
    choices.push(() => (value[r.pick(['extra', '__proto__', 'constructor', ''])] = r.pick(numbers)));
  r.pick(choices)();
}

/** Writes a mutant of `files` as the folder `dir`. A link out leads to `outside`. */
export function writeMutant(
  files: ReadonlyMap<string, Uint8Array>,
  dir: string,
  outside: string,
  r: Rng,
): MutantArtifact {
  const all = new Map(files);
  const manifest = JSON.parse(new TextDecoder().decode(all.get(MANIFEST)));
  const paths = [...all.keys()].filter((p) => p !== MANIFEST);
  const atPath: (() => void)[] = [];
  let code = false;
  const how = r.real();
  if (how < 0.2) changeManifest(manifest, r);
  else if (how < 0.6) for (let n = r.int(1, 2); n > 0; n--) misleadManifest(manifest, r);
  else {
    const path = r.chance(0.5) ? r.pick(paths.filter((p) => !p.endsWith('.wgsl'))) : r.pick(paths);
    const full = join(dir, path);
    switch (r.int(0, 9)) {
      case 0:
        atPath.push(() => rmSync(full));
        break;
      case 1:
        atPath.push(
          () => rmSync(full),
          () => symlinkSync(outside, full),
        );
        break;
      case 2:
        atPath.push(
          () => rmSync(full),
          () => symlinkSync(r.pick([path, '.', 'missing', '/dev/zero']), full),
        );
        break;
      case 3:
        atPath.push(
          () => rmSync(full),
          () => mkdirSync(full),
        );
        break;
      default: {
        const [bytes, other] = [all.get(path)!, all.get(r.pick(paths))!];
        const changed = r.chance(0.1) ? other : damaged(bytes, other, r);
        all.set(path, changed);
        if (r.chance(0.8)) {
          code = path.startsWith('kernels/');
          const sha256 = createHash('sha256').update(changed).digest('hex');
          manifest.files[path] = { bytes: changed.length, sha256 };
        }
      }
    }
  }
  const text = new TextEncoder().encode(JSON.stringify(manifest));
  all.set(MANIFEST, r.chance(0.05) ? damaged(text, text, r) : text);
  for (const [path, bytes] of all) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), bytes);
  }
  for (const change of atPath) change();
  return { code };
}
