import { expect, describe as group, it } from 'vitest';
import { runCommandLine } from '../../cli/command-line.js';
import { describe } from '../../cli/doctor.js';
import { advise } from '../../runtime/machine/advice.js';
import { choose, examineMachine, type Machine } from '../../runtime/machine/examine.js';
import type { Gpu, GpuReport } from '../../runtime/machine/gpus.js';
import { useSwiftShader } from '../targets/swiftshader.mjs';

const h100: Gpu = {
  name: 'NVIDIA H100',
  backend: 'vulkan',
  vendor: 'nvidia',
  driver: 'NVIDIA: 570.86',
  software: false,
  f16: true,
  timestamps: true,
  subgroups: [32, 32],
  matrices: [
    { m: 16, n: 16, k: 16, operands: 'f16', sums: 'f32' },
    { m: 16, n: 16, k: 16, operands: 'f16', sums: 'f16' },
  ],
  limits: {
    bufferBytes: 2 ** 38,
    bindingBytes: 2 ** 31 - 4,
    buffersPerKernel: 16,
    groupMemoryBytes: 49152,
    threadsPerGroup: 1024,
  },
};
const software: Gpu = { ...h100, name: 'SwiftShader Device', software: true, f16: false, matrices: [] };

const none: GpuReport = { gpus: [], deviceFiles: [], vulkanDrivers: [], nvidia: [] };
const whole: GpuReport = {
  gpus: [h100],
  preferred: { name: h100.name, software: false },
  deviceFiles: ['/dev/nvidia0', '/dev/nvidiactl'],
  vulkanLoader: '/usr/lib/libvulkan.so.1',
  vulkanDrivers: ['/etc/vulkan/icd.d/nvidia_icd.json'],
  nvidia: ['NVIDIA H100, 570.86, 81559 MiB'],
};

const machine = (gpu: GpuReport, change: Partial<Machine> = {}): Machine => {
  const facts = {
    spngdc: '0.1.0',
    system: { name: 'Debian 12', kernel: '6.1', node: 'v20.20.2', glibc: '2.36' },
    processor: { name: 'EPYC', cores: 16, threads: 16, simd: true },
    memory: { totalBytes: 2 ** 37, freeBytes: 2 ** 36 },
    gpu,
    mpi: { libraries: [], launchers: [] },
    auto: choose(gpu),
    ...change,
  };
  return { ...facts, advice: advise(facts) };
};

group('what is missing between WebGPU and a GPU is told by its first link', () => {
  const found = { deviceFiles: ['/dev/nvidia0'], vulkanLoader: '/usr/lib/libvulkan.so.1' };
  it.each<[string, GpuReport, RegExp | undefined]>([
    ['nothing', whole, undefined],
    ['the package', { ...none, unavailable: "Cannot find package 'webgpu'" }, /npm install webgpu/],
    ['the C library', { ...none, unavailable: "version `GLIBC_2.34' not found" }, /newer system libraries/],
    ['the device', none, /no GPU.*--gpus all/],
    ['the loader', { ...none, deviceFiles: ['/dev/dri/renderD128'] }, /libvulkan1/],
    ['the driver, NVIDIA', { ...none, ...found }, /NVIDIA_DRIVER_CAPABILITIES/],
    ['the driver, Mesa', { ...none, ...found, deviceFiles: ['/dev/dri/card0'] }, /mesa-vulkan-drivers/],
    ['its help', { ...none, ...found, vulkanDrivers: ['/a.json'], gpus: [software] }, /none of them opens a GPU/],
    ['a device that is free', { ...whole, gpus: [{ ...h100, refusal: 'busy' }] }, /gives no device: busy/],
  ])('%s', (_, gpu, told) => {
    const { advice } = machine(gpu);
    if (told === undefined) expect(advice).toEqual([]);
    else {
      expect(advice).toHaveLength(1);
      expect(`${advice[0].what}: ${advice[0].todo}`).toMatch(told);
    }
  });

  it('and what makes it slow', () => {
    const tight = machine(whole, { memory: { totalBytes: 2 ** 37, freeBytes: 2 ** 36, limitBytes: 2 ** 28 } });
    expect(tight.advice.map((a) => a.what)).toEqual(['less than 1 GiB of memory is free']);
    const half = machine({ ...whole, gpus: [{ ...h100, f16: false }] });
    expect(half.advice[0].what).toContain('half precision');
  });
});

it('a real GPU is chosen, a software one never, and it says why', () => {
  expect(choose(whole)).toEqual({ device: 'NVIDIA H100', why: 'it is a real GPU' });
  expect(choose(none).device).toBe('cpu');
  const soft = choose({ ...none, gpus: [software], preferred: { name: software.name, software: true } });
  expect(soft).toMatchObject({ device: 'cpu', why: expect.stringContaining('in software') });
});

it('reads well, in the columns that there are', () => {
  const text = describe(machine(whole), 70);
  for (const l of text.split('\n')) expect(l.length).toBeLessThanOrEqual(70);
  expect(text).toContain('GPU: NVIDIA H100\n  driver          NVIDIA: 570.86 (vulkan)\n');
  expect(text).toContain('  matrices        16x16x16 f16 to f32, 16x16x16 f16 to f16\n');
  expect(text).toContain('  auto            NVIDIA H100: it is a real GPU\n');
  expect(text).toContain('  nothing         all is there\n');
});

it('examines this machine, and its driver in software', async () => {
  useSwiftShader();
  const here = await examineMachine();
  const gpu = here.gpu.gpus.find((g) => g.name.includes('SwiftShader'));
  expect(gpu).toMatchObject({ software: true, subgroups: [4, 4], matrices: [], refusal: undefined });
  expect(here.memory.totalBytes).toBeGreaterThan(0);
  let out = '';
  const terminal = { stdout: { write: (text: string) => (out += text) }, stderr: { write: () => {} } };
  expect(await runCommandLine(['doctor', '--json'], terminal)).toBe(0);
  const { memory, ...same } = JSON.parse(out);
  expect(same).toEqual(JSON.parse(JSON.stringify({ ...here, memory: undefined })));
  expect(memory.totalBytes).toBe(here.memory.totalBytes);
});
