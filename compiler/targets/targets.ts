/**
 * From a placed module to what each target runs: fused regions in the target's loops, a program over its memories, and the
 * printed code as files.
 */
import { shaderFile, WASM_MODULE } from '../../ir/artifact.js';
import type { Func, Module } from '../../ir/graph.js';
import type { Kernel } from '../../ir/kernel.js';
import type { KernelInfo, Program } from '../../ir/program.js';
import { verifyKernel, verifyProgram } from '../../ir/verify.js';
import { lowerForGpu } from '../kernels/gpu/lower.js';
import { type Lowering, lowerRegion } from '../kernels/lower.js';
import { assemble, type Fused } from '../program/assemble.js';
import { joinFunctions, type PrintedFunction, printFunction } from './wasm/print.js';
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
  const form = target === 'wasm' ? new WasmForm(relaxedSimd) : gpuForm;
  const { program, kernels } = assemble(module, fuse, form.lower, target);
  const { files, infos } = form.print(kernels);
  const complete: Program = {
    ...program,
    kernels: program.kernels.map((k) => {
      const info = infos.get(k.name);
      if (!info) throw new Error(`the target ${target} printed no kernel ${k.name}`);
      return { ...k, ...info };
    }),
  };
  verifyProgram(complete, kernels);
  return { program: complete, kernels, files };
}

interface Printed {
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** By kernel: what only the printed text says. */
  readonly infos: ReadonlyMap<string, Pick<KernelInfo, 'grid' | 'scratch' | 'access' | 'dispatch' | 'requires'>>;
}

const accessOf = ({ params }: Kernel): KernelInfo['access'] =>
  params.map((p) => (p.access === 'read' ? 'read' : 'readwrite'));

/** A target's kernels: made from regions, verified and printed. */
interface Form {
  readonly lower: Lowering;
  readonly print: (kernels: readonly Kernel[]) => Printed;
}

/** Each kernel is verified and printed as soon as it is made, while the processor has it at hand. */
class WasmForm implements Form {
  private readonly printed = new Map<Kernel, PrintedFunction>();

  constructor(private readonly relaxed: boolean) {}

  readonly lower: Lowering = (region, name) => {
    const kernel = lowerRegion(region, name);
    this.functionOf(kernel);
    return kernel;
  };

  private functionOf(kernel: Kernel): PrintedFunction {
    let printed = this.printed.get(kernel);
    if (!printed) {
      verifyKernel(kernel);
      printed = printFunction(kernel, this.relaxed);
      this.printed.set(kernel, printed);
    }
    return printed;
  }

  print(kernels: readonly Kernel[]): Printed {
    const functions = kernels.map((k) => this.functionOf(k));
    const { bytes, info } = joinFunctions(functions, { shared: true, maximumPages: 65536 });
    const requires = { features: ['simd128', ...(this.relaxed ? ['relaxed-simd'] : [])], limits: {} };
    return {
      files: new Map([[WASM_MODULE, bytes]]),
      infos: new Map(
        info.map(({ name, grid, scratch }, i) => [name, { grid, scratch, access: accessOf(kernels[i]), requires }]),
      ),
    };
  }
}

const gpuForm: Form = { lower: lowerForGpu, print: shaders };

function shaders(kernels: readonly Kernel[]): Printed {
  for (const kernel of kernels) verifyKernel(kernel);
  const encoder = new TextEncoder();
  const infos = kernels.map((kernel) => {
    const workgroups = workgroupsOf(kernel);
    const grid = workgroups[0] * workgroups[1];
    const info = {
      grid,
      scratch: 0,
      access: accessOf(kernel),
      dispatch: { workgroups },
      requires: { features: [], limits: {} },
    };
    return [kernel.name, info] as const;
  });
  return {
    files: new Map(kernels.map((k) => [shaderFile(k.name), encoder.encode(printWgsl(k))])),
    infos: new Map(infos),
  };
}
