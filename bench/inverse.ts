/**
 * Damped inverses on the wasm target, one thread, in GFLOP/s of n^3 operations (potrf and potri), against two limits of the same
 * moment: the packed matrix product of `test/targets/packed-gemm.ts`, whose tile is the kernel's own, and LAPACK's spotrf and
 * spotri where a Python with SciPy is named. All take turns; medians of processor time, since others may use the machine.
 * Run: npx esbuild bench/inverse.ts --bundle --platform=node --format=esm --outfile=out.mjs && \
 *      node --no-liftoff out.mjs [--python PATH] [--block B] [WIDTH...]
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import type { Region } from '../compiler/kernels/region.js';
import { lowerRoutine } from '../compiler/kernels/routine.js';
import { printWasm } from '../compiler/targets/wasm/print.js';
import { Builder } from '../ir/builder.js';
import type { Kernel } from '../ir/kernel.js';
import { passLoc } from '../ir/loc.js';
import { symmetric, tensor } from '../ir/types.js';
import { packedGemm } from '../test/targets/packed-gemm.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { python: { type: 'string' }, block: { type: 'string' } },
});
const widths = positionals.length > 0 ? positionals.map(Number) : [64, 145, 289, 577, 1153, 2305, 4609];

function inverseOf(n: number): Kernel {
  const b = new Builder('f', passLoc('bench'));
  const operands = [b.input('x', symmetric(n)), b.input('shift', tensor('f32', [])), b.input('previous', symmetric(n))];
  const outputs = b.multi('damped_inverse', operands, { attrs: { retries: 5 } });
  for (const [i, v] of outputs.entries()) b.output(`y${i}`, v);
  const func = b.finish();
  const region: Region = { anchor: func.nodes[0], nodes: func.nodes, inputs: func.inputs, outputs, stopped: 'by hand' };
  return lowerRoutine(region, 'k', options.block ? Number(options.block) : undefined);
}

/** A call that runs the kernel once; its parameters are filled by `fill`. */
function prepare(kernel: Kernel, fill: (data: Float32Array, parameter: number) => void): () => void {
  const { bytes, info } = printWasm([kernel]);
  let top = 64;
  const places = kernel.params.map((p) => {
    const at = top;
    top += Math.ceil((4 * p.length) / 64) * 64 + 64;
    return at;
  });
  const memory = new WebAssembly.Memory({ initial: Math.ceil((top + info[0].scratch) / 65536), maximum: 65536 });
  kernel.params.forEach((p, i) => {
    fill(new Float32Array(memory.buffer, places[i], p.length), i);
  });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes as BufferSource), { env: { memory } });
  const call = exports[kernel.name] as (...args: number[]) => void;
  return () => call(...places, top, 0, info[0].grid);
}

/** 1 on the diagonal, 0.001 beside it, and no damping. */
function fillMatrix(data: Float32Array, parameter: number): void {
  if (parameter === 0)
    for (let r = 0, k = 0; k < data.length; r++) for (let c = 0; c <= r; c++) data[k++] = r === c ? 1 : 0.001;
}

/** Milliseconds of processor time. */
function timed(run: () => void): number {
  const from = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(from);
  return (user + system) / 1000;
}
const median = (times: readonly number[]): number => [...times].sort((a, b) => a - b)[times.length >> 1];

/** Reads `n repeats`, answers with milliseconds a run. */
const LAPACK = `
import sys, time
import numpy as np
from scipy.linalg.lapack import spotrf, spotri
for line in sys.stdin:
    n, repeats = map(int, line.split())
    a = np.full((n, n), 0.001, np.float32, order='F')
    np.fill_diagonal(a, 1)
    start = time.process_time()
    for _ in range(repeats):
        c, _ = spotrf(a, lower=1)
        spotri(c, lower=1)
    print(1000 * (time.process_time() - start) / repeats, flush=True)
`;

function startLapack(python: string): (n: number, repeats: number) => Promise<number> {
  const env = { ...process.env, OPENBLAS_NUM_THREADS: '1', OMP_NUM_THREADS: '1', MKL_NUM_THREADS: '1' };
  const child = spawn(python, ['-c', LAPACK], { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  child.unref();
  return async (n, repeats) => {
    child.stdin.write(`${n} ${repeats}\n`);
    return Number((await lines.next()).value);
  };
}

const lapack = options.python ? startLapack(options.python) : undefined;
const PRODUCT = 512;
const product = prepare(packedGemm(PRODUCT, PRODUCT, PRODUCT), (data) => {
  for (let i = 0; i < data.length; i++) data[i] = ((i * 7919) % 1000) / 1000 - 0.5;
});
for (const n of widths) {
  const run = prepare(inverseOf(n), fillMatrix);
  const repeats = Math.max(1, Math.round(2e8 / n ** 3));
  const times: { own: number[]; product: number[]; lapack: number[] } = { own: [], product: [], lapack: [] };
  const start = performance.now();
  for (let k = 0; k < 3 || (k < 15 && performance.now() - start < 5000); k++) {
    times.own.push(
      timed(() => {
        for (let r = 0; r < repeats; r++) run();
      }) / repeats,
    );
    times.product.push(timed(product));
    if (lapack) times.lapack.push(await lapack(n, repeats));
  }
  const speed = n ** 3 / median(times.own) / 1e6;
  const limit = (2 * PRODUCT ** 3) / median(times.product) / 1e6;
  const peer = lapack && n ** 3 / median(times.lapack) / 1e6;
  console.log(
    `${String(n).padStart(5)}: ${speed.toFixed(1).padStart(5)} GFLOP/s, ${median(times.own).toFixed(2).padStart(9)} ms; ` +
      `of the product's ${limit.toFixed(1)}: ${(speed / limit).toFixed(2)}` +
      (peer ? `; of LAPACK's ${peer.toFixed(1)}: ${(speed / peer).toFixed(2)}` : ''),
  );
}
process.exit(0);
