/**
 * Small nets through the whole compiler but for a target: fused, placed in memory, run step by step from one set of state,
 * against the evaluator. A region that overwrites state too early, or bytes reused too soon, shows as a wrong update.
 */
import { describe, expect, it } from 'vitest';
import { fuse } from '../../compiler/kernels/fuse.js';
import { lowerForGpu } from '../../compiler/kernels/gpu/lower.js';
import { lowerRegion } from '../../compiler/kernels/lower.js';
import { insertUpdate } from '../../compiler/optimizer/insert-update.js';
import { mergeCommonSubexpressions } from '../../compiler/passes/common-subexpressions.js';
import { removeDeadCode } from '../../compiler/passes/dead-code.js';
import { expandComposites } from '../../compiler/passes/expand-composites.js';
import { splitMicroBatches } from '../../compiler/passes/split-micro-batches.js';
import { assemble } from '../../compiler/program/assemble.js';
import { evaluate } from '../../ir/evaluate.js';
import { findFunction, type Module } from '../../ir/graph.js';
import { storedCount } from '../../ir/types.js';
import { verifyKernel, verifyModule, verifyProgram } from '../../ir/verify.js';
import { relativeError } from '../end-to-end/relative-error.js';
import { convnet, differentiated, initialState, mlp, noise, withCurvature } from '../nets.js';
import { type By, ProgramRun } from './run-program.js';

const scalars: Record<string, number> = { lr: 0.05, momentum: 0.9, damping: 0.02, kl_bound: 1e-2, weight_decay: 1e-3 };

function finished(module: Module, optimizer: 'spngd' | 'sgd', weightRescaling: 'off' | 'shrink' | 'always'): Module {
  const updated = splitMicroBatches(insertUpdate(module, { optimizer, weightRescaling }).module, false);
  const done = removeDeadCode(mergeCommonSubexpressions(expandComposites(updated)));
  verifyModule(done);
  return done;
}

function inputsOf(module: Module, name: string, key: number): Record<string, Float64Array> {
  return Object.fromEntries(
    findFunction(module, name).inputs.map((v, i) => {
      const n = storedCount(v.type);
      if (v.name in scalars) return [v.name, Float64Array.of(scalars[v.name])];
      if (v.name === 'valid') return [v.name, new Float64Array(n).fill(1).fill(0, n - 1)];
      if (v.type.dtype === 'i32') return [v.name, Float64Array.from({ length: n }, (_, k) => (k * 7 + key) % 3)];
      return [v.name, noise(n, key * 100 + i).map(Math.fround)];
    }),
  );
}

/** f32 with inverses of damped factors: see the tolerance of end-to-end/step.test.ts. */
const TOLERANCE = 5e-4;
/** Weights and updates of these nets are of order 0.01 to 1. */
const FLOOR = 1e-3;

type Target = 'wasm' | 'webgpu';

function agrees(module: Module, target: Target, fusion: boolean, by: By): void {
  const lower = target === 'wasm' ? lowerRegion : lowerForGpu;
  const assembled = assemble(module, (f) => fuse(f, { enabled: fusion }), lower, target);
  for (const k of assembled.kernels) verifyKernel(k);
  verifyProgram(assembled.program);
  const run = new ProgramRun(assembled, by);
  let state = initialState(module);
  for (const s of module.state) run.view(s.name).set(state[s.name]);
  for (let step = 0; step < 3; step++) {
    const inputs = inputsOf(module, 'train', step);
    const want = evaluate(findFunction(module, 'train'), inputs, state);
    run.run('train', inputs);
    expect(relativeError(run.output('train', 'metrics'), want.outputs.metrics), `step ${step}: metrics`).toBeLessThan(
      TOLERANCE,
    );
    for (const { name } of module.state)
      expect(relativeError(run.view(name), want.state[name], FLOOR), `step ${step}: ${name}`).toBeLessThan(TOLERANCE);
    // Each step starts from what the device has, so that errors of one do not add to the next.
    state = Object.fromEntries(module.state.map((s) => [s.name, Float64Array.from(run.view(s.name))]));
  }
}

describe.each([
  { target: 'wasm', fusion: true, by: 'interpreter' },
  { target: 'wasm', fusion: false, by: 'interpreter' },
  { target: 'wasm', fusion: true, by: 'wasm' },
  { target: 'wasm', fusion: false, by: 'wasm' },
  { target: 'webgpu', fusion: true, by: 'interpreter' },
  { target: 'webgpu', fusion: false, by: 'interpreter' },
  { target: 'webgpu', fusion: true, by: 'interpreter, backwards' },
] as const)('$target programs by the $by, fusion $fusion', ({ target, fusion, by }) => {
  it.each(['off', 'shrink', 'always'] as const)('MLP by natural gradient, rescaling %s', (rescaling) => {
    agrees(finished(withCurvature(mlp, 4).module, 'spngd', rescaling), target, fusion, by);
  });
  it('convolutions with BatchNorm by natural gradient', () => {
    agrees(finished(withCurvature(convnet, 4).module, 'spngd', 'off'), target, fusion, by);
  });
  it('convolutions with BatchNorm by SGD', () => {
    agrees(finished(differentiated(convnet, 4).module, 'sgd', 'off'), target, fusion, by);
  });
});

describe('guards', () => {
  it('a statistic that is not due is neither rebuilt nor inverted, and the update uses what is stored', () => {
    const module = finished(withCurvature(mlp, 4).module, 'spngd', 'off');
    const assembled = assemble(module, fuse, lowerRegion);
    const run = new ProgramRun(assembled, 'interpreter');
    let state = initialState(module);
    for (const s of module.state) run.view(s.name).set(state[s.name]);
    run.run('train', inputsOf(module, 'train', 0));
    state = Object.fromEntries(module.state.map((s) => [s.name, Float64Array.from(run.view(s.name))]));
    const due = (guard: string): boolean => guard.includes('w2');
    const inputs = inputsOf(module, 'train', 1);
    const want = evaluate(findFunction(module, 'train'), inputs, state, due);
    run.run('train', inputs, due);
    for (const { name, role } of module.state) {
      expect(relativeError(run.view(name), want.state[name], FLOOR), name).toBeLessThan(TOLERANCE);
      if (role === 'factor') {
        const kept =
          Buffer.compare(Buffer.from(Float64Array.from(run.view(name)).buffer), Buffer.from(state[name].buffer)) === 0;
        expect(kept, name).toBe(!name.includes('w2'));
      }
    }
  });
});
