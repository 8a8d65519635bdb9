/**
 * The WebGPU device around its kernels: what it counts, and what it says when something is missing or breaks. Most of it on
 * Dawn's null backend, which checks everything and runs nothing.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { type CompileOptions, compile } from '../../compiler/compile.js';
import { MANIFEST, type Manifest, shaderFile } from '../../ir/artifact.js';
import { manifestSchema } from '../../ir/artifact-schema.js';
import type { UserError } from '../../ir/diagnostics/error.js';
import type { Artifact } from '../../runtime/artifact.js';
import { checkPrograms } from '../../runtime/check-program.js';
import { openDevice } from '../../runtime/devices/open.js';
import { listAdapters, type OpenedAdapter, openDawn, requireAdapter } from '../../runtime/devices/webgpu/adapter.js';
import { WebgpuDevice } from '../../runtime/devices/webgpu/device.js';
import { node, onnxFile, valueInfo } from '../frontend/make-onnx.js';
import { useSwiftShader } from '../targets/swiftshader.mjs';

/** A multilayer perceptron of these widths. */
function mlp(widths: readonly number[]): Uint8Array {
  const nodes: object[] = [];
  const inputs: object[] = [valueInfo('x', ['N', widths[0]])];
  let at = 'x';
  for (let i = 1; i < widths.length; i++) {
    const last = i === widths.length - 1;
    inputs.push(valueInfo(`w${i}`, [widths[i], widths[i - 1]]), valueInfo(`b${i}`, [widths[i]]));
    nodes.push(node('Gemm', [at, `w${i}`, `b${i}`], [last ? 'logits' : `h${i}`], { transB: 1 }));
    if (!last) nodes.push(node('Relu', [`h${i}`], [`r${i}`]));
    at = `r${i}`;
  }
  return onnxFile({ nodes, inputs, outputs: ['logits'] });
}

function artifactOf(widths: readonly number[], options: CompileOptions = {}): Artifact {
  const { files } = compile(mlp(widths), 'mlp.onnx', {
    batch: 128,
    init: 'he-normal',
    targets: ['webgpu'],
    loss: 'softmax-cross-entropy',
    ...options,
  });
  const manifest = manifestSchema.parse(JSON.parse(new TextDecoder().decode(files.get(MANIFEST))));
  return { dir: '', manifest, files, weights: new Map() };
}

/** The artifact with its program, or its kernels, spoilt. */
function spoilt(
  artifact: Artifact,
  change: (program: Mutable) => void,
  files: Artifact['files'] = artifact.files,
): Artifact {
  const manifest = structuredClone(artifact.manifest) as Manifest;
  change(manifest.programs[0] as unknown as Mutable);
  return { ...artifact, manifest, files };
}
interface Mutable {
  memories: { bytes: number }[];
  kernels: { requires: { features: string[] } }[];
}

async function nullAdapter(): Promise<OpenedAdapter> {
  const gpu = await openDawn({ backend: 'null' });
  const adapter = await gpu.requestAdapter();
  return { gpu, adapter: adapter!, name: 'a null device', software: true };
}

/** An adapter whose device answers as `change` says. */
function changed(opened: OpenedAdapter, change: Partial<Record<keyof GPUDevice, unknown>>): OpenedAdapter {
  const adapter = new Proxy(opened.adapter, {
    get: (target, key) => {
      if (key !== 'requestDevice') return Reflect.get(target, key, target);
      return async (descriptor: GPUDeviceDescriptor) =>
        new Proxy(await target.requestDevice(descriptor), {
          get: (device, k) => {
            if (k in change) return change[k as keyof GPUDevice];
            const value = Reflect.get(device, k, device);
            return typeof value === 'function' ? value.bind(device) : value;
          },
          set: (device, k, value) => Reflect.set(device, k, value, device),
        });
    },
  });
  return { ...opened, adapter };
}

async function refusal(act: Promise<unknown>): Promise<UserError> {
  try {
    await act;
  } catch (e) {
    expect((e as UserError).code, `${e}`).toBeTypeOf('number');
    return e as UserError;
  }
  throw new Error('no error was thrown');
}

describe('what a step takes', () => {
  it('an SGD step of the MLP 784-512-512-10: 10 dispatches, 1 submission', async () => {
    const artifact = artifactOf([784, 512, 512, 10], { optimizer: 'sgd' });
    const device = await WebgpuDevice.load(artifact, await nullAdapter());
    const before = [device.dispatches, device.submissions];
    await device.run('train');
    await device.read(device.program.functions.find((f) => f.name === 'train')!.outputs[0].buffer);
    expect(device.dispatches - before[0]).toBeLessThanOrEqual(10);
    expect(device.submissions - before[1]).toBe(1);
    device.close();
  });

  it('what is guarded is not dispatched', async () => {
    const device = await WebgpuDevice.load(artifactOf([20, 9, 4]), await nullAdapter());
    await device.run('train');
    const all = device.dispatches;
    await device.run('train', () => false);
    expect(device.dispatches - all).toBeLessThan(all);
    expect(device.dispatches - all).toBeGreaterThan(0);
    device.close();
  });

  it('no device binds more than eight buffers', () => {
    const [program] = artifactOf([30, 20, 20, 20, 20, 20, 20, 5]).manifest.programs;
    for (const k of program.kernels) expect(k.access.length, k.name).toBeLessThanOrEqual(8);
  });
});

