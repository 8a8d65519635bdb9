/**
 * Speed of the packed matrix product of `test/targets/packed-gemm.ts` on one thread, 512^3, in GFLOP/s.
 * Run: npx rolldown bench/gemm.ts --platform node --file out.mjs && node --no-liftoff out.mjs
 */
import { printWasm } from '../compiler/targets/wasm/print.js';
import { packedGemm } from '../test/targets/packed-gemm.js';

const size = Number(process.argv[2] ?? 512);
for (const [rows, cols] of [
  [4, 8],
  [2, 16],
]) {
  const kernel = packedGemm(size, size, size, rows, cols);
  const { bytes, info } = printWasm([kernel]);
  const data = 4 * size * size;
  const memory = new WebAssembly.Memory({ initial: Math.ceil((3 * data + info[0].scratch) / 65536) });
  const numbers = new Float32Array(memory.buffer, 0, 2 * size * size);
  for (let i = 0; i < numbers.length; i++) numbers[i] = ((i * 7919) % 1000) / 1000 - 0.5;
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes as BufferSource), { env: { memory } });
  const run = exports[kernel.name] as (...args: number[]) => void;
  const times: number[] = [];
  for (let n = 0; n < 20; n++) {
    const start = performance.now();
    run(0, data, 2 * data, 3 * data, 0, info[0].grid);
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  const speed = (milliseconds: number): string => ((2 * size ** 3) / milliseconds / 1e6).toFixed(1);
  console.log(
    `${rows}x${cols} tile, ${size}^3: median ${speed(times[10])}, best ${speed(times[0])} GFLOP/s; ${bytes.length} bytes`,
  );
}
