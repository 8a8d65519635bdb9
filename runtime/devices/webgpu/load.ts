/**
 * What is made once, when an artifact is loaded on a GPU: memories, pipelines and the bindings of every step. All of it
 * happens inside error scopes: Dawn would otherwise print an error and go on with zeros.
 */
import { shaderFile } from '../../../ir/artifact.js';
import { fileMissing } from '../../../ir/diagnostics/artifact.js';
import {
  deviceFault,
  deviceRefused,
  featureMissing,
  memoryBeyondLimit,
  outOfDeviceMemory,
  shaderInvalid,
} from '../../../ir/diagnostics/devices.js';
import type { KernelInfo, Program, Requirement, Step } from '../../../ir/program.js';
import type { OpenedAdapter } from './adapter.js';

export interface Call {
  readonly pipeline: GPUComputePipeline;
  readonly bindings: GPUBindGroup;
  readonly workgroups: readonly [number, number];
}

export interface LoadedSegment {
  readonly guard?: string;
  readonly repeat: number;
  readonly calls: readonly Call[];
}

export interface Loaded {
  readonly memories: ReadonlyMap<string, GPUBuffer>;
  readonly functions: ReadonlyMap<string, readonly LoadedSegment[]>;
}

const roundUp4 = (bytes: number): number => Math.ceil(bytes / 4) * 4;

type LimitName = keyof GPUSupportedLimits & string;

/** Asks for a device with what the program needs. UserError E432, E434. */
export async function requestDevice({ adapter, name }: OpenedAdapter, program: Program): Promise<GPUDevice> {
  const { limits } = adapter;
  for (const m of program.memories)
    if (m.bytes > limits.maxBufferSize) throw memoryBeyondLimit(m.name, m.bytes, limits.maxBufferSize, name);
  for (const b of program.buffers)
    if (b.bytes > limits.maxStorageBufferBindingSize)
      throw memoryBeyondLimit(b.name, b.bytes, limits.maxStorageBufferBindingSize, name);
  const wanted: LimitName[] = [
    'maxBufferSize',
    'maxStorageBufferBindingSize',
    'maxStorageBuffersPerShaderStage',
    'maxComputeWorkgroupStorageSize',
    'maxComputeInvocationsPerWorkgroup',
    'maxComputeWorkgroupSizeX',
  ];
  const features = (['shader-f16', 'subgroups', 'timestamp-query'] as const).filter((f) => adapter.features.has(f));
  try {
    return await adapter.requestDevice({
      requiredFeatures: features,
      requiredLimits: Object.fromEntries(wanted.map((l) => [l, limits[l] as number])),
    });
  } catch (e) {
    throw deviceRefused(name, (e as Error).message);
  }
}

/** Makes everything that runs of the program need. UserError E433, E435, E436, E438. */
export async function loadProgram(
  device: GPUDevice,
  name: string,
  program: Program,
  files: ReadonlyMap<string, Uint8Array>,
): Promise<Loaded> {
  const memories = await makeMemories(device, name, program);
  const chosen = chooseVariants(device, name, program);
  return scoped(device, name, program, async () => {
    const layouts = new Layouts(device);
    const infos = new Map(program.kernels.map((k) => [k.name, k]));
    const used = [...new Set(chosen.values())].map((k) => infos.get(k)!);
    const pipelines = await makePipelines(device, layouts, used, files);
    const buffers = new Map(program.buffers.map((b) => [b.name, b]));
    const call = (step: Step): Call => {
      const info = infos.get(chosen.get(step)!)!;
      const bindings = device.createBindGroup({
        layout: layouts.bindings(info),
        entries: step.args.map((arg, binding) => {
          const b = buffers.get(arg)!;
          const buffer = memories.get(b.memory)!;
          return { binding, resource: { buffer, offset: b.offset, size: roundUp4(b.bytes) } };
        }),
      });
      return { pipeline: pipelines.get(info.name)!, bindings, workgroups: info.dispatch!.workgroups };
    };
    const functions = new Map(
      program.functions.map((f) => [
        f.name,
        f.segments.map((s) => ({ guard: s.guard, repeat: s.repeat ?? 1, calls: s.steps.map((step) => call(step)) })),
      ]),
    );
    return { memories, functions };
  });
}

async function makeMemories(device: GPUDevice, name: string, program: Program): Promise<Map<string, GPUBuffer>> {
  return scoped(device, name, program, async () => {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    return new Map(
      program.memories.map((m) => [
        m.name,
        device.createBuffer({ label: m.name, size: Math.max(256, roundUp4(m.bytes)), usage }),
      ]),
    );
  });
}