describe('what is missing', () => {
  let artifact: Artifact;
  beforeAll(() => {
    artifact = artifactOf([6, 5, 4]);
  });

  it('an adapter', async () => {
    const { VK_DRIVER_FILES, VK_ICD_FILENAMES } = process.env;
    delete process.env.VK_DRIVER_FILES;
    delete process.env.VK_ICD_FILENAMES;
    // Where the machine has a GPU, a name that none has.
    const found = (await listAdapters()).length > 0;
    const error = await refusal(openDevice(artifact, found ? 'no such name' : 'gpu'));
    expect(error.code).toBe(431);
    expect(error.hint).toContain('--device cpu');
    if (VK_DRIVER_FILES) Object.assign(process.env, { VK_DRIVER_FILES, VK_ICD_FILENAMES });
  });

  it('a real GPU, where a software one is all there is', async () => {
    useSwiftShader();
    const adapters = await listAdapters();
    if (adapters.length === 1) expect((await refusal(requireAdapter('gpu'))).message).toContain('SwiftShader');
    const named = await requireAdapter('swiftshader');
    expect(named.software).toBe(true);
    expect(named.name).toContain('SwiftShader');
    const both = artifactOf([6, 5, 4], { targets: ['wasm', 'webgpu'] });
    const device = await openDevice(both, 'auto');
    if (adapters.length === 1) expect(device.description).toContain('WebAssembly');
    device.close();
  });

  it('a program for the target', async () => {
    const error = await refusal(openDevice(artifact, 'cpu'));
    expect([error.code, error.message]).toEqual([419, expect.stringContaining('it has: webgpu')]);
  });

  it('a feature that a kernel needs', async () => {
    const other = spoilt(artifact, (p) => {
      p.kernels[0].requires.features.push('warp-drive');
    });
    const error = await refusal(WebgpuDevice.load(other, await nullAdapter()));
    expect([error.code, error.message]).toEqual([433, expect.stringContaining('lacks warp-drive')]);
  });

  it('a batch that is told by another buffer than it says', () => {
    const { manifest } = artifactOf([6, 5, 4], { batch: 4 });
    const [program] = manifest.programs;
    const at = program.functions.findIndex((f) => f.batches !== undefined);
    const told = (buffer: string): number | undefined => {
      const changed = structuredClone(manifest) as Manifest & { programs: { functions: { batches: object[] }[] }[] };
      const [batch] = program.functions[at].batches!;
      changed.programs[0].functions[at].batches = [{ ...batch, buffer }];
      try {
        checkPrograms(changed);
      } catch (e) {
        return (e as UserError).code;
      }
      return undefined;
    };
    expect(told(program.functions[at].batches![0].buffer)).toBeUndefined();
    expect(told('nothing')).toBe(412);
    expect(told('train.x')).toBe(409);
  });

  it('memory: more than a buffer may have, or than there is', async () => {
    const large = spoilt(artifact, (p) => {
      p.memories[0].bytes = 2 ** 45;
    });
    const beyond = await refusal(WebgpuDevice.load(large, await nullAdapter()));
    expect([beyond.code, beyond.hint]).toEqual([434, expect.stringContaining('--batch')]);
    let scopes = 0;
    const full = changed(await nullAdapter(), {
      // The second of three scopes is that of memory.
      popErrorScope: async () => (scopes++ % 3 === 1 ? { message: 'out of memory' } : null),
    });
    const error = await refusal(WebgpuDevice.load(artifact, full));
    expect([error.code, error.message]).toEqual([435, expect.stringMatching(/no room for the \d+ MiB/)]);
  });

  it('sense in a shader: which kernel, which line, and from where', async () => {
    const kernel = artifact.manifest.programs[0].kernels.find((k) => k.source !== '')!;
    const files = new Map(artifact.files);
    const text = new TextDecoder().decode(files.get(shaderFile(kernel.name)));
    files.set(shaderFile(kernel.name), new TextEncoder().encode(text.replace('fn main(', 'fn main(nonsense, ')));
    const error = await refusal(
      WebgpuDevice.load(
        spoilt(artifact, () => {}, files),
        await nullAdapter(),
      ),
    );
    expect(error.code).toBe(436);
    expect(error.message).toContain(kernel.name);
    expect(String(error.loc)).toMatch(new RegExp(`${kernel.name}\\.wgsl:\\d+, from onnx:`));
  });

  it('the device itself, lost in the middle of a run', async () => {
    let lose: (info: { reason: string; message: string }) => void = () => {};
    const lost = new Promise((resolve) => {
      lose = resolve;
    });
    const device = await WebgpuDevice.load(artifact, changed(await nullAdapter(), { lost }));
    lose({ reason: 'unknown', message: 'the cable was pulled' });
    await Promise.resolve();
    const error = await refusal(device.run('train'));
    expect([error.code, error.message]).toEqual([437, expect.stringContaining('the cable was pulled')]);
  });
});
