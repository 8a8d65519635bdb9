/**
 * Kernel IR in, one WebAssembly SIMD module out: a function for each kernel, over one imported memory. Grid, group and lane
 * loops are ordinary loops here; a host may give ranges of the outermost grid loop to several threads.
 */
import type { Kernel, Stmt } from '../../../ir/kernel.js';
import { expandMath } from '../../kernels/math.js';
import { encodeModule, F32, I32, type MemoryImport, op, type WasmFunction } from './encode.js';
import { Frame } from './frame.js';
import { bound, isKnown, printCounted, printEither } from './loops.js';
import { combine, printScalar, storeAt } from './scalar.js';
import { printAddress, sumOf } from './sums.js';
import { printTileStatement } from './tiles.js';
import { printVectorLoop } from './vectorise.js';

export interface WasmKernelInfo {
  readonly name: string;
  /** Iterations of the outermost grid loop; 1 where a kernel has none. */
  readonly grid: number;
  /** Bytes of scratch memory that each worker needs; their address must be a multiple of 16. */
  readonly scratch: number;
}

export interface WasmModule {
  readonly bytes: Uint8Array;
  readonly info: readonly WasmKernelInfo[];
}

type For = Extract<Stmt, { kind: 'for' }>;

/**
 * One module for all `kernels`. It imports `env.memory`; each kernel is a function exported by its name, with i32
 * parameters: the byte address of each kernel parameter, the address of the worker's scratch memory, and `begin` and `end`,
 * the part of [0, grid) to run. Addresses of f32 and i32 data are multiples of 4.
 * @param relaxed prints multiplications and additions of tiles as one instruction of relaxed SIMD: a fifth faster, and what it
 *   gives depends on the processor
 * @throws Error for what the IR forbids or this target has no form for (f16 parameters)
 */
export function printWasm(
  kernels: readonly Kernel[],
  memory: MemoryImport = { shared: false, maximumPages: 65536 },
  relaxed = false,
): WasmModule {
  return joinFunctions(
    kernels.map((k) => printFunction(k, relaxed)),
    memory,
  );
}

/** A kernel's function, ready to be put into a module. */
export interface PrintedFunction {
  readonly code: WasmFunction;
  readonly info: WasmKernelInfo;
}

/** What printWasm does with each of its kernels; the same parameters and errors. */
export function printFunction(kernel: Kernel, relaxed: boolean): PrintedFunction {
  return new FunctionPrinter(expandMath(kernel), relaxed).print();
}

/** One module of the functions, in their order. */
export function joinFunctions(functions: readonly PrintedFunction[], memory: MemoryImport): WasmModule {
  return {
    bytes: encodeModule(
      functions.map((f) => f.code),
      memory,
    ),
    info: functions.map((f) => f.info),
  };
}

/** The loop that may be split: the only one at the top that is bound to the grid, with nothing but definitions before it. */
function outermostGrid(body: readonly Stmt[]): { loop: For; trips: number } | undefined {
  const rest = body.filter((s) => s.kind !== 'let' && s.kind !== 'alloc');
  const loop = rest[0];
  if (rest.length !== 1 || loop.kind !== 'for' || loop.bind !== 'grid') return undefined;
  if (loop.lo.kind !== 'const' || loop.hi.kind !== 'const') return undefined;
  return { loop, trips: Math.max(0, Math.ceil((loop.hi.value - loop.lo.value) / loop.step)) };
}

class FunctionPrinter {
  private readonly frame: Frame;
  private readonly begin: number;

  constructor(
    private readonly kernel: Kernel,
    relaxed: boolean,
  ) {
    const scratch = kernel.params.length;
    this.begin = scratch + 1;
    this.frame = new Frame(scratch + 3, scratch, relaxed);
    kernel.params.forEach((p, local) => {
      if (p.type === 'f16') throw new Error(`kernel ${kernel.name}: this target has no f16 memory (${p.name})`);
      this.frame.defineMemory(p.name, { type: p.type, local, offset: 0, length: p.length });
    });
  }

  print(): PrintedFunction {
    const { frame, kernel, begin } = this;
    const grid = outermostGrid(kernel.body);
    if (grid) for (const s of kernel.body) s === grid.loop ? this.gridLoop(grid.loop) : this.statement(s);
    else {
      frame.code
        .at(op.get, begin)
        .at(op.get, begin + 1)
        .op(op.i32LtS);
      printEither(
        frame,
        frame.keep(I32),
        () => this.block(kernel.body),
        () => {},
      );
    }
    const body = frame.leave().packed();
    return {
      code: { name: kernel.name, params: kernel.params.length + 3, locals: frame.locals, body },
      info: { name: kernel.name, grid: grid?.trips ?? 1, scratch: frame.scratch },
    };
  }

  /** The iterations from `begin` to `end`. */
  private gridLoop(s: For): void {
    const { frame } = this;
    const place = (trip: number): number => {
      frame.code.at(op.get, trip).i32(s.step).op(op.i32Mul);
      printScalar(frame, s.lo);
      frame.code.op(op.i32Add);
      return frame.keep(I32);
    };
    const end = { local: place(this.begin + 1) };
    this.counted(s, place(this.begin), end, false);
  }

  private counted(s: For, variable: number, end: { value: number } | { local: number }, surely: boolean): void {
    printCounted(this.frame, variable, end, s.step, surely, () => {
      this.frame.define(s.var, 'i32', { local: variable });
      this.block(s.body);
    });
  }

  readonly block = (body: readonly Stmt[]): void => {
    for (const s of body) this.statement(s);
  };

  private statement(s: Stmt): void {
    const { frame } = this;
    const { code } = frame;
    switch (s.kind) {
      case 'for': {
        if (s.bind === 'vector' && printVectorLoop(frame, s, this.block)) return;
        const end = bound(frame, s.hi);
        printScalar(frame, s.lo);
        const variable = frame.keep(I32);
        this.counted(s, variable, end, s.lo.kind === 'const' && isKnown(end) && s.lo.value < end.value);
        return;
      }
      case 'let':
      case 'var': {
        printScalar(frame, s.value);
        const local = frame.keep(s.type === 'f32' ? F32 : I32);
        frame.define(s.name, s.type, { local, mutable: s.kind === 'var' });
        return;
      }
      case 'set':
        printScalar(frame, s.value);
        code.at(op.set, frame.name(s.name).local);
        return;
      case 'accumulate': {
        const { type, local } = frame.name(s.name);
        code.at(op.get, local);
        printScalar(frame, s.value);
        combine(frame, s.op, type);
        code.at(op.set, local);
        return;
      }
      case 'store': {
        const offset = printAddress(frame, s.memory, sumOf(frame, s.index));
        printScalar(frame, s.value);
        storeAt(frame, s.memory, offset);
        return;
      }
      case 'if':
        printScalar(frame, s.cond);
        printEither(
          frame,
          frame.keep(I32),
          () => this.block(s.then),
          () => this.block(s.else),
        );
        return;
      case 'alloc':
        frame.allocate(s.name, s.type, s.size);
        return;
      default:
        printTileStatement(frame, s, this.block);
        return;
    }
  }
}
