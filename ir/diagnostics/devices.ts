/**
 * What can be wrong with a GPU, or between it and an artifact: E430-E439.
 */
import { UserError } from './error.js';

const doctor = '`spngdc doctor` tells what this machine has';

export const noDawn = (why: string): UserError =>
  new UserError(
    430,
    `WebGPU cannot be loaded: ${why}`,
    'install the package `webgpu` for this platform, or run on the processor with --device cpu',
  );

export const noAdapter = (name: string | undefined, why: string): UserError =>
  new UserError(
    431,
    name === undefined ? `there is no GPU to run on: ${why}` : `there is no adapter named '${name}': ${why}`,
    `install the GPU's Vulkan driver and loader (libvulkan1), or run on the processor with --device cpu; ${doctor}`,
  );

export const deviceRefused = (name: string, why: string): UserError =>
  new UserError(432, `${name} gives no device: ${why}`, `another process may hold it; ${doctor}`);

export const featureMissing = (place: string, device: string, missing: readonly string[]): UserError =>
  new UserError(
    433,
    `no kernel of this step can run on ${device}; it lacks ${missing.join(', ')}`,
    `run on another device, or with --device cpu; ${doctor}`,
    place,
  );

const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20).toLocaleString('en')} MiB`;
const smaller = 'compile with a smaller --batch and --eval-batch, or run with --device cpu';

export const memoryBeyondLimit = (memory: string, bytes: number, limit: number, device: string): UserError =>
  new UserError(
    434,
    `the program needs ${mib(bytes)} in one buffer (${memory}); ${device} allows ${mib(limit)}`,
    smaller,
  );

export const outOfDeviceMemory = (bytes: number, device: string): UserError =>
  new UserError(
    435,
    `${device} has no room for the ${mib(bytes)} that are planned`,
    `end what else runs there; or ${smaller}`,
  );

export const shaderInvalid = (kernel: string, source: string, line: number | undefined, why: string): UserError =>
  new UserError(
    436,
    `the kernel '${kernel}' does not compile: ${why}`,
    'the device or its driver may lack what the kernel uses: compile the model again, or run with --device cpu',
    [`kernels/${kernel}.wgsl${line === undefined ? '' : `:${line}`}`, ...(source ? [`from ${source}`] : [])].join(', '),
  );

export const deviceLost = (device: string, why: string): UserError =>
  new UserError(
    437,
    `${device} was lost: ${why || 'the driver gives no reason'}`,
    'no model was written; run again, with a smaller batch if the driver ends kernels that take too long',
  );

export const deviceFault = (device: string, why: string): UserError =>
  new UserError(438, `${device} reports an error: ${why}`, `no model was written; ${doctor}`);
