/**
 * An artifact on disk: the names of its files, and manifest.json, which holds all that a runtime must know to run a compiled
 * model. Its schema is apart, so that only what reads manifests loads it.
 */
import type { z } from 'zod';
import type { manifestSchema, tensorInfo } from './artifact-schema.js';
import { bytesOf, type Lines } from './text/lines.js';

export const SCHEMA_VERSION = 4;
export const MANIFEST = 'manifest.json';
export const PROGRAM_TEXT = 'program.spn';
export const WASM_MODULE = 'kernels/program.wasm';
/** The WGSL of one kernel. */
export const shaderFile = (kernel: string): string => `kernels/${kernel}.wgsl`;
export const WEIGHTS = 'weights.safetensors';
export const TEMPLATE = 'model.onnx';

/** Scalar inputs of `train` that the host computes anew for each step; a function lists those that it uses. */
export const scheduledInputs = ['lr', 'momentum', 'damping', 'kl_bound', 'weight_decay', 'trust_coefficient'] as const;

/** The function that adds one micro-batch to the sums of a step, in a program that has it; `train` then takes no examples. */
export const ACCUMULATE = 'accumulate';

/** Scalar input of `accumulate`: 0 for the first micro-batch of a step, else 1. */
export const CARRY = 'carry';

export type Manifest = z.infer<typeof manifestSchema>;
export type Defaults = Manifest['defaults'];
export type StateInfo = Manifest['state'][number];
export type Target = Manifest['programs'][number]['target'];
export type TensorInfo = z.infer<typeof tensorInfo>;

/** Parts of a manifest with a line for each of their entries, and what parts an entry has in turn. */
interface Parts {
  readonly [key: string]: Parts;
}
const parts: Parts = {
  parameters: {},
  state: {},
  programs: { memories: {}, buffers: {}, kernels: {}, functions: { segments: { steps: {} } } },
  files: {},
};

/**
 * The bytes of manifest.json, for `grep` a line for each entry: equal manifests give equal bytes, where their keys stand in the
 * schema's order (as `compile` makes them). Not checked here: what reads a manifest must check it anyway.
 */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const sorted = <T>(record: Record<string, T>): Record<string, T> =>
    Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
  const ordered = { ...manifest, functions: sorted(manifest.functions), files: sorted(manifest.files) };
  return bytesOf((to) => writeRecord(ordered, parts, to, '', ''));
}

function writeRecord(record: object, own: Parts, to: Lines, before: string, after: string): void {
  to(`${before}{`);
  const entries = Object.entries(record).filter(([, value]) => value !== undefined);
  entries.forEach(([key, value], i) => {
    const begin = `${JSON.stringify(key)}:`;
    const end = i < entries.length - 1 ? ',' : '';
    if (!Object.hasOwn(own, key)) to(`${begin}${JSON.stringify(value)}${end}`);
    else if (Array.isArray(value)) writeList(value, own[key], to, begin, end);
    else writeRecord(value, own[key], to, begin, end);
  });
  to(`}${after}`);
}

function writeList(list: readonly object[], own: Parts, to: Lines, before: string, after: string): void {
  const whole = Object.keys(own).length === 0;
  to(`${before}[`);
  for (let i = 0; i < list.length; i++) {
    const end = i < list.length - 1 ? ',' : '';
    if (whole) to(JSON.stringify(list[i]) + end);
    else writeRecord(list[i], own, to, '', end);
  }
  to(`]${after}`);
}
