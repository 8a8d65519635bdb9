/**
 * Holds a program to its rules: every buffer lies in its memory and is large enough, state shares its bytes with nothing,
 * and every step names buffers and kernels that exist and fit each other.
 */
import type { Kernel } from './kernel.js';
import type { Batch, Buffer, Program, ProgramFunction, Step } from './program.js';
import { replicated, storedBytes, storedCount, type TensorType } from './types.js';

const ALIGNMENT = 256;

const typeOf = (b: Buffer): TensorType => ({
  dtype: b.dtype,
  shape: b.shape,
  layout: b.layout,
  placement: replicated,
});

function byName<T extends { readonly name: string }>(list: readonly T[], what: string): Map<string, T> {
  const map = new Map<string, T>();
  for (const item of list) {
    if (map.has(item.name)) throw new Error(`two ${what} are named ${item.name}`);
    map.set(item.name, item);
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
    if (b.bytes < storedBytes(typeOf(b)))
      throw new Error(`buffer ${b.name} has ${b.bytes} bytes, its type needs ${storedBytes(typeOf(b))}`);
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

function verifyStep(
  step: Step,
  what: string,
  buffers: ReadonlyMap<string, Buffer>,
  infos: ReadonlyMap<string, unknown>,
  kernels: ReadonlyMap<string, Kernel>,
): void {
  if (step.variants.length === 0) throw new Error(`${what} has no variant`);
  const args = step.args.map((name) => {
    const b = buffers.get(name);
    if (!b) throw new Error(`${what} takes ${name}, which is no buffer`);
    return b;
  });
  for (const name of step.variants) {
    if (!infos.has(name)) throw new Error(`${what} runs ${name}, which is not in the kernel table`);
    const kernel = kernels.get(name);
    if (!kernel) {
      if (kernels.size > 0) throw new Error(`${what} runs ${name}, which has no code`);
      continue;
    }
    if (kernel.params.length !== args.length)
      throw new Error(
        `${what} gives ${args.length} buffers to ${kernel.name}, which has ${kernel.params.length} parameters`,
      );
    kernel.params.forEach((p, i) => {
      // Both hold one byte of 0 or 1.
      if (p.type !== args[i].dtype && !(p.type === 'u8' && args[i].dtype === 'bool'))
        throw new Error(
          `${what} gives ${args[i].name} (${args[i].dtype}) for parameter ${p.name} (${p.type}) of ${kernel.name}`,
        );
      if (p.length > storedCount(typeOf(args[i])))
        throw new Error(
          `${what} gives ${args[i].name} with ${storedCount(typeOf(args[i]))} elements for parameter ${p.name} of ${kernel.name}, which has ${p.length}`,
        );
    });
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
      verifyStep(step, `${func.name}: ${step.slot}`, buffers, infos, kernels);
    }
  }
}

function verifyBatch({ guard, of, buffer }: Batch, func: string, b: Buffer | undefined): void {
  if (!b) throw new Error(`${func}: the batch ${guard} is told by ${buffer}, which is no buffer`);
  if (b.dtype !== 'i32' || storedCount(typeOf(b)) !== of.length)
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
