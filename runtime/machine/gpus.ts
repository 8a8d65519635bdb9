/**
 * The GPUs of a machine as WebGPU shows them, and what stands between a program and a GPU: device files, loader, drivers.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../../ir/diagnostics/error.js';
import { findAdapter, listAdapters, openDawn } from '../devices/webgpu/adapter.js';
import { findLibrary, findProgram } from './libraries.js';

/** A shape of subgroup matrix product: `m x k` by `k x n`. */
export interface MatrixShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly operands: string;
  readonly sums: string;
}

export interface Gpu {
  readonly name: string;
  readonly backend: string;
  readonly vendor: string;
  /** What the driver says of itself. */
  readonly driver: string;
  readonly software: boolean;
  readonly f16: boolean;
  readonly timestamps: boolean;
  /** Threads of a subgroup, least and most; absent where there are none. */
  readonly subgroups?: readonly [number, number];
  readonly matrices: readonly MatrixShape[];
  readonly limits: {
    readonly bufferBytes: number;
    readonly bindingBytes: number;
    readonly buffersPerKernel: number;
    readonly groupMemoryBytes: number;
    readonly threadsPerGroup: number;
  };
  /** Whether it gives a device: what is wrong, if not. */
  readonly refusal?: string;
}

export interface GpuReport {
  /** Why WebGPU itself cannot be loaded. */
  readonly unavailable?: string;
  readonly gpus: readonly Gpu[];
  /** The adapter that WebGPU prefers. */
  readonly preferred?: { readonly name: string; readonly software: boolean };
  /** Linux: files by which the kernel shows GPUs. */
  readonly deviceFiles: readonly string[];
  /** Linux: the Vulkan loader that Dawn gets. */
  readonly vulkanLoader?: string;
  /** Linux: manifests of Vulkan drivers. */
  readonly vulkanDrivers: readonly string[];
  /** As nvidia-smi gives them: name, driver, memory. */
  readonly nvidia: readonly string[];
}

type Info = GPUAdapterInfo & {
  readonly subgroupMatrixConfigs?: readonly {
    readonly M: number;
    readonly N: number;
    readonly K: number;
    readonly componentType: string;
    readonly resultComponentType: string;
  }[];
};

/** Looks at all of it. Throws nothing: what fails is part of the report. */
export async function examineGpus(): Promise<GpuReport> {
  const surroundings = {
    deviceFiles: deviceFiles(),
    vulkanLoader: process.platform === 'linux' ? findLibrary('libvulkan.so.1') : undefined,
    vulkanDrivers: vulkanDrivers(),
    nvidia: nvidia(),
  };
  try {
    // Listing looks for no GPU where there cannot be one; that Dawn can be loaded is worth knowing all the same.
    await openDawn();
    const gpus: Gpu[] = [];
    for (const { name, backend } of await listAdapters()) gpus.push(await examine(name, backend));
    const found = gpus.length > 0 ? await findAdapter() : undefined;
    return { ...surroundings, gpus, preferred: found && { name: found.name, software: found.software } };
  } catch (e) {
    return { ...surroundings, gpus: [], unavailable: e instanceof UserError ? e.what : (e as Error).message };
  }
}

/** Kept as long as the process: Dawn's own objects must not be collected before what they gave. */
const opened: GPU[] = [];

async function examine(name: string, backend: string): Promise<Gpu> {
  const gpu = await openDawn({ adapter: name, backend: backend as 'vulkan' });
  opened.push(gpu);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error(`${name} is listed and cannot be opened`);
  const info = adapter.info as Info;
  const { features, limits } = adapter;
  const sizes: readonly [number, number] = [info.subgroupMinSize, info.subgroupMaxSize];
  return {
    name,
    backend,
    vendor: info.vendor,
    driver: info.description,
    software: info.isFallbackAdapter,
    f16: features.has('shader-f16'),
    timestamps: features.has('timestamp-query'),
    subgroups: features.has('subgroups') ? sizes : undefined,
    matrices: (info.subgroupMatrixConfigs ?? []).map((c) => ({
      m: c.M,
      n: c.N,
      k: c.K,
      operands: c.componentType,
      sums: c.resultComponentType,
    })),
    limits: {
      bufferBytes: limits.maxBufferSize,
      bindingBytes: limits.maxStorageBufferBindingSize,
      buffersPerKernel: limits.maxStorageBuffersPerShaderStage,
      groupMemoryBytes: limits.maxComputeWorkgroupStorageSize,
      threadsPerGroup: limits.maxComputeInvocationsPerWorkgroup,
    },
    refusal: await refusalOf(adapter),
  };
}

async function refusalOf(adapter: GPUAdapter): Promise<string | undefined> {
  try {
    (await adapter.requestDevice()).destroy();
    return undefined;
  } catch (e) {
    return (e as Error).message.split('\n')[0];
  }
}

function listed(folder: string, pattern: RegExp): string[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((n) => pattern.test(n));
  return names.sort().map((n) => join(folder, n));
}

function deviceFiles(): string[] {
  if (process.platform !== 'linux') return [];
  return [...listed('/dev', /^(nvidia(ctl|\d+)|kfd|dxg)$/), ...listed('/dev/dri', /^(card|renderD)\d+$/)];
}

function vulkanDrivers(): string[] {
  if (process.platform !== 'linux') return [];
  const named = process.env.VK_DRIVER_FILES ?? process.env.VK_ICD_FILENAMES;
  if (named) return named.split(':');
  const folders = ['/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/usr/share/vulkan/icd.d'];
  return folders.flatMap((f) => listed(f, /\.json$/));
}

function nvidia(): string[] {
  const smi = findProgram('nvidia-smi');
  if (smi === undefined) {
    const version = '/proc/driver/nvidia/version';
    return existsSync(version) ? [readFileSync(version, 'utf8').split('\n')[0]] : [];
  }
  const args = ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'];
  const { stdout, status } = spawnSync(smi, args, { encoding: 'utf8', timeout: 10_000 });
  return status === 0 ? stdout.trim().split('\n') : [];
}
