/**
 * Finding a GPU: Dawn by its npm package, and one of its adapters. A software adapter is only taken by name.
 */
import { existsSync } from 'node:fs';
import { noAdapter, noDawn } from '../../../ir/diagnostics/devices.js';

export interface OpenedAdapter {
  readonly adapter: GPUAdapter;
  /** Dawn's own object: it must stay referenced for as long as a device lives, else the process crashes. */
  readonly gpu: GPU;
  /** `NVIDIA H100 (Vulkan)`. */
  readonly name: string;
  readonly software: boolean;
}

export interface DawnOptions {
  /** Part of the adapter's name. */
  readonly adapter?: string;
  readonly backend?: 'vulkan' | 'd3d12' | 'metal' | 'null';
  /** Without validation and bounds checks: for kernels that one compiled oneself. */
  readonly unchecked?: boolean;
}

/**
 * What Dawn is asked for. f16 and subgroup matrices on NVIDIA need the first line; timestamps are otherwise rounded to 65
 * microseconds; buffers are zeroed by `init`, not by the driver.
 */
const enabled = ['allow_unsafe_apis', 'vulkan_enable_f16_on_nvidia', 'use_vulkan_memory_model'];
const disabled = ['timestamp_quantization'];
const uncheckedEnabled = ['disable_robustness', 'skip_validation', 'disable_workgroup_init'];

/** Dawn's `navigator.gpu`, with its classes made global. UserError E430 where the package cannot be loaded. */
export async function openDawn({ adapter, backend, unchecked = false }: DawnOptions = {}): Promise<GPU> {
  let dawn: typeof import('webgpu');
  try {
    dawn = await import('webgpu');
  } catch (e) {
    throw noDawn((e as Error).message.split('\n')[0]);
  }
  Object.assign(globalThis, dawn.globals);
  return dawn.create([
    `enable-dawn-features=${[...enabled, ...(unchecked ? uncheckedEnabled : [])].join(',')}`,
    `disable-dawn-features=${disabled.join(',')}`,
    ...(backend ? [`backend=${backend}`] : []),
    ...(adapter ? [`adapter=${adapter}`] : []),
  ]);
}

export interface ListedAdapter {
  readonly backend: string;
  readonly name: string;
}

/** All adapters that Dawn can open. It says them only to who asks for one that there is not. */
export async function listAdapters(): Promise<ListedAdapter[]> {
  if (!mayHaveGpu()) return [];
  const gpu = await openDawn({ adapter: 'no such adapter' });
  try {
    await gpu.requestAdapter();
    return [];
  } catch (e) {
    const entries = (e as Error).message.matchAll(/backend: '([^']*)', name: '([^']*)'/g);
    return [...entries].map(([, backend, name]) => ({ backend, name }));
  }
}

/**
 * Whether looking for a GPU can be worth it. On Linux a GPU shows itself as a device file, and a software driver by a variable;
 * without either, Dawn's search would only end in a warning on the terminal.
 */
function mayHaveGpu(): boolean {
  if (process.platform !== 'linux') return true;
  if (process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES) return true;
  return ['/dev/dri', '/dev/nvidiactl', '/dev/dxg', '/dev/kfd'].some((path) => existsSync(path));
}

/** The adapter that Dawn prefers, or the first whose name holds `options.adapter`; undefined where there is none. */
export async function findAdapter(options: DawnOptions = {}): Promise<OpenedAdapter | undefined> {
  const listed = await listAdapters();
  const wanted = options.adapter?.toLowerCase();
  const chosen = listed.find((a) => wanted === undefined || a.name.toLowerCase().includes(wanted));
  if (!chosen) return undefined;
  const gpu = await openDawn({ ...options, adapter: wanted === undefined ? undefined : chosen.name });
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null);
  if (!adapter) return undefined;
  const { device, description, isFallbackAdapter } = adapter.info;
  const plain = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  const name = listed.find((a) => plain(a.name) === plain(device))?.name ?? (device || description || 'a GPU');
  return { adapter, gpu, name, software: isFallbackAdapter };
}

/** @param spec `gpu`, or part of an adapter's name. UserError E431 where there is none. */
export async function requireAdapter(spec: string, unchecked = false): Promise<OpenedAdapter> {
  const named = spec === 'gpu' ? undefined : spec;
  const found = await findAdapter({ adapter: named, unchecked });
  if (found && (named !== undefined || !found.software)) return found;
  const names = (await listAdapters()).map((a) => a.name);
  const has = names.length === 0 ? 'Dawn finds no adapter at all' : `there are ${names.join(', ')}`;
  throw noAdapter(named, found ? `the only adapter is a software one (${found.name})` : has);
}
