/**
 * What this machine has that training asks for: system, processor, memory, GPUs, MPI; which device `--device auto` takes,
 * and why; and what to do where something is missing.
 */
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, freemem, release, totalmem } from 'node:os';
import { VERSION } from '../../ir/version.js';
import { type Advice, advise } from './advice.js';
import { examineGpus, type GpuReport } from './gpus.js';
import { examineMpi, type MpiReport } from './mpi.js';

export interface Choice {
  /** `cpu`, or an adapter's name. */
  readonly device: string;
  readonly why: string;
}

export interface Machine {
  readonly spngdc: string;
  readonly system: {
    readonly name: string;
    readonly kernel: string;
    readonly node: string;
    /** Absent where the C library is another. */
    readonly glibc?: string;
  };
  readonly processor: {
    readonly name: string;
    readonly cores: number;
    /** Threads that may run at once; fewer than cores in a container with a limit. */
    readonly threads: number;
    /** Whether the vector instructions of WebAssembly are there. */
    readonly simd: boolean;
  };
  readonly memory: {
    readonly totalBytes: number;
    readonly freeBytes: number;
    /** What a container may take; absent where there is no limit. */
    readonly limitBytes?: number;
  };
  readonly gpu: GpuReport;
  readonly mpi: MpiReport;
  /** For artifacts that are compiled for both targets. */
  readonly auto: Choice;
  readonly advice: readonly Advice[];
}

/** Throws nothing: what is missing is part of the answer. */
export async function examineMachine(): Promise<Machine> {
  const gpu = await examineGpus();
  // Empty where /proc is not there.
  const processors = cpus();
  const facts = {
    spngdc: VERSION,
    system: { name: systemName(), kernel: release(), node: process.version, glibc: glibc() },
    processor: {
      name: processors[0]?.model.trim() ?? process.arch,
      cores: processors.length || availableParallelism(),
      threads: cpuLimit() ?? availableParallelism(),
      simd: WebAssembly.validate(simdModule),
    },
    memory: { totalBytes: totalmem(), freeBytes: freemem(), limitBytes: memoryLimit() },
    gpu,
    mpi: examineMpi(),
    auto: choose(gpu),
  };
  return { ...facts, advice: advise(facts) };
}

/** As `openDevice` chooses for an artifact with both programs. */
export function choose({ preferred, unavailable, gpus }: GpuReport): Choice {
  if (unavailable !== undefined) return { device: 'cpu', why: `WebGPU cannot be used: ${unavailable}` };
  if (!preferred) return { device: 'cpu', why: 'WebGPU finds no GPU' };
  if (preferred.software)
    return {
      device: 'cpu',
      why: `${preferred.name} is a driver in software, slower than WebAssembly; it is taken only by name`,
    };
  const others = gpus.length > 1 ? `, which WebGPU prefers of ${gpus.length}` : '';
  return { device: preferred.name, why: `it is a real GPU${others}` };
}

/** (func (drop (i8x16.splat (i32.const 0)))) */
const simdModule = Uint8Array.of(
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 10, 9, 1, 7, 0, 0x41, 0, 0xfd, 15, 0x1a, 0x0b],
);

function systemName(): string {
  const file = '/etc/os-release';
  const name = existsSync(file) ? /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync(file, 'utf8'))?.[1] : undefined;
  return name ?? `${process.platform} ${process.arch}`;
}

function glibc(): string | undefined {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  return report?.header?.glibcVersionRuntime;
}

/** What a control group of Linux says in `file`; undefined where it sets no limit. */
function controlGroup(file: string): string | undefined {
  const path = `/sys/fs/cgroup/${file}`;
  if (!existsSync(path)) return undefined;
  const text = readFileSync(path, 'utf8').trim();
  return text.startsWith('max') ? undefined : text;
}

function cpuLimit(): number | undefined {
  const [quota, period] = controlGroup('cpu.max')?.split(' ').map(Number) ?? [];
  return quota > 0 && period > 0 ? Math.max(1, Math.floor(quota / period)) : undefined;
}

function memoryLimit(): number | undefined {
  const bytes = Number(controlGroup('memory.max') ?? Number.NaN);
  return Number.isFinite(bytes) ? bytes : undefined;
}
