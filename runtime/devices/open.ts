/**
 * Which device an artifact runs on: the processor, a GPU, or whichever suits.
 */
import { UserError } from '../../ir/diagnostics/error.js';
import type { Artifact } from '../artifact.js';
import type { Device } from './device.js';
import { WasmDevice } from './wasm/device.js';

export interface DeviceOptions {
  /** Without validation and bounds checks on a GPU. */
  readonly unchecked?: boolean;
  /** Told why a GPU that was found is not used. */
  readonly notice?: (text: string) => void;
}

/**
 * @param spec `cpu`; `gpu`: a real one; `auto`: a real GPU if the artifact and the machine have one, else the processor; or part
 *   of an adapter's name, which may be a software one
 * @throws UserError E410-E439
 */
export async function openDevice(artifact: Artifact, spec = 'auto', options: DeviceOptions = {}): Promise<Device> {
  if (spec === 'cpu') return WasmDevice.load(artifact);
  const targets = artifact.manifest.programs.map((p) => p.target);
  const both = targets.includes('webgpu') && targets.includes('wasm');
  if (spec === 'auto' && !targets.includes('webgpu')) return WasmDevice.load(artifact);
  // Loaded here, so that a run on the processor starts without Dawn.
  const { findAdapter, requireAdapter } = await import('./webgpu/adapter.js');
  const { WebgpuDevice } = await import('./webgpu/device.js');
  if (spec !== 'auto' || !both)
    return WebgpuDevice.load(artifact, await requireAdapter(spec === 'auto' ? 'gpu' : spec, options.unchecked));
  const { unchecked, notice } = options;
  const found = await findAdapter({ unchecked }).catch(() => undefined);
  if (!found || found.software) return WasmDevice.load(artifact);
  try {
    return await WebgpuDevice.load(artifact, found);
  } catch (e) {
    if (!(e instanceof UserError)) throw e;
    notice?.(`${found.name} is not used: ${e.what} (E${e.code})`);
    return WasmDevice.load(artifact);
  }
}
