/**
 * Persistent tensors between host and device: first values in, trained values out.
 */
import { type Manifest, type StateInfo, WEIGHTS } from '../../ir/artifact.js';
import { weightsMismatch } from '../../ir/diagnostics/artifact.js';
import { weightsNotFinite } from '../../ir/diagnostics/run.js';
import type { TensorData } from '../../ir/graph.js';
import { tensor } from '../../ir/types.js';
import type { Device } from '../devices/device.js';

/** Gives all state its first value, on a device just loaded: copies the weights, and lets it fill what begins neither so nor with zeros. */
export async function initialise(
  device: Device,
  manifest: Manifest,
  weights: ReadonlyMap<string, TensorData>,
): Promise<void> {
  for (const entry of manifest.state) {
    if (entry.init.kind !== 'weights') continue;
    const tensor = weights.get(entry.name);
    if (!tensor) throw weightsMismatch(WEIGHTS, entry.name, 'the tensor is missing');
    device.write(entry.name, tensor.data);
  }
  await device.run('init');
}

/** What makes up the trained model: weights and running statistics. */
const trained: readonly StateInfo['role'][] = ['parameter', 'running-statistic'];

/** The trained tensors by name. UserError E502 where one holds a value that is not finite. */
export async function readTrained(device: Device, manifest: Manifest): Promise<Map<string, TensorData>> {
  const out = new Map<string, TensorData>();
  for (const { name, dtype, shape, role } of manifest.state) {
    if (!trained.includes(role)) continue;
    const data = await device.read(name);
    if (data instanceof Float32Array && !data.every(Number.isFinite)) throw weightsNotFinite(name);
    out.set(name, { type: tensor(dtype, shape), data: data as TensorData['data'] });
  }
  return out;
}
