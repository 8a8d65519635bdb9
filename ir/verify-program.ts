/**
 * Holds a program to its rules: every buffer lies in its memory and is large enough, state shares its bytes with nothing,
 * and every step names buffers and kernels that exist and fit each other.
 */
import type { Kernel } from './kernel.js';
import type { Batch, Buffer, Program, ProgramFunction, Step } from './program.js';
import { storedBytes, storedCount } from './types.js';

const ALIGNMENT = 256;

function byName<T extends { readonly name: string }>(list: readonly T[], what: string): Map<string, T> {
  const map = new Map<string, T>();
  for (let i = 0; i < list.length; i++) {
    map.set(list[i].name, list[i]);
    if (map.size === i) throw new Error(`two ${what} are named ${list[i].name}`);
  }
  return map;
}

function verifyBuffers(program: Program): Map<string, Buffer> {
  const memories = byName(program.memories, 'memories');
  const buffers = byName(program.buffers, 'buffers');
  for (const b of program.buffers) {
    const memory = memories.get(b.memory);
    if (!memory) throw new Error(`buffer ${b.name} lies in ${b.memory}, which is no memory`);
    if (!Number.isInteger(b.offset) || b.offset < 0 || b.offset % ALIGNMENT !== 0)
      throw new Error(`buffer ${b.name} begins at ${b.offset}, which is no multiple of ${ALIGNMENT}`);
    if (b.bytes < storedBytes(b))
      throw new Error(`buffer ${b.name} has ${b.bytes} bytes, its type needs ${storedBytes(b)}`);
    if (b.offset + b.bytes > memory.bytes)
      throw new Error(
        `buffer ${b.name} ends at ${b.offset + b.bytes}, memory ${memory.name} has ${memory.bytes} bytes`,
      );
  }
  return buffers;
}

/** Buffers by offset: one that keeps its content between calls must begin after all before it end, and end before the next begins. */
function verifyLastingBytes(program: Program): void {
  const order = [...program.buffers].sort((a, b) =>
    a.memory === b.memory ? a.offset - b.offset : a.memory < b.memory ? -1 : 1,
  );
  const lasting = (b: Buffer): boolean => b.role === 'state' || b.role === 'constant';
  // Of the buffers so far in this memory: the one that ends last, and the lasting one that does.
  let last: Buffer | undefined;
  let lastLasting: Buffer | undefined;
  const overlaps = (a: Buffer | undefined, b: Buffer): boolean =>
    a !== undefined && a.memory === b.memory && a.offset + a.bytes > b.offset;
  for (const b of order) {
    if (b.bytes === 0 || b.role === 'window') continue;
    const other = lasting(b) ? last : lastLasting;
    if (other && overlaps(other, b))
      throw new Error(`buffers ${other.name} and ${b.name} overlap, one of which must last`);
    if (!overlaps(last, b) || b.offset + b.bytes > last!.offset + last!.bytes) last = b;
    if (lasting(b)) lastLasting = b;
  }
}

const failure = (func: string, { slot }: Step, what: string): Error => new Error(`${func}: ${slot} ${what}`);

function verifyStep(
  step: Step,
  func: string,
  buffers: ReadonlyMap<string, Buffer>,
  infos: ReadonlyMap<string, unknown>,
  kernels: ReadonlyMap<string, Kernel>,
): void {
  const { variants } = step;
  if (variants.length === 0) throw failure(func, step, 'has no variant');
  const args: Buffer[] = [];
  for (let i = 0; i < step.args.length; i++) {
    const b = buffers.get(step.args[i]);
    if (!b) throw failure(func, step, `takes ${step.args[i]}, which is no buffer`);
    args.push(b);
  }
  for (let v = 0; v < variants.length; v++) {
    const name = variants[v];
    if (!infos.has(name)) throw failure(func, step, `runs ${name}, which is not in the kernel table`);
    const kernel = kernels.get(name);
    if (!kernel) {
      if (kernels.size > 0) throw failure(func, step, `runs ${name}, which has no code`);
      continue;
    }
    const { params } = kernel;
    if (params.length !== args.length)
      throw failure(func, step, `gives ${args.length} buffers to ${name}, which has ${params.length} parameters`);
    for (let i = 0; i < params.length; i++) {
      const p = params[i];
      const b = args[i];
      // Both hold one byte of 0 or 1.
      if (p.type !== b.dtype && !(p.type === 'u8' && b.dtype === 'bool'))
        throw failure(func, step, `gives ${b.name} (${b.dtype}) for parameter ${p.name} (${p.type}) of ${name}`);
      if (p.length > storedCount(b))
        throw failure(
          func,
          step,
          `gives ${b.name} with ${storedCount(b)} elements for parameter ${p.name} of ${name}, which has ${p.length}`,
        );
    }
  }
}

function verifyFunction(
  func: ProgramFunction,
  buffers: ReadonlyMap<string, Buffer>,
  infos: ReadonlyMap<string, unknown>,
  kernels: ReadonlyMap<string, Kernel>,
): void {
  byName(func.inputs, `inputs of ${func.name}`);
  byName(func.outputs, `outputs of ${func.name}`);
  for (const port of [...func.inputs, ...func.outputs])
    if (!buffers.has(port.buffer)) throw new Error(`${func.name}: ${port.name} is ${port.buffer}, which is no buffer`);
  for (const batch of func.batches ?? []) verifyBatch(batch, func.name, buffers.get(batch.buffer));
  const slots = new Set<string>();
  for (const segment of func.segments) {
    if (segment.repeat !== undefined && segment.repeat < 1)
      throw new Error(`${func.name}: segment ${segment.name} is repeated ${segment.repeat} times`);
    for (const step of segment.steps) {
      if (slots.has(step.slot)) throw new Error(`${func.name}: two steps have slot ${step.slot}`);
      slots.add(step.slot);
      verifyStep(step, func.name, buffers, infos, kernels);
    }
  }
}

function verifyBatch({ guard, of, buffer }: Batch, func: string, b: Buffer | undefined): void {
  if (!b) throw new Error(`${func}: the batch ${guard} is told by ${buffer}, which is no buffer`);
  if (b.dtype !== 'i32' || storedCount(b) !== of.length)
    throw new Error(`${func}: the batch ${guard} has ${of.length} guards, ${buffer} has other elements`);
}

/**
 * Throws an Error that names what breaks a rule.
 * @param kernels code of the kernels, to check arguments against parameters; without it only names are checked
 */
export function verifyProgram(program: Program, kernels: readonly Kernel[] = []): void {
  const buffers = verifyBuffers(program);
  verifyLastingBytes(program);
  const infos = byName(program.kernels, 'kernels');
  const code = byName(kernels, 'kernels');
  byName(program.functions, 'functions');
  for (const func of program.functions) verifyFunction(func, buffers, infos, code);
  const total = program.memories.reduce((n, m) => n + m.bytes, 0);
  if (program.plan.peak > total)
    throw new Error(`the plan's peak is ${program.plan.peak}, its memories have ${total} bytes`);
  if (program.plan.liveBound > total)
    throw new Error(`the plan's live-set bound ${program.plan.liveBound} exceeds its peak ${total}`);
}
