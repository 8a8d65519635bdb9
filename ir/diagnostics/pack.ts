/**
 * What can keep an artifact from being packed: E7xx.
 */
import { UserError } from './error.js';

export const packElsewhere = (platform: string): UserError =>
  new UserError(
    701,
    `a job is packed on Linux, from the Node that runs here; this is ${platform}`,
    'pack on a Linux machine or in a Linux container of the same processor as the target',
  );

export const toolMissing = (tool: string, what: string): UserError =>
  new UserError(
    702,
    `packing needs the program '${tool}', which is not on the PATH`,
    `install it: the package is called ${what} on most systems`,
  );

export const toolFailed = (tool: string, why: string): UserError =>
  new UserError(
    703,
    `${tool} failed: ${why || 'it gives no reason'}`,
    'see that there is room on the disk, and 1.5 GiB of memory (--compression 6 needs 100 MiB); nothing was written',
  );

export const nodeNotAlone = (node: string, libraries: readonly string[]): UserError =>
  new UserError(
    704,
    `this Node is linked with libraries that a bare Linux lacks: ${libraries.join(', ')}`,
    'pack with the Node of nodejs.org, which is one file',
    node,
  );

export const notBundled = (file: string): UserError =>
  new UserError(705, 'a file that goes into the job is missing', 'in a checkout, run `npm run build` first', file);

export const nothingForGpu = (): UserError =>
  new UserError(
    706,
    'the artifact is compiled for a GPU, and the package `webgpu` is not installed here',
    'install `webgpu` for this platform, or compile with --target wasm for a job that trains on the processor',
  );

export const noSuchLoader = (path: string): UserError =>
  new UserError(707, 'no such Vulkan loader', 'give --vulkan-loader the path of a libvulkan.so.1', path);

/** A notice, not an error: the job is packed all the same. */
export const withoutLoader =
  'N708: no libvulkan.so.1 is installed here, so the job brings no Vulkan loader and uses that of the target machine. ' +
  'Where that has none, install libvulkan1 (Debian, Ubuntu) or vulkan-loader (Fedora, RHEL) here and pack again, or name one with --vulkan-loader';

export const notAnArchive = (path: string): UserError =>
  new UserError(709, 'the name of a job ends in .tar.xz', 'give -o a name such as job.tar.xz', path);
