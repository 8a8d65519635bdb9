/**
 * `spngdc doctor`: what this machine has, which device would be taken, and what to do where something is missing.
 */
import type { Command } from 'commander';
import type { Machine } from '../runtime/machine/examine.js';
import type { Gpu, GpuReport } from '../runtime/machine/gpus.js';
import type { MpiReport } from '../runtime/machine/mpi.js';
import { memorySize, type Terminal } from './terminal.js';

export function addDoctor(program: Command, terminal: Terminal): void {
  program
    .command('doctor')
    .description('look at this machine: GPUs, drivers, memory, MPI, and which device would be taken')
    .option('--json', 'as one JSON object')
    .action(async ({ json }: { readonly json?: boolean }) => {
      const { examineMachine } = await import('../runtime/machine/examine.js');
      const machine = await examineMachine();
      terminal.stdout.write(
        json ? `${JSON.stringify(machine, undefined, 1)}\n` : describe(machine, terminal.stdout.columns),
      );
    });
}

type Row = readonly [string, string];

/** Sections of named lines, for `width` columns. */
export function describe(machine: Machine, width = 100): string {
  const { system, processor, memory, gpu, mpi, auto, advice } = machine;
  const limit = memory.limitBytes === undefined ? '' : `, limited to ${memorySize(memory.limitBytes)}`;
  const sections: (readonly [string, readonly Row[]])[] = [
    [
      'This machine',
      [
        ['spngdc', machine.spngdc],
        ['system', `${system.name}, kernel ${system.kernel}`],
        ['libraries', `Node ${system.node}${system.glibc ? `, glibc ${system.glibc}` : ''}`],
        ['processor', `${processor.name}, ${processor.cores} cores, ${processor.threads} threads at once`],
        ['WebAssembly', processor.simd ? 'with vector instructions' : 'without vector instructions'],
        ['memory', `${memorySize(memory.totalBytes)}, ${memorySize(memory.freeBytes)} free${limit}`],
      ],
    ],
    ['GPU', surroundings(gpu)],
    ...gpu.gpus.map((g) => [`GPU: ${g.name}`, adapter(g)] as const),
    ['MPI', launching(mpi)],
    ['Device', [['auto', `${auto.device === 'cpu' ? 'the processor (cpu)' : auto.device}: ${auto.why}`]]],
    [
      'To do',
      advice.length === 0 ? [['nothing', 'all is there']] : advice.map((a) => ['-', `${a.what}: ${a.todo}`] as const),
    ],
  ];
  return sections.map(([title, rows]) => `${title}\n${rows.map((r) => line(r, width)).join('\n')}\n`).join('\n');
}

function surroundings({ unavailable, gpus, deviceFiles, vulkanLoader, vulkanDrivers, nvidia }: GpuReport): Row[] {
  const named = (files: readonly string[]): string => (files.length === 0 ? 'none' : files.join(', '));
  const found = gpus.length === 0 ? 'no GPU found' : `${gpus.length} found`;
  const linux: Row[] =
    process.platform === 'linux'
      ? [
          ['device files', named(deviceFiles)],
          ['Vulkan loader', vulkanLoader ?? 'not in the folders of the system'],
          ['Vulkan drivers', named(vulkanDrivers)],
        ]
      : [];
  return [['WebGPU', unavailable ?? found], ...linux, ...nvidia.map((n): Row => ['NVIDIA', n])];
}

function adapter(g: Gpu): Row[] {
  const yes = (b: boolean): string => (b ? 'yes' : 'no');
  const shapes = g.matrices.map((s) => `${s.m}x${s.n}x${s.k} ${s.operands} to ${s.sums}`);
  const sizes = g.subgroups && (g.subgroups[0] === g.subgroups[1] ? `${g.subgroups[0]}` : g.subgroups.join(' to '));
  const { limits } = g;
  return [
    ['driver', `${g.driver || 'says nothing of itself'} (${g.backend})${g.software ? ', in software' : ''}`],
    ...(g.refusal === undefined ? [] : [['device', `refused: ${g.refusal}`] as const]),
    ['f16', yes(g.f16)],
    ['subgroups', sizes === undefined ? 'no' : `of ${sizes} threads`],
    ['matrices', shapes.length === 0 ? 'no subgroup matrices' : [...new Set(shapes)].join(', ')],
    ['timestamps', yes(g.timestamps)],
    [
      'memory',
      `buffers up to ${memorySize(limits.bufferBytes)}, ${memorySize(limits.bindingBytes)} of one in a kernel`,
    ],
    [
      'kernels',
      `${limits.buffersPerKernel} buffers, ${limits.threadsPerGroup} threads and ${memorySize(limits.groupMemoryBytes)} a workgroup`,
    ],
  ];
}

function launching({ libraries, launchers }: MpiReport): Row[] {
  const found = libraries.map((l) => `${l.kind} (${l.file})`);
  const programs = launchers.map((l) => `${l.program}${l.kind ? ` (${l.kind})` : ''}`);
  return [
    [
      'libraries',
      found.length === 0 ? 'neither Open MPI nor MPICH; training on one device needs none' : found.join(', '),
    ],
    ['launchers', programs.length === 0 ? 'none' : programs.join(', ')],
  ];
}

const INDENT = 2;
const LABEL = 16;

/** A label and its text, which continues below itself where the terminal ends. */
function line([label, text]: Row, width: number): string {
  const left = label === '-' ? 4 : LABEL + INDENT;
  const room = Math.max(30, width - left);
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= room) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  const first = `${' '.repeat(INDENT)}${label}`.padEnd(left);
  return lines.map((l, i) => (i === 0 ? first : ' '.repeat(left)) + l).join('\n');
}
