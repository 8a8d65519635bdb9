/**
 * Offset correlations against the direct triangle on the wasm target, one thread: input factors of 3 x 3 windows with stride 1.
 * The two take turns in one process and medians are compared. Arguments: parts of case names to run.
 * Run: npx esbuild bench/offset.ts --bundle --platform=node --format=esm --outfile=out.mjs && node --no-liftoff out.mjs
 */
import { lowerContraction, type TileChoice } from '../compiler/kernels/contraction.js';
import { type Algorithm, contractionAlgorithms } from '../compiler/kernels/contraction-algorithms.js';
import { offsetGain, offsetsPay } from '../compiler/kernels/contraction-offset-cost.js';
import type { Region } from '../compiler/kernels/region.js';
import { printWasm } from '../compiler/targets/wasm/print.js';
import { Builder } from '../ir/builder.js';
import { passLoc } from '../ir/loc.js';
import { storedCount, tensor } from '../ir/types.js';

interface Case {
  readonly name: string;
  readonly x: readonly [number, number, number, number];
  readonly kernel: number;
  readonly stride: number;
}

const named = (what: string, batch: number, c: number, size: number, kernel = 3, stride = 1): Case => ({
  name: `${what}: ${batch}x${c}x${size}x${size}, ${kernel}x${kernel}/${stride}`,
  x: [batch, c, size, size],
  kernel,
  stride,
});

const cases: readonly Case[] = [
  named('resnet50', 8, 64, 56),
  named('resnet50', 8, 128, 28),
  named('resnet50', 8, 256, 14),
  named('resnet50', 8, 512, 7),
  named('resnet50', 8, 128, 56, 3, 2),
  named('resnet50', 8, 256, 28, 3, 2),
  named('resnet20', 64, 16, 32),
  named('resnet20', 64, 32, 16),
  named('resnet20', 64, 64, 8),
  named('resnet20', 64, 16, 32, 3, 2),
  named('small', 8, 8, 32),
  named('small', 8, 4, 32),
  named('small', 64, 32, 14, 5),
  named('small', 64, 16, 7),
  named('small', 64, 64, 4),
  named('small', 1, 512, 7),
  named('small', 1, 64, 8),
  named('small', 4, 512, 2),
  named('small', 4, 256, 4),
  named('small', 4, 128, 7, 3, 2),
];

function regionOf(c: Case): Region {
  const b = new Builder('f', passLoc('bench'));
  const pad = c.kernel >> 1;
  const operands = [b.input('x', tensor('f32', c.x)), b.input('scale', tensor('f32', []))];
  const attrs = {
    kernel: [c.kernel, c.kernel],
    strides: [c.stride, c.stride],
    pads: [pad, pad, pad, pad],
    dilations: [1, 1],
    groups: 1,
    ones: false,
  };
  const valid = b.input('valid', tensor('f32', [c.x[0]]));
  b.output('A', b.node('patch_second_moment', [...operands, valid], { attrs }));
  const func = b.finish();
  const outputs = func.outputs.map((o) => o.value);
  return { anchor: func.nodes[0], nodes: func.nodes, inputs: func.inputs, outputs, stopped: 'made by hand' };
}

/** A call that runs the kernel once, and what it printed to. */
function prepare(region: Region, algorithm: Algorithm, choice: Partial<TileChoice>): { run: () => void; code: number } {
  const kernel = lowerContraction(region, 'k', choice, algorithm);
  const { bytes, info } = printWasm([kernel]);
  let top = 64;
  const places = [...region.inputs, ...region.outputs].map((v) => {
    const at = top;
    top += Math.ceil((4 * storedCount(v.type)) / 64) * 64 + 64;
    return at;
  });
  const memory = new WebAssembly.Memory({ initial: Math.ceil((top + info[0].scratch) / 65536), maximum: 65536 });
  region.inputs.forEach((v, i) => {
    const data = new Float32Array(memory.buffer, places[i], storedCount(v.type));
    for (let k = 0; k < data.length; k++) data[k] = v.name === 'x' ? Math.sin(k) : 1;
  });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes as BufferSource), { env: { memory } });
  const call = instance.exports.k as (...args: number[]) => void;
  return { run: () => call(...places, top, 0, info[0].grid), code: bytes.length };
}

/** Milliseconds of processor time: others may use the machine. */
const timed = (run: () => void): number => {
  const from = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(from);
  return (user + system) / 1000;
};
const median = (times: readonly number[]): number => [...times].sort((a, b) => a - b)[times.length >> 1];
const algorithm = (name: string): Algorithm => contractionAlgorithms.find((a) => a.name === name)!;

const wanted = process.argv.slice(2).filter((a) => !a.startsWith('{'));
const choice: Partial<TileChoice> = JSON.parse(process.argv.slice(2).find((a) => a.startsWith('{')) ?? '{}');
for (const c of cases) {
  if (wanted.length > 0 && !wanted.some((w) => c.name.includes(w))) continue;
  const region = regionOf(c);
  const direct = prepare(region, algorithm('symmetric-gemm'), {});
  const offsets = prepare(region, algorithm('offset-correlations'), choice);
  const times: [number[], number[]] = [[], []];
  const start = performance.now();
  for (let n = 0; n < 5 || (n < 60 && performance.now() - start < 4000); n++) {
    times[0].push(timed(direct.run));
    times[1].push(timed(offsets.run));
  }
  const [a, b] = times.map(median);
  console.log(
    `${c.name.padEnd(36)} direct ${a.toFixed(2).padStart(8)} ms, offsets ${b.toFixed(2).padStart(8)} ms (${(offsets.code / 1024).toFixed(0)} KiB): ` +
      `${(a / b).toFixed(2)} times as fast (expected ${offsetGain(region.anchor!).toFixed(2)}), ${offsetsPay(region.anchor!) ? 'chosen' : 'not chosen'}`,
  );
}
