/**
 * An artifact on disk: the names of its files, and manifest.json, which holds all that a runtime must know to run a compiled
 * model. Its schema is apart, so that only what reads manifests loads it.
 */
import type { z } from 'zod';
import type { manifestSchema, tensorInfo } from './artifact-schema.js';

export const SCHEMA_VERSION = 3;
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

/**
 * The bytes of manifest.json: equal manifests give equal bytes, where their keys stand in the schema's order (as `compile`
 * makes them). Not checked here: what reads a manifest must check it anyway.
 */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const sorted = <T>(record: Record<string, T>): Record<string, T> =>
    Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
  const ordered = { ...manifest, functions: sorted(manifest.functions), files: sorted(manifest.files) };
  return new TextEncoder().encode(`${JSON.stringify(ordered, null, 1)}\n`);
}
