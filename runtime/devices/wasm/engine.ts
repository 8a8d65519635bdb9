/**
 * The JavaScript engine that runs the kernels: what it can, and how it should compile them. Kernels are few, and hot from the
 * first step on, so V8's baseline compiler would only be in the way; without it, and with all functions compiled at once on
 * V8's own threads, the first step of a training run takes as long as any other.
 */
import { setFlagsFromString } from 'node:v8';
import type { Program } from '../../../ir/program.js';

/** Chooses how modules that are compiled from now on are compiled, in the whole process. */
export function preferOptimisedCode(): void {
  setFlagsFromString('--no-liftoff');
  setFlagsFromString('--no-wasm-lazy-compilation');
}

/** A module of one function without parameters and results, with this body. */
const probe = (...body: number[]): Uint8Array<ArrayBuffer> =>
  Uint8Array.of(
    ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0],
    ...[10, body.length + 4, 1, body.length + 2, 0, ...body, 11],
  );

/** `v128.const 0`. */
const zeros = [253, 12, ...new Array<number>(16).fill(0)];
/** Valid exactly where the engine knows the feature; `f32x4.relaxed_madd` is 0xfd 0x105. */
const probes = {
  simd128: probe(...zeros, 26),
  'relaxed-simd': probe(...zeros, ...zeros, ...zeros, 253, 133, 2, 26),
};
type Feature = keyof typeof probes;
const known = (feature: Feature): boolean => WebAssembly.validate(probes[feature]);

/** What programs may require of this target. */
export const engineFeatures = (): ReadonlySet<string> => new Set((Object.keys(probes) as Feature[]).filter(known));

const relaxed: Feature = 'relaxed-simd';

export const isRelaxed = ({ kernels }: Program): boolean => kernels.some((k) => k.requires.features.includes(relaxed));

/** Before a program's kernels are compiled. Node 20 has relaxed SIMD, but only if it is told so. */
export function allowFeatures(program: Program): void {
  if (isRelaxed(program) && !known(relaxed)) setFlagsFromString('--experimental-wasm-relaxed-simd');
}