/** Runs `body` and throws what Dawn has against it. */
async function scoped<T>(device: GPUDevice, name: string, program: Program, body: () => Promise<T>): Promise<T> {
  const filters = ['validation', 'out-of-memory', 'internal'] as const;
  for (const filter of filters) device.pushErrorScope(filter);
  let result: T | undefined;
  let thrown: unknown;
  try {
    result = await body();
  } catch (e) {
    thrown = e;
  }
  const [internal, memory, validation] = await Promise.all(filters.map(() => device.popErrorScope()));
  if (thrown !== undefined) throw thrown;
  if (memory) throw outOfDeviceMemory(program.plan.peak, name);
  const other = validation ?? internal;
  if (other) throw deviceFault(name, other.message.split('\n')[0]);
  return result!;
}

/** For each step the first variant that this device can run. */
function chooseVariants(device: GPUDevice, name: string, program: Program): Map<Step, string> {
  const lacks = ({ features, limits }: Requirement): string[] => [
    ...features.filter((f) => !device.features.has(f as GPUFeatureName)),
    ...Object.entries(limits)
      .filter(([limit, least]) => ((device.limits[limit as LimitName] as number | undefined) ?? 0) < least)
      .map(([limit, least]) => `${limit} >= ${least}`),
  ];
  const infos = new Map(program.kernels.map((k) => [k.name, k]));
  const chosen = new Map<Step, string>();
  for (const f of program.functions)
    for (const step of f.segments.flatMap((s) => s.steps)) {
      const kernels = step.variants.map((kernel) => infos.get(kernel)!);
      const fitting = kernels.find((k) => lacks(k.requires).length === 0);
      if (!fitting) throw featureMissing(`${f.name}.${step.slot}`, name, lacks(kernels[0].requires));
      chosen.set(step, fitting.name);
    }
  return chosen;
}

/** Layouts by what is bound how: equal ones are one object, so that Dawn does not compile anything twice. */
class Layouts {
  private readonly known = new Map<string, { bindings: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>();

  constructor(private readonly device: GPUDevice) {}

  bindings(info: KernelInfo): GPUBindGroupLayout {
    return this.of(info).bindings;
  }

  pipeline(info: KernelInfo): GPUPipelineLayout {
    return this.of(info).pipeline;
  }

  private of({ access }: KernelInfo): { bindings: GPUBindGroupLayout; pipeline: GPUPipelineLayout } {
    const key = access.join();
    let found = this.known.get(key);
    if (!found) {
      const bindings = this.device.createBindGroupLayout({
        entries: access.map((a, binding) => ({
          binding,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type: a === 'read' ? 'read-only-storage' : 'storage' },
        })),
      });
      found = { bindings, pipeline: this.device.createPipelineLayout({ bindGroupLayouts: [bindings] }) };
      this.known.set(key, found);
    }
    return found;
  }
}

/** All at once: Dawn compiles on threads of its own. */
async function makePipelines(
  device: GPUDevice,
  layouts: Layouts,
  kernels: readonly KernelInfo[],
  files: ReadonlyMap<string, Uint8Array>,
): Promise<ReadonlyMap<string, GPUComputePipeline>> {
  const decoder = new TextDecoder();
  const byText = new Map<string, Promise<GPUComputePipeline>>();
  const made = kernels.map(async (info): Promise<[string, GPUComputePipeline]> => {
    const bytes = files.get(shaderFile(info.name));
    if (!bytes) throw fileMissing(shaderFile(info.name));
    const code = decoder.decode(bytes);
    const key = `${info.access} ${code}`;
    let pipeline = byText.get(key);
    if (!pipeline) {
      pipeline = makePipeline(device, layouts.pipeline(info), info, code);
      byText.set(key, pipeline);
    }
    return [info.name, await pipeline];
  });
  // All are waited for, so that none fails unseen behind the first.
  const settled = await Promise.allSettled(made);
  for (const s of settled) if (s.status === 'rejected') throw s.reason;
  return new Map(settled.map((s) => (s as PromiseFulfilledResult<[string, GPUComputePipeline]>).value));
}

async function makePipeline(
  device: GPUDevice,
  layout: GPUPipelineLayout,
  { name, source }: KernelInfo,
  code: string,
): Promise<GPUComputePipeline> {
  const module = device.createShaderModule({ label: name, code });
  try {
    return await device.createComputePipelineAsync({ label: name, layout, compute: { module, entryPoint: 'main' } });
  } catch (e) {
    const { messages } = await module.getCompilationInfo();
    const first = messages.find((m) => m.type === 'error');
    throw shaderInvalid(name, source, first?.lineNum, first?.message ?? (e as Error).message.split('\n')[0]);
  }
}
