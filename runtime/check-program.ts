/**
 * Checks a manifest's program for all that a device relies on: names resolve, buffers lie inside their memories and have
 * the bytes of their types, steps give each kernel the same number of buffers, state and metrics are where the manifest says.
 */
import { ACCUMULATE, CARRY, MANIFEST, type Manifest, scheduledInputs } from '../ir/artifact.js';
import {
  bufferMismatch,
  bufferOutOfBounds,
  dispatchMissing,
  duplicateName,
  functionMissing,
  kernelArguments,
  manifestBroken,
  metricsMismatch,
  unknownBuffer,
  unknownKernel,
} from '../ir/diagnostics/artifact.js';
import type { Buffer, Program } from '../ir/program.js';
import { bytesPerElement, type DType, product, storedBytes } from '../ir/types.js';

/** Functions that `spngdc run` calls. */
const required = ['init', 'train', 'eval'];

/** Buffers begin at multiples of this, so that any element type and SIMD load is aligned. */
const BUFFER_ALIGNMENT = 256;

function byName<T extends { readonly name: string }>(what: string, list: readonly T[]): Map<string, T> {
  const map = new Map<string, T>();
  for (const item of list) {
    if (map.has(item.name)) throw duplicateName(what, item.name);
    map.set(item.name, item);
  }
  return map;
}

/** Throws UserError E408-E413, E421, E422, E425. */
export function checkPrograms(manifest: Manifest): void {
  byName(
    'program for',
    manifest.programs.map((p) => ({ name: p.target })),
  );
  for (const program of manifest.programs) checkProgram(manifest, program);
}

function checkProgram(manifest: Manifest, program: Program): void {
  const buffers = byName('buffer', program.buffers);
  checkBuffers(program);
  checkSteps(program, buffers, manifest.defaults.accumulate === undefined ? required : [...required, ACCUMULATE]);
  checkState(manifest, buffers);
  checkMetrics(manifest, program, buffers);
  checkInputs(manifest, program, buffers);
}

function checkBuffers(program: Program): void {
  const memories = byName('memory', program.memories);
  for (const b of program.buffers) {
    const memory = memories.get(b.memory);
    if (!memory) throw bufferOutOfBounds(b.name, `there is no memory '${b.memory}'`);
    if (b.offset % BUFFER_ALIGNMENT !== 0)
      throw bufferOutOfBounds(b.name, `offset ${b.offset} is no multiple of ${BUFFER_ALIGNMENT}`);
    if (b.layout === 'packed-lower' && (b.shape.length < 2 || b.shape.at(-1) !== b.shape.at(-2)))
      throw bufferMismatch(b.name, `a packed symmetric tensor of shape [${b.shape}]`);
    const need = storedBytes(b);
    if (b.bytes !== need) throw bufferMismatch(b.name, `${b.bytes} bytes, its type needs ${need}`);
    if (b.offset + b.bytes > memory.bytes)
      throw bufferOutOfBounds(b.name, `it ends at byte ${b.offset + b.bytes} of ${memory.bytes}`);
  }
}

function checkSteps(program: Program, buffers: ReadonlyMap<string, Buffer>, needed: readonly string[]): void {
  const kernels = byName('kernel', program.kernels);
  const functions = byName('function', program.functions);
  for (const name of needed) if (!functions.has(name)) throw functionMissing(name);
  const argumentCount = new Map<string, number>();
  for (const f of program.functions) {
    byName(`input of ${f.name}`, f.inputs);
    byName(`output of ${f.name}`, f.outputs);
    for (const { name, buffer } of [...f.inputs, ...f.outputs])
      if (!buffers.has(buffer)) throw unknownBuffer(`${f.name}, '${name}'`, buffer);
    const forGpu = f.batches !== undefined || f.segments.some((s) => s.repeat !== undefined);
    if (forGpu && program.target !== 'webgpu')
      throw manifestBroken(
        MANIFEST,
        `function ${f.name}`,
        'only a program for a GPU has batches and repeated segments',
      );
    for (const { guard, of, buffer } of f.batches ?? []) {
      const b = buffers.get(buffer);
      if (!b) throw unknownBuffer(`${f.name}, batch '${guard}'`, buffer);
      if (b.dtype !== 'i32' || b.bytes !== 4 * of.length)
        throw bufferMismatch(buffer, `${b.dtype}[${b.shape}], but the batch '${guard}' has ${of.length} guards`);
    }
    for (const step of f.segments.flatMap((s) => s.steps)) {
      const place = `${f.name}.${step.slot}`;
      for (const a of step.args) if (!buffers.has(a)) throw unknownBuffer(place, a);
      for (const kernel of step.variants) {
        if (!kernels.has(kernel)) throw unknownKernel(place, kernel);
        const known = argumentCount.get(kernel) ?? step.args.length;
        if (known !== step.args.length) throw kernelArguments(place, kernel, step.args.length, known);
        argumentCount.set(kernel, known);
      }
    }
  }
  for (const { name, access, dispatch } of kernels.values()) {
    if (program.target === 'webgpu' && !dispatch) throw dispatchMissing(name);
    const count = argumentCount.get(name) ?? access.length;
    if (count !== access.length) throw kernelArguments(`kernel ${name}`, name, count, access.length);
  }
}

