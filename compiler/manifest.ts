/**
 * Everything that a runtime must know, gathered into the manifest. No dates and no absolute paths: the same input gives the
 * same bytes.
 */
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import {
  ACCUMULATE,
  CARRY,
  type Defaults,
  type Manifest,
  SCHEMA_VERSION,
  scheduledInputs,
  type TensorInfo,
} from '../ir/artifact.js';
import { findFunction, type Module, type Value } from '../ir/graph.js';
import type { Optimizer } from '../ir/presets.js';
import type { Program } from '../ir/program.js';
import { bindShape, concrete } from '../ir/types.js';
import { VERSION } from '../ir/version.js';
import type { LossDescription } from './passes/attach-loss.js';

/** What the passes left that the manifest tells. */
export interface ManifestParts {
  readonly placed: Module;
  readonly programs: readonly Program[];
  readonly batch: { readonly train: number; readonly eval: number };
  readonly seed: number;
  readonly optimizer: Optimizer;
  readonly loss: LossDescription;
  readonly defaults: Defaults;
  /** For each function with an output `metrics`, the names of its elements. */
  readonly metrics: Readonly<Record<string, readonly string[]>>;
}

/** Inputs of `train` that the host computes; all others are data. */
const hostInputs: ReadonlySet<string> = new Set(['target', 'valid', 'rng', CARRY, ...scheduledInputs]);

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A file name's stem, with what a file system or the schema cannot take replaced. */
function stem(fileName: string): string {
  const name = basename(fileName)
    .replace(/\.onnx$/i, '')
    .replace(/[/\\\p{Cc}]/gu, '_');
  return name === '' || name === '.' || name === '..' ? 'model' : name;
}

/**
 * @param files the artifact's other files by path
 * @param hashes SHA-256 of those whose hash is known already
 * @param model the model's bytes, as compiled
 */
export function buildManifest(
  parts: ManifestParts,
  files: ReadonlyMap<string, Uint8Array>,
  hashes: ReadonlyMap<string, string>,
  model: Uint8Array,
  fileName: string,
): Manifest {
  const { placed: module, batch, loss } = parts;
  const state = new Map(module.state.map((s) => [s.name, s]));
  const info = (name: string, v: Value): TensorInfo => ({
    name,
    dtype: v.type.dtype,
    shape: [...concrete(v.type.shape)],
  });
  return {
    schema: SCHEMA_VERSION,
    generator: `spngdc ${VERSION}`,
    model: { name: stem(fileName), file: basename(fileName), sha256: sha256(model) },
    optimizer: parts.optimizer,
    batch,
    seed: parts.seed,
    loss: {
      kind: loss.kind,
      ...(loss.target && {
        target: {
          dtype: loss.target.dtype,
          shape: [...concrete(bindShape(loss.target.shape, { N: batch.train }))],
          ...(loss.target.classes !== undefined && { classes: loss.target.classes }),
        },
      }),
    },
    inputs: (module.functions.find((f) => f.name === ACCUMULATE) ?? findFunction(module, 'train')).inputs
      .filter((v) => !hostInputs.has(v.name))
      .map((v) => info(v.name, v)),
    outputs: findFunction(module, 'predict').outputs.map((o) => info(o.name, o.value)),
    parameters: module.parameters.map((p) => {
      const entry = state.get(p.name);
      return { ...p, shape: entry ? [...concrete(entry.type.shape)] : [] };
    }),
    state: module.state.map((s) => ({
      name: s.name,
      dtype: s.type.dtype,
      shape: [...concrete(s.type.shape)],
      layout: s.type.layout,
      role: s.role,
      owner: s.owner,
      lifetime: s.lifetime,
      checkpoint: s.checkpoint,
      init: s.init,
      ...(s.of !== undefined && { of: s.of }),
    })),
    defaults: { ...parts.defaults },
    functions: Object.fromEntries(
      module.functions.map(({ name }) => [name, name in parts.metrics ? { metrics: [...parts.metrics[name]] } : {}]),
    ),
    programs: [...parts.programs],
    files: Object.fromEntries(
      [...files].map(([path, bytes]) => [path, { bytes: bytes.length, sha256: hashes.get(path) ?? sha256(bytes) }]),
    ),
  };
}
