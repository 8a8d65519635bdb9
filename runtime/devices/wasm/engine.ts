/**
 * The JavaScript engine that runs the kernels: what it can, and how it should compile them. Kernels are few, and hot from the
 * first step on, so V8's baseline compiler would only be in the way; without it, and with all functions compiled at once on
 * V8's own threads, the first step of a training run takes as long as any other.
 */
import { setFlagsFromString } from 'node:v8';

/** Chooses how modules that are compiled from now on are compiled, in the whole process. */
export function preferOptimisedCode(): void {
  setFlagsFromString('--no-liftoff');
  setFlagsFromString('--no-wasm-lazy-compilation');
}

/** `v128.const 0; drop`: valid exactly where the engine knows SIMD. */
const simdProbe = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 23, 1, 21, 0, 253, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  0, 0, 0, 0, 0, 0, 26, 11,
]);

/** What programs may require of this target. */
export function engineFeatures(): ReadonlySet<string> {
  return new Set(WebAssembly.validate(simdProbe) ? ['simd128'] : []);
}
