/**
 * The other side of `run-dawn.ts`: compiles a shader, runs it once over the given buffers, and sends them back. An error, of
 * validation too, comes back as text.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { useSwiftShader } from './swiftshader.mjs';

useSwiftShader();
const { create, globals } = await import('webgpu');
Object.assign(globalThis, globals);
const gpu = create(['enable-dawn-features=allow_unsafe_apis']);
let device;
/** Why the device is gone: what is read from it then are zeros, without an error. */
let lost;

async function open() {
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error('no adapter');
  const { maxStorageBuffersPerShaderStage } = adapter.limits;
  const opened = await adapter.requestDevice({ requiredLimits: { maxStorageBuffersPerShaderStage } });
  opened.lost.then(({ reason, message }) => {
    lost = `${reason}: ${message}`;
  });
  return opened;
}

const pipelines = new Map();
async function pipelineOf(code, access) {
  const key = `${access} ${code}`;
  if (pipelines.has(key)) return pipelines.get(key);
  const layout = device.createBindGroupLayout({
    entries: access.map((a, binding) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: a === 'read' ? 'read-only-storage' : 'storage' },
    })),
  });
  const made = await device.createComputePipelineAsync({
    layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
    compute: { module: device.createShaderModule({ code }), entryPoint: 'main' },
  });
  pipelines.set(key, { pipeline: made, layout });
  return pipelines.get(key);
}

/** The innermost last. */
const scopes = ['validation', 'out-of-memory', 'internal'];

/** Bytes of each buffer are a multiple of 4; `data` is overwritten. */
async function run({ code, access, workgroups, data }) {
  device ??= await open();
  for (const kind of scopes) device.pushErrorScope(kind);
  const { pipeline, layout } = await pipelineOf(code, access);
  const buffers = data.map((bytes) => {
    const buffer = device.createBuffer({
      size: bytes.length,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    device.queue.writeBuffer(buffer, 0, bytes);
    return buffer;
  });
  const group = device.createBindGroup({
    layout,
    entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(...workgroups);
  pass.end();
  const staging = buffers.map((buffer) => {
    const copy = device.createBuffer({ size: buffer.size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    encoder.copyBufferToBuffer(buffer, 0, copy, 0, buffer.size);
    return copy;
  });
  device.queue.submit([encoder.finish()]);
  for (const kind of scopes.toReversed()) {
    const error = await device.popErrorScope();
    if (error) throw new Error(`${kind}: ${error.message}`);
  }
  const out = [];
  for (const copy of staging) {
    await copy.mapAsync(GPUMapMode.READ);
    out.push(new Uint8Array(copy.getMappedRange().slice(0)));
    copy.unmap();
  }
  if (lost) throw new Error(`the device was lost (${lost})`);
  for (const buffer of [...buffers, ...staging]) buffer.destroy();
  return out;
}

const { signal, port } = workerData;
port.on('message', async (request) => {
  let reply;
  try {
    reply = { data: await run(request) };
  } catch (e) {
    reply = { error: e.message };
  }
  port.postMessage(reply);
  Atomics.add(signal, 0, 1);
  Atomics.notify(signal, 0);
});
parentPort.postMessage('ready');
