/**
 * A program as `.spn`: where its bytes lie, its kernels with their costs, and each function's steps in order.
 */
import type { Buffer, KernelInfo, Program, ProgramFunction, Segment, Step, Variant } from '../program.js';
import { replicated } from '../types.js';
import { columns, writeLabel, writeName, writeNumber, writeType } from './write.js';

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
    `flops=${writeNumber(k.flops)} bytes=${writeNumber(k.bytes)}`,
    `computes [${k.computes.map(writeName).join(', ')}]`,
    `source ${JSON.stringify(k.source)} stopped ${JSON.stringify(k.stopped)}`,
  ];
}

function variant(v: Variant): string {
  const features = v.requires.features.map(writeName);
  const limits = Object.entries(v.requires.limits).map(
    ([name, least]) => `${writeName(name)} >= ${writeNumber(least)}`,
  );
  const requires = [...features, ...limits];
  return `cost ${writeNumber(v.cost)}${requires.length > 0 ? ` requires ${requires.join(', ')}` : ''}`;
}

/** The first variant with the arguments and the source; on lines of their own, what runs where it cannot. */
function stepRows(s: Step): string[][] {
  const slot = `${writeName(s.slot)}:`;
  const args = `[${s.args.map(writeName).join(', ')}]`;
  return s.variants.map((v, i) =>
    i === 0
      ? [slot, writeName(v.kernel), args, `${variant(v)} source ${JSON.stringify(s.source)}`]
      : ['  else', writeName(v.kernel), '', variant(v)],
  );
}

function printSegment(s: Segment): string[] {
  const guard = s.guard === undefined ? '' : ` when ${writeLabel(s.guard)}`;
  return [
    `  segment ${writeName(s.name)}${guard} {`,
    ...columns(s.steps.flatMap(stepRows), [8, 32, 64], '    '),
    '  }',
  ];
}

function printFunction(f: ProgramFunction): string[] {
  const ports = (list: ProgramFunction['inputs']): string[] =>
    columns(
      list.map((p) => [writeLabel(p.name), `= ${writeName(p.buffer)}`]),
      [24],
    );
  return [
    `function @${writeName(f.name)}${f.waves === undefined ? '' : ` waves=${f.waves}`} (`,
    ...ports(f.inputs),
    ') -> (',
    ...ports(f.outputs),
    ') {',
    ...f.segments.flatMap(printSegment),
    '}',
  ];
}

export function printProgram(p: Program): string {
  const lines = [
    `program ${writeName(p.name)} target ${p.target} peak=${p.plan.peak} liveBound=${p.plan.liveBound}`,
    '',
    'memories {',
    ...p.memories.map((m) => `  ${writeName(m.name)}: ${m.bytes} bytes`),
    '}',
    '',
    'buffers {',
    ...columns(p.buffers.map(bufferRow), [48, 9, 24]),
    '}',
    '',
    'kernels {',
    ...columns(p.kernels.map(kernelRow), [24, 24, 32, 48]),
    '}',
  ];
  return `${[...lines, ...p.functions.flatMap((f) => ['', ...printFunction(f)])].join('\n')}\n`;
}
