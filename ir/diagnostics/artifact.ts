/**
 * What can be wrong with an artifact folder or a weights file: E4xx. An artifact is untrusted input, so each of these is
 * found before anything of it runs.
 */
import { UserError } from './error.js';

const recompile = 'the folder was changed or written by another version: compile the model again with `spngdc compile`';

export const notAnArtifact = (dir: string): UserError =>
  new UserError(
    401,
    `${dir} is not an artifact: it has no manifest.json`,
    'give the folder that `spngdc compile` wrote',
  );

export const manifestBroken = (file: string, place: string, why: string): UserError =>
  new UserError(402, `the manifest is broken: ${why}`, recompile, place === '' ? file : `${file}: ${place}`);

export const schemaVersion = (file: string, found: unknown, known: number): UserError =>
  new UserError(
    403,
    `the artifact has schema version ${JSON.stringify(found) ?? 'none'}, this runtime reads version ${known}`,
    'compile the model again with this version of spngdc, or run it with the version that compiled it',
    file,
  );

export const fileMissing = (file: string): UserError =>
  new UserError(404, `a file of the artifact is missing or cannot be read`, recompile, file);

export const fileSize = (file: string, found: number, expected: number): UserError =>
  new UserError(405, `the file has ${found} bytes, the manifest says ${expected}`, recompile, file);

export const fileHash = (file: string): UserError =>
  new UserError(406, 'the file is not the one that was compiled (its SHA-256 differs)', recompile, file);

export const pathEscapes = (file: string): UserError =>
  new UserError(407, 'a file of the artifact lies outside its folder', recompile, file);

export const bufferOutOfBounds = (buffer: string, why: string): UserError =>
  new UserError(408, `buffer '${buffer}' does not fit its memory: ${why}`, recompile, `buffer ${buffer}`);

export const bufferMismatch = (buffer: string, why: string): UserError =>
  new UserError(409, `buffer '${buffer}' is inconsistent: ${why}`, recompile, `buffer ${buffer}`);

export const unknownKernel = (place: string, kernel: string): UserError =>
  new UserError(410, `there is no kernel '${kernel}'`, recompile, place);

export const kernelArguments = (place: string, kernel: string, found: number, expected: number): UserError =>
  new UserError(411, `kernel '${kernel}' takes ${expected} buffers, the step gives ${found}`, recompile, place);

export const unknownBuffer = (place: string, buffer: string): UserError =>
  new UserError(412, `there is no buffer '${buffer}'`, recompile, place);

export const functionMissing = (name: string): UserError =>
  new UserError(413, `the program has no function '${name}'`, recompile);

export const moduleInvalid = (file: string, why: string): UserError =>
  new UserError(414, `the kernels cannot be loaded: ${why}`, recompile, file);

export const noVariant = (place: string, needs: string): UserError =>
  new UserError(
    415,
    `no kernel of this step can run on this device; it needs ${needs}`,
    'run on a newer Node.js, or compile for another target',
    place,
  );

export const memoryTooLarge = (bytes: number, limit: number): UserError =>
  new UserError(
    416,
    `the program needs ${bytes} bytes of memory, the device gives at most ${limit}`,
    'compile with a smaller --batch and --eval-batch',
  );

export const weightsMismatch = (file: string, name: string, why: string): UserError =>
  new UserError(417, `the weights do not fit the program: ${why}`, recompile, `${file}: ${name}`);

export const safetensorsBroken = (file: string, why: string): UserError =>
  new UserError(418, `not a valid safetensors file: ${why}`, 'write the file again; F32 tensors are expected', file);

export const wrongTarget = (target: string, has: readonly string[]): UserError =>
  new UserError(
    419,
    `the artifact has no program for target '${target}' (it has: ${has.join(', ')})`,
    `compile with --target ${target} or --target both, or choose another --device`,
  );

export const templateBroken = (file: string, why: string): UserError =>
  new UserError(420, `the ONNX template cannot be completed: ${why}`, recompile, file);

export const duplicateName = (what: string, name: string): UserError =>
  new UserError(421, `${what} '${name}' is declared twice`, recompile);

export const metricsMismatch = (func: string, why: string): UserError =>
  new UserError(422, `the metrics of '${func}' are inconsistent: ${why}`, recompile, `function ${func}`);

export const memoryRefused = (bytes: number): UserError =>
  new UserError(
    423,
    `the program needs ${bytes} bytes of memory, which this machine does not give`,
    'free some memory, or compile with a smaller --batch and --eval-batch',
  );

export const kernelTrapped = (place: string, why: string): UserError =>
  new UserError(
    424,
    `a kernel went out of its bounds: ${why}`,
    'the folder was changed, or the kernel is wrong: compile the model again, and report it if that does not help',
    place,
  );

export const dispatchMissing = (kernel: string): UserError =>
  new UserError(425, `kernel '${kernel}' does not say how a GPU runs it`, recompile);
