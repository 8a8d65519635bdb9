/**
 * WGSL validated by Dawn on its null backend: a device that checks everything and runs nothing, with all features that kernels
 * may ask for.
 */
import { create, globals } from 'webgpu';

let opened: Promise<{ gpu: GPU; device: GPUDevice }> | undefined;

async function open(): Promise<{ gpu: GPU; device: GPUDevice }> {
  Object.assign(globalThis, globals);
  // Kept with the device: Dawn crashes when this object is collected before it.
  const gpu = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error('Dawn has no null adapter');
  const device = await adapter.requestDevice({
    requiredFeatures: ['shader-f16', 'chromium-experimental-subgroup-matrix' as GPUFeatureName],
    requiredLimits: { maxStorageBuffersPerShaderStage: adapter.limits.maxStorageBuffersPerShaderStage },
  });
  return { gpu, device };
}

async function deviceOf(): Promise<GPUDevice> {
  opened ??= open();
  return (await opened).device;
}

export const limits = async (): Promise<GPUSupportedLimits> => (await deviceOf()).limits;

/** What Dawn says against the text; empty where it is valid. */
export async function complaints(code: string): Promise<string[]> {
  const device = await deviceOf();
  device.pushErrorScope('validation');
  device.pushErrorScope('internal');
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  const found = messages.filter((m) => m.type === 'error').map((m) => `${m.lineNum}: ${m.message}`);
  if (found.length === 0)
    await device
      .createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } })
      .catch((e: Error) => found.push(e.message));
  for (const error of [await device.popErrorScope(), await device.popErrorScope()])
    if (error) found.push(error.message);
  return [...new Set(found)];
}
