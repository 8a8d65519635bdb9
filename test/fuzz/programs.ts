/**
 * Random modules as whole programs: two random functions that share the transients' memory, some of their inputs made state
 * that they update. Every way to run them, at planned offsets, against the float64 evaluator.
 */
import { fuse } from '../../compiler/kernels/fuse.js';
import { lowerForGpu } from '../../compiler/kernels/gpu/lower.js';
import { lowerRegion } from '../../compiler/kernels/lower.js';
import { type Assembled, assemble } from '../../compiler/program/assemble.js';
import { evaluate } from '../../ir/evaluate.js';
import type { Func, Module, Node, Value } from '../../ir/graph.js';
import type { Program } from '../../ir/program.js';
import { typeEquals } from '../../ir/types.js';
import { verifyKernel, verifyModule, verifyProgram } from '../../ir/verify.js';
import { type By, ProgramRun } from '../program/run-program.js';
import { type GraphOptions, randomFunc, randomInputs } from './graphs.js';
import { Rng } from './rng.js';

export interface Way {
  readonly target: Program['target'];
  readonly fusion: boolean;
  readonly by: By;
}

export const ways: readonly Way[] = [
  { target: 'wasm', fusion: true, by: 'interpreter' },
  { target: 'wasm', fusion: false, by: 'interpreter' },
  { target: 'wasm', fusion: true, by: 'wasm' },
  { target: 'webgpu', fusion: true, by: 'interpreter' },
  { target: 'webgpu', fusion: true, by: 'interpreter, backwards' },
  { target: 'webgpu', fusion: false, by: 'interpreter' },
];

export const onDawn: Way = { target: 'webgpu', fusion: true, by: 'Dawn' };

/**
 * Some inputs become state; some of it is updated, by what is computed or by an input. State that leaves the function as it was
 * is not overwritten, as the passes promise (see placeState).
 */
function withState(func: Func, name: string, r: Rng): Func {
  const renamed = new Map<Value, Value>();
  const reads: Value[] = [];
  const inputs: Value[] = [];
  for (const v of func.inputs) {
    if (r.chance(0.5)) {
      const read = { ...v, name: `${name}.${v.name}` };
      renamed.set(v, read);
      reads.push(read);
    } else inputs.push(v);
  }
  const now = (v: Value): Value => renamed.get(v) ?? v;
  const nodes = func.nodes.map((n): Node => ({ ...n, operands: n.operands.map(now) }));
  const values = [...inputs, ...nodes.flatMap((n) => n.results)];
  // A reshape is its operand's bytes.
  const origin = new Map(nodes.flatMap((n) => (n.op === 'reshape' ? [[n.results[0], n.operands[0]] as const] : [])));
  const root = (v: Value): Value => (origin.has(v) ? root(origin.get(v)!) : v);
  const leaving = new Set(func.outputs.map((o) => root(now(o.value))));
  const stored = new Set(reads);
  const updates = reads.flatMap((read) => {
    const fitting = values.filter((v) => typeEquals(v.type, read.type) && !stored.has(root(v)));
    if (leaving.has(read) || fitting.length === 0 || r.chance(0.2)) return [];
    return [{ state: read.name, value: r.pick(fitting) }];
  });
  return { name, inputs, reads, nodes, outputs: func.outputs.map((o) => ({ ...o, value: now(o.value) })), updates };
}

export function randomModule(seed: number, options: GraphOptions = {}): Module {
  const r = new Rng(seed ^ 0xace);
  const functions = ['first', 'second'].map((name, i) => withState(randomFunc(2 * seed + i, options), name, r));
  const module: Module = {
    name: 'fuzz',
    level: 'train',
    state: functions.flatMap((f) =>
      f.reads.map((v) => ({
        name: v.name,
        type: v.type,
        role: r.pick(['parameter', 'factor'] as const),
        owner: 'all' as const,
        lifetime: 'training' as const,
        checkpoint: true,
        init: { kind: 'weights' } as const,
        loc: v.loc,
      })),
    ),
    functions,
    weights: new Map(),
    parameters: [],
  };
  verifyModule(module);
  return module;
}

export function assembled(module: Module, { target, fusion }: Way): Assembled {
  const lower = target === 'wasm' ? lowerRegion : lowerForGpu;
  const made = assemble(module, (f) => fuse(f, { enabled: fusion }), lower, target);
  for (const k of made.kernels) verifyKernel(k);
  verifyProgram(made.program, made.kernels);
  return made;
}

/**
 * Intermediate values are of magnitude one and there are at most a few hundred terms in a sum, so float32 (2^-24 = 6e-8 a
 * rounding) stays within some 1e-6 of the largest value; outputs below 1e-2 are what is left of larger values that cancelled.
 */
export const TOLERANCE = 2e-5;
const FLOOR = 1e-2;

/** Where two results differ by more than rounding; undefined where they do not. */
export function difference(got: ArrayLike<number>, want: ArrayLike<number>): string | undefined {
  if (got.length !== want.length) return `has ${got.length} elements, not ${want.length}`;
  let largest = FLOOR;
  for (let i = 0; i < want.length; i++) largest = Math.max(largest, Math.abs(want[i]));
  for (let i = 0; i < want.length; i++)
    if (!(Math.abs(got[i] - want[i]) <= TOLERANCE * largest)) return `[${i}] is ${got[i]}, not ${want[i]}`;
  return undefined;
}

/** Runs the module in each way. Throws where one differs from the evaluator. */
export function checkProgram(seed: number, module: Module, tried: readonly Way[] = ways): Assembled[] {
  const given = module.functions.map((f, i) => randomInputs({ ...f, inputs: [...f.inputs, ...f.reads] }, 2 * seed + i));
  const wanted = module.functions.map((f, i) => evaluate(f, given[i], given[i]));
  return tried.map((way) => {
    const made = assembled(module, way);
    const run = new ProgramRun(made, way.by);
    module.functions.forEach((f, i) => {
      const fail = (name: string, why: string | undefined): void => {
        if (why !== undefined)
          throw new Error(
            `seed ${seed}, ${way.target} by the ${way.by}, fusion ${way.fusion}: ${f.name} ${name} ${why}`,
          );
      };
      for (const v of f.reads) run.view(v.name).set(given[i][v.name]);
      run.run(f.name, given[i]);
      for (const o of f.outputs) fail(o.name, difference(run.output(f.name, o.name), wanted[i].outputs[o.name]));
      for (const v of f.reads) fail(v.name, difference(run.view(v.name), wanted[i].state[v.name]));
    });
    return made;
  });
}
