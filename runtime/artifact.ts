/**
 * Loads an artifact folder: the manifest against its schema, then each file's path, size and SHA-256, then the program's
 * bounds. What leaves is safe to hand to a device: nothing in it has run yet, and the bytes are those that were checked.
 */
import { createHash } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { join, sep } from 'node:path';
import { MANIFEST, type Manifest, SCHEMA_VERSION, type Target, WEIGHTS } from '../ir/artifact.js';
import { manifestSchema } from '../ir/artifact-schema.js';
import {
  fileHash,
  fileMissing,
  fileSize,
  manifestBroken,
  notAnArtifact,
  pathEscapes,
  schemaVersion,
  weightsMismatch,
  wrongTarget,
} from '../ir/diagnostics/artifact.js';
import type { TensorData } from '../ir/graph.js';
import type { Program } from '../ir/program.js';
import { readSafetensors } from '../ir/safetensors.js';
import { printType } from '../ir/types.js';
import { checkPrograms } from './check-program.js';

export interface Artifact {
  readonly dir: string;
  readonly manifest: Manifest;
  /** Contents of every file that the manifest lists, by its path in the folder. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** First values of all state that is initialised from weights. */
  readonly weights: ReadonlyMap<string, TensorData>;
}

/** Reads and checks the artifact in `dir`. Throws UserError E401-E425. */
export function loadArtifact(dir: string): Artifact {
  const manifest = readManifest(dir);
  const files = readFiles(dir, manifest);
  checkPrograms(manifest);
  return { dir, manifest, files, weights: readWeights(dir, manifest, files) };
}

/** The program of a target. UserError E419 where there is none. */
export function programFor({ programs }: Manifest, target: Target): Program {
  const found = programs.find((p) => p.target === target);
  if (!found)
    throw wrongTarget(
      target,
      programs.map((p) => p.target),
    );
  return found;
}

function readManifest(dir: string): Manifest {
  const file = join(dir, MANIFEST);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    throw notAnArtifact(dir);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (e) {
    throw manifestBroken(file, '', `it is not JSON (${(e as Error).message})`);
  }
  const version = (json as { schema?: unknown } | null)?.schema;
  // Before the rest of the schema: another version's keys would only bury the cause.
  if (version !== SCHEMA_VERSION) throw schemaVersion(file, version, SCHEMA_VERSION);
  const result = manifestSchema.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const place = issue.path.map((p) => (typeof p === 'number' ? `[${p}]` : `.${String(p)}`)).join('');
  throw manifestBroken(file, place.replace(/^\./, ''), issue.message);
}

function readFiles(dir: string, manifest: Manifest): Map<string, Uint8Array> {
  const root = realpathSync(dir) + sep;
  const files = new Map<string, Uint8Array>();
  for (const [path, expected] of Object.entries(manifest.files)) {
    const file = join(dir, path);
    let real: string;
    let bytes: Uint8Array;
    try {
      real = realpathSync(file);
    } catch {
      throw fileMissing(file);
    }
    // The schema admits no `..`; a symbolic link could still lead out.
    if (!real.startsWith(root)) throw pathEscapes(file);
    try {
      bytes = readFileSync(real);
    } catch {
      throw fileMissing(file);
    }
    if (bytes.length !== expected.bytes) throw fileSize(file, bytes.length, expected.bytes);
    if (createHash('sha256').update(bytes).digest('hex') !== expected.sha256) throw fileHash(file);
    files.set(path, bytes);
  }
  return files;
}

function readWeights(dir: string, manifest: Manifest, files: ReadonlyMap<string, Uint8Array>): Map<string, TensorData> {
  const needed = manifest.state.filter((s) => s.init.kind === 'weights');
  const bytes = files.get(WEIGHTS);
  const file = join(dir, WEIGHTS);
  if (!bytes) {
    if (needed.length > 0) throw fileMissing(file);
    return new Map();
  }
  const weights = readSafetensors(bytes, file);
  for (const entry of needed) {
    const found = weights.get(entry.name);
    if (!found) throw weightsMismatch(file, entry.name, 'the tensor is missing');
    const { dtype, shape } = found.type;
    const same = dtype === entry.dtype && shape.join() === entry.shape.join() && entry.layout === 'dense';
    if (!same)
      throw weightsMismatch(
        file,
        entry.name,
        `the file has ${printType(found.type)}, the program ${entry.layout} ${entry.dtype}[${entry.shape}]`,
      );
  }
  return weights;
}
