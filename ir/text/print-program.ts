/**
 * A program as `.spn`: where its bytes lie, its kernels with their costs, and each function's steps in order.
 */
import type { Buffer, KernelInfo, Program, ProgramFunction, Requirement, Segment, Step } from '../program.js';
import { replicated } from '../types.js';
import { type Lines, textOf } from './lines.js';
import { columns, writeLabel, writeName, writeNames, writeNumber, writeType } from './write.js';

function bufferRow(b: Buffer): string[] {
  const type = writeType({ dtype: b.dtype, shape: b.shape, layout: b.layout, placement: replicated });
  return [`${writeName(b.name)}: ${type}`, b.role, `${writeName(b.memory)} + ${b.offset},`, `${b.bytes} bytes`];
}

function dispatch({ dispatch: d }: KernelInfo): string {
  return d ? ` dispatch ${d.workgroups.join(', ')}` : '';
}

function kernelRow(k: KernelInfo): string[] {
  return [
    writeName(k.name),
    `grid=${writeNumber(k.grid)} scratch=${writeNumber(k.scratch)}${dispatch(k)} access [${k.access.join(', ')}]`,
    `flops=${writeNumber(k.flops)} bytes=${writeNumber(k.bytes)} cost=${writeNumber(k.cost)}${requires(k.requires)}`,
    `computes ${writeNames(k.computes)}`,
    `source ${JSON.stringify(k.source)} stopped ${JSON.stringify(k.stopped)}`,
  ];
}

function requires({ features, limits }: Requirement): string {
  const least = Object.entries(limits).map(([name, value]) => `${writeName(name)} >= ${writeNumber(value)}`);
  const all = [...features.map(writeName), ...least];
  return all.length > 0 ? ` requires ${all.join(', ')}` : '';
}

const stepRow = ({ slot, variants, args, source }: Step): string[] => [
  `${writeName(slot)}:`,
  variants.map(writeName).join(' else '),
  writeNames(args),
  `source ${JSON.stringify(source)}`,
];

function printSegment(s: Segment, to: Lines): void {
  const guard = s.guard === undefined ? '' : ` when ${writeLabel(s.guard)}`;
  const repeat = s.repeat === undefined ? '' : ` repeat ${s.repeat}`;
  to(`  segment ${writeName(s.name)}${guard}${repeat} {`);
  columns(to, s.steps, stepRow, [8, 32, 64], '    ');
  to('  }');
}

const portRow = (p: ProgramFunction['inputs'][number]): string[] => [writeLabel(p.name), `= ${writeName(p.buffer)}`];

function printFunction(f: ProgramFunction, to: Lines): void {
  to(`function @${writeName(f.name)}${f.waves === undefined ? '' : ` waves=${f.waves}`} (`);
  columns(to, f.inputs, portRow, [24]);
  to(') -> (');
  columns(to, f.outputs, portRow, [24]);
  to(') {');
  for (const b of f.batches ?? [])
    to(`  batch ${writeLabel(b.guard)} = ${writeName(b.buffer)} [${b.of.map(writeLabel).join(', ')}]`);
  for (const s of f.segments) printSegment(s, to);
  to('}');
}

export function printProgramTo(p: Program, to: Lines): void {
  to(`program ${writeName(p.name)} target ${p.target} peak=${p.plan.peak} liveBound=${p.plan.liveBound}`);
  to('');
  to('memories {');
  for (const m of p.memories) to(`  ${writeName(m.name)}: ${m.bytes} bytes`);
  to('}');
  to('');
  to('buffers {');
  columns(to, p.buffers, bufferRow, [48, 9, 24]);
  to('}');
  to('');
  to('kernels {');
  columns(to, p.kernels, kernelRow, [24, 24, 32, 48]);
  to('}');
  for (const f of p.functions) {
    to('');
    printFunction(f, to);
  }
}

export const printProgram = (p: Program): string => textOf((to) => printProgramTo(p, to));
