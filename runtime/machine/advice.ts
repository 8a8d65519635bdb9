/**
 * What to do where a machine lacks something: rules from what was found to a sentence that a newcomer can follow. Where one
 * thing is missing behind another, only the first is named.
 */
import type { Machine } from './examine.js';

export interface Advice {
  /** What is missing. */
  readonly what: string;
  /** What to do about it. */
  readonly todo: string;
}

type Facts = Omit<Machine, 'advice'>;

const ON_CPU = 'training runs on the processor meanwhile, with nothing to install';

export function advise(facts: Facts): Advice[] {
  return [gpu(facts), ...slow(facts), ...tight(facts)].filter((a) => a !== undefined);
}

/** The first link that is missing between WebGPU and a GPU. */
function gpu({ gpu, system }: Facts): Advice | undefined {
  const { unavailable, gpus, deviceFiles, vulkanLoader, vulkanDrivers } = gpu;
  if (unavailable !== undefined) {
    if (/GLIBC(XX)?_/.test(unavailable))
      return {
        what: `WebGPU needs newer system libraries (glibc ${system.glibc ?? 'unknown'} here)`,
        todo: 'use a system with glibc 2.34 and libstdc++ 12 or newer (Debian 12, Ubuntu 22.04), or pack the job elsewhere: it brings libstdc++ along',
      };
    return { what: `WebGPU cannot be loaded: ${unavailable}`, todo: `npm install webgpu; ${ON_CPU}` };
  }
  const refused = gpus.find((g) => g.refusal !== undefined);
  if (refused)
    return {
      what: `${refused.name} gives no device: ${refused.refusal}`,
      todo: 'see whether another process holds it',
    };
  if (gpus.some((g) => !g.software) || process.platform !== 'linux') return undefined;
  if (deviceFiles.length === 0)
    return {
      what: 'Linux shows no GPU (no /dev/nvidia*, /dev/dri, /dev/kfd or /dev/dxg)',
      todo: `if there is one, install its driver; in a container, pass it in (--gpus all for NVIDIA, --device /dev/dri for others); ${ON_CPU}`,
    };
  if (vulkanLoader === undefined)
    return {
      what: 'the Vulkan loader, libvulkan.so.1, is missing',
      todo: 'install libvulkan1 (Debian, Ubuntu) or vulkan-loader (Fedora, RHEL)',
    };
  const nvidia = deviceFiles.some((f) => f.startsWith('/dev/nvidia'));
  if (vulkanDrivers.length === 0)
    return {
      what: 'no Vulkan driver is registered (no file in /usr/share/vulkan/icd.d or /etc/vulkan/icd.d)',
      todo: nvidia
        ? "install the Vulkan part of NVIDIA's driver (libnvidia-gl); in a container, set NVIDIA_DRIVER_CAPABILITIES=all"
        : 'install mesa-vulkan-drivers',
    };
  return {
    what: `Vulkan drivers are registered (${vulkanDrivers.join(', ')}), and none of them opens a GPU`,
    todo: nvidia
      ? 'compare the versions of kernel module and libraries (nvidia-smi tells); in a container, set NVIDIA_DRIVER_CAPABILITIES=all'
      : 'see that you may open the files in /dev/dri (group render or video), and that the driver is recent',
  };
}

function slow({ processor, gpu }: Facts): (Advice | undefined)[] {
  const real = gpu.gpus.find((g) => !g.software);
  return [
    processor.simd
      ? undefined
      : { what: 'this Node has no vector instructions in WebAssembly', todo: 'install Node 20 or newer' },
    real && !real.f16
      ? {
          what: `${real.name} offers no half precision (shader-f16)`,
          todo: 'update its driver; all kernels run in f32 without it',
        }
      : undefined,
  ];
}

function tight({ memory }: Facts): (Advice | undefined)[] {
  const least = 1024 ** 3;
  const may = Math.min(memory.freeBytes, memory.limitBytes ?? Number.POSITIVE_INFINITY);
  if (may >= least) return [];
  return [{ what: 'less than 1 GiB of memory is free', todo: 'end other programs, or compile with a smaller --batch' }];
}
