/**
 * From a placed module to what each target runs: fused regions in the target's loops, a program over its memories, and the
 * printed code as files.
 */
import { shaderFile, WASM_MODULE } from '../../ir/artifact.js';
import type { Func, Module } from '../../ir/graph.js';
import type { Kernel } from '../../ir/kernel.js';
import type { KernelInfo, Program, ProgramFunction, Segment, Variant } from '../../ir/program.js';
import { verifyKernel, verifyProgram } from '../../ir/verify.js';
import { lowerForGpu } from '../kernels/gpu/lower.js';
import { lowerRegion } from '../kernels/lower.js';
import { assemble, type Fused } from '../program/assemble.js';
import { printWasm } from './wasm/print.js';
import { printWgsl, workgroupsOf } from './webgpu/print.js';

export type Target = Program['target'];
export const allTargets: readonly Target[] = ['wasm', 'webgpu'];

/** What one target runs. */
export interface TargetCode {
  readonly program: Program;
  /** In the order of program.kernels. */
  readonly kernels: readonly Kernel[];
  /** The printed kernels, by path in the artifact. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

export interface LoweringOptions {
  /** For WebAssembly: fused multiply-adds, which the processor rounds as it likes. */
  readonly relaxedSimd?: boolean;
}

/** @param fuse gives the regions of each function of the module */
export function lowerModule(
  module: Module,
  fuse: (func: Func) => Fused,
  target: Target,
  { relaxedSimd = false }: LoweringOptions = {},
): TargetCode {
  const lower = target === 'wasm' ? lowerRegion : lowerForGpu;
  const { program, kernels } = assemble(module, fuse, lower, target);
  for (const kernel of kernels) verifyKernel(kernel);
  const { files, infos } = target === 'wasm' ? wasmCode(kernels, relaxedSimd) : shaders(kernels);
  const complete: Program = {
    ...program,
    functions: target === 'wasm' && relaxedSimd ? program.functions.map(requireRelaxed) : program.functions,
    kernels: program.kernels.map((k) => {
      const info = infos.get(k.name);
      if (!info) throw new Error(`the target ${target} printed no kernel ${k.name}`);
      return { ...k, ...info };
    }),
  };
  verifyProgram(complete, kernels);
  return { program: complete, kernels, files };
}

function requireRelaxed(f: ProgramFunction): ProgramFunction {
  const relaxed = (v: Variant): Variant => ({
    ...v,
    requires: { ...v.requires, features: [...v.requires.features, 'relaxed-simd'] },
  });
  const steps = (s: Segment) => s.steps.map((step) => ({ ...step, variants: step.variants.map(relaxed) }));
  return { ...f, segments: f.segments.map((s) => ({ ...s, steps: steps(s) })) };
}

interface Printed {
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** By kernel: what only the printed text says. */
  readonly infos: ReadonlyMap<string, Pick<KernelInfo, 'grid' | 'scratch' | 'access' | 'dispatch'>>;
}

const accessOf = ({ params }: Kernel): KernelInfo['access'] =>
  params.map((p) => (p.access === 'read' ? 'read' : 'readwrite'));

function wasmCode(kernels: readonly Kernel[], relaxed: boolean): Printed {
  const { bytes, info } = printWasm(kernels, { shared: true, maximumPages: 65536 }, relaxed);
  return {
    files: new Map([[WASM_MODULE, bytes]]),
    infos: new Map(info.map(({ name, grid, scratch }, i) => [name, { grid, scratch, access: accessOf(kernels[i]) }])),
  };
}

function shaders(kernels: readonly Kernel[]): Printed {
  const encoder = new TextEncoder();
  const infos = kernels.map((kernel) => {
    const workgroups = workgroupsOf(kernel);
    const grid = workgroups[0] * workgroups[1];
    return [kernel.name, { grid, scratch: 0, access: accessOf(kernel), dispatch: { workgroups } }] as const;
  });
  return {
    files: new Map(kernels.map((k) => [shaderFile(k.name), encoder.encode(printWgsl(k))])),
    infos: new Map(infos),
  };
}
