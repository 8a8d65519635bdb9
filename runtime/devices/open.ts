/**
 * Which device an artifact runs on: the processor, a GPU, or whichever suits.
 */
import { UserError } from '../../ir/diagnostics/error.js';
import type { Artifact } from '../artifact.js';
import type { Device } from './device.js';
import { compileForLong, WasmDevice } from './wasm/device.js';
import type { ProfiledRun } from './wasm/records.js';

export interface DeviceOptions {
  /** Without validation and bounds checks on a GPU. */
  readonly unchecked?: boolean;
  /** On the processor; default: 1. */
  readonly threads?: number;
  /** On the processor: told after each run of a function when each share of its steps ran. */
  readonly profile?: (run: ProfiledRun) => void;
  /** What `beginCompiling` returned. */
  readonly module?: Promise<WebAssembly.Module>;
  /** Told why a GPU that was found is not used. */
  readonly notice?: (text: string) => void;
}

/**
 * Lets the kernels be compiled, on other threads, while whoever will open the device does something else. A failure is told when
 * the device is opened.
 */
export function beginCompiling(artifact: Artifact, spec = 'auto'): Promise<WebAssembly.Module> | undefined {
  const possible = spec === 'cpu' || spec === 'auto';
  if (!possible || artifact.manifest.programs.every((p) => p.target !== 'wasm')) return undefined;
  const module = compileForLong(artifact);
  module.catch(() => {});
  return module;
}

/**
 * @param spec `cpu`; `gpu`: a real one; `auto`: a real GPU if the artifact and the machine have one, else the processor; or part
 *   of an adapter's name, which may be a software one
 * @throws UserError E410-E439
 */
export async function openDevice(artifact: Artifact, spec = 'auto', options: DeviceOptions = {}): Promise<Device> {
  if (spec === 'cpu') return WasmDevice.open(artifact, options);
  const targets = artifact.manifest.programs.map((p) => p.target);
  const both = targets.includes('webgpu') && targets.includes('wasm');
  if (spec === 'auto' && !targets.includes('webgpu')) return WasmDevice.open(artifact, options);
  // Loaded here, so that a run on the processor starts without Dawn.
  const { findAdapter, requireAdapter } = await import('./webgpu/adapter.js');
  const { WebgpuDevice } = await import('./webgpu/device.js');
  if (spec !== 'auto' || !both)
    return WebgpuDevice.load(artifact, await requireAdapter(spec === 'auto' ? 'gpu' : spec, options.unchecked));
  const { unchecked, notice } = options;
  const found = await findAdapter({ unchecked }).catch(() => undefined);
  if (!found || found.software) return WasmDevice.open(artifact, options);
  try {
    return await WebgpuDevice.load(artifact, found);
  } catch (e) {
    if (!(e instanceof UserError)) throw e;
    notice?.(`${found.name} is not used: ${e.what} (E${e.code})`);
    return WasmDevice.open(artifact, options);
  }
}