function checkState(manifest: Manifest, buffers: ReadonlyMap<string, Buffer>): void {
  byName('state', manifest.state);
  for (const entry of manifest.state) {
    const b = buffers.get(entry.name);
    if (!b) throw unknownBuffer('state', entry.name);
    if (b.dtype !== entry.dtype || b.layout !== entry.layout || b.shape.join() !== entry.shape.join())
      throw bufferMismatch(
        entry.name,
        `${b.layout} ${b.dtype}[${b.shape}], but the state is ${entry.layout} ${entry.dtype}[${entry.shape}]`,
      );
    if (b.role !== 'state' && b.role !== 'constant') throw bufferMismatch(entry.name, `its role is '${b.role}'`);
  }
}

/** Metrics that the training loop cannot do without. */
const metricsNeeded: Record<string, readonly string[]> = { train: ['loss', 'count'], eval: ['loss_sum', 'count'] };

function checkMetrics(manifest: Manifest, program: Program, buffers: ReadonlyMap<string, Buffer>): void {
  for (const [name, needed] of Object.entries(metricsNeeded)) {
    const names = manifest.functions[name]?.metrics;
    if (!names) throw metricsMismatch(name, 'the manifest does not name them');
    for (const m of needed) if (!names.includes(m)) throw metricsMismatch(name, `'${m}' is not among ${names}`);
    const output = program.functions.find((f) => f.name === name)?.outputs.find((o) => o.name === 'metrics');
    const buffer = output && buffers.get(output.buffer);
    if (buffer?.dtype !== 'f32' || buffer.bytes !== 4 * names.length)
      throw metricsMismatch(name, `the function has no output 'metrics' of ${names.length} f32 values`);
  }
}

/** What the loop writes fills the buffers that it goes to, in their element types; and it writes all inputs. */
function checkInputs({ batch, inputs, loss }: Manifest, program: Program, buffers: ReadonlyMap<string, Buffer>): void {
  for (const { name, inputs: taken } of program.functions) {
    if (name !== 'eval' && name !== 'train' && name !== ACCUMULATE) continue;
    const examples = batch[name === 'eval' ? 'eval' : 'train'];
    type Fed = readonly [dtype: DType, count: number];
    const fed = new Map<string, Fed>([
      ['valid', ['f32', examples]],
      ['rng', ['i32', 3]],
      ...(name === ACCUMULATE ? [CARRY] : scheduledInputs).map((s): [string, Fed] => [s, ['f32', 1]]),
      ...inputs.map((i): [string, Fed] => [i.name, [i.dtype, examples * product(i.shape.slice(1))]]),
    ]);
    if (loss.target) {
      const { dtype, shape } = loss.target;
      fed.set('target', [dtype === 'i32' ? 'i32' : 'f32', examples * product(shape.slice(1))]);
    }
    for (const input of taken) {
      const given = fed.get(input.name);
      if (!given) throw bufferMismatch(input.buffer, `the input '${input.name}' of ${name} is none that a run writes`);
      const [dtype, count] = given;
      const b = buffers.get(input.buffer)!;
      if (b.dtype !== dtype || b.bytes !== count * bytesPerElement[dtype])
        throw bufferMismatch(
          input.buffer,
          `${b.layout} ${b.dtype}[${b.shape}], but a run writes ${count} of ${dtype} for ${examples} examples`,
        );
    }
  }
}
