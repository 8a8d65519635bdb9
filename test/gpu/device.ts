/**
 * Runs the work of one test on a GPU. Everything is asynchronous: while Dawn compiles the kernels of one test, others are
 * lowered, run and compared.
 */
import { printWgsl, workgroupsOf } from '../../compiler/targets/webgpu/print.js';
import type { Kernel, KernelType } from '../../ir/kernel.js';
import { verifyKernel } from '../../ir/verify.js';
import type { OpenedAdapter } from '../../runtime/devices/webgpu/adapter.js';
import { complaint } from './compare.js';
import type { Memory, Work } from './problem.js';

type LimitName = keyof GPUSupportedLimits & string;

const wanted: readonly LimitName[] = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
];

const MATRIX = 'chromium-experimental-subgroup-matrix';
const features = [
  'shader-f16',
  'subgroups',
  'timestamp-query',
  MATRIX,
] as readonly string[] as readonly GPUFeatureName[];

export class TestDevice {
  lost: string | undefined;

  private constructor(
    readonly opened: OpenedAdapter,
    private readonly device: GPUDevice,
  ) {
    device.lost.then(({ message }) => {
      this.lost = message || 'the driver gives no reason';
    });
  }

  static async open(opened: OpenedAdapter): Promise<TestDevice> {
    const { adapter } = opened;
    const device = await adapter.requestDevice({
      requiredFeatures: features.filter((f) => adapter.features.has(f)),
      requiredLimits: Object.fromEntries(wanted.map((l) => [l, adapter.limits[l] as number])),
    });
    return new TestDevice(opened, device);
  }

  /** Whether kernels that need `feature` can run: for matrices, in the one shape that is printed. */
  has(feature: string): boolean {
    if (!this.device.features.has(feature as GPUFeatureName)) return false;
    if (feature !== MATRIX) return true;
    const info = this.opened.adapter.info as GPUAdapterInfo & {
      readonly subgroupMatrixConfigs?: readonly {
        M: number;
        N: number;
        K: number;
        componentType: string;
        resultComponentType: string;
      }[];
    };
    return (info.subgroupMatrixConfigs ?? []).some(
      (c) => c.M === 16 && c.N === 16 && c.K === 16 && c.componentType === 'f16' && c.resultComponentType === 'f32',
    );
  }

  /** What is wrong with what the device makes of `work`; undefined where nothing is. */
  async run({ memories, calls, expected }: Work): Promise<string | undefined> {
    const { device } = this;
    const most = device.limits.maxStorageBuffersPerShaderStage;
    for (const { kernel } of calls) {
      if (kernel.params.length > most)
        throw new Error(`${kernel.name} takes ${kernel.params.length} buffers of ${most}`);
      verifyKernel(kernel);
    }
    const pipelines = await Promise.all(calls.map(({ kernel }) => this.pipeline(kernel)));
    // From here to the submission nothing waits, so that errors are this test's own.
    device.pushErrorScope('validation');
    device.pushErrorScope('out-of-memory');
    const buffers = memories.map((m) => this.buffer(m));
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    calls.forEach(({ kernel, args }, i) => {
      pass.setPipeline(pipelines[i].pipeline);
      const entries = args.map((a, binding) => ({ binding, resource: { buffer: buffers[a] } }));
      pass.setBindGroup(0, device.createBindGroup({ layout: pipelines[i].layout, entries }));
      pass.dispatchWorkgroups(...workgroupsOf(kernel));
    });
    pass.end();
    const staging = expected.map(({ memory }) => {
      const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
      const copy = device.createBuffer({ size: buffers[memory].size, usage });
      encoder.copyBufferToBuffer(buffers[memory], 0, copy, 0, copy.size);
      return copy;
    });
    device.queue.submit([encoder.finish()]);
    const [full, invalid] = await Promise.all([device.popErrorScope(), device.popErrorScope()]);
    const error = full ?? invalid;
    if (error) throw new Error(error.message.split('\n')[0]);
    let wrong: string | undefined;
    for (const [i, copy] of staging.entries()) {
      await copy.mapAsync(GPUMapMode.READ);
      const { type, length } = memories[expected[i].memory];
      wrong ??= complaint(expected[i], numbers(type, copy.getMappedRange(), length));
    }
    for (const b of [...buffers, ...staging]) b.destroy();
    return wrong;
  }

  private async pipeline(kernel: Kernel): Promise<{ pipeline: GPUComputePipeline; layout: GPUBindGroupLayout }> {
    const { device } = this;
    const layout = device.createBindGroupLayout({
      entries: kernel.params.map(({ access }, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: access === 'read' ? 'read-only-storage' : 'storage' },
      })),
    });
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ label: kernel.name, code: printWgsl(kernel) });
    const invalid = await device.popErrorScope();
    if (invalid) throw new Error(`${kernel.name} is not valid: ${invalid.message.split('\n').slice(0, 2).join(' ')}`);
    const pipeline = await device.createComputePipelineAsync({
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: 'main' },
    });
    return { pipeline, layout };
  }

  private buffer({ type, length, data }: Memory): GPUBuffer {
    const bytes = bytesOf(type, length, data);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = this.device.createBuffer({ size: bytes.length, usage });
    this.device.queue.writeBuffer(buffer, 0, bytes);
    return buffer;
  }
}

const arrays = { f32: Float32Array, f16: Uint16Array, i32: Int32Array, u8: Uint8Array, bool: Uint8Array } as const;

/** Padded to whole words. What no test gives is 77, which nothing computes: an element that is missed shows. */
function bytesOf(type: KernelType, length: number, data?: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const make = arrays[type];
  const bytes = new Uint8Array(Math.max(4, Math.ceil((length * make.BYTES_PER_ELEMENT) / 4) * 4));
  const elements = new make(bytes.buffer, 0, length);
  if (data === undefined) elements.fill(77);
  else elements.set(type === 'f16' ? Array.from(data, halfOf) : data);
  return bytes;
}

function numbers(type: KernelType, bytes: ArrayBuffer, length: number): ArrayLike<number> {
  return new arrays[type](bytes.slice(0), 0, length);
}

/** Bits of a whole number up to 2048 in half precision, in which it is exact. */
function halfOf(x: number): number {
  if (x === 0) return 0;
  const exponent = Math.floor(Math.log2(Math.abs(x)));
  const mantissa = Math.round((Math.abs(x) / 2 ** exponent - 1) * 1024);
  return (x < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | mantissa;
}
