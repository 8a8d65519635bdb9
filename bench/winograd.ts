/**
 * Winograd's algorithms against those with all products, on the wasm target, one thread: 3 x 3 layers of ResNet-20 at batch 64 and of
 * ResNet-50 at batch 8, three directions and the input factor. They take turns in one process; medians by processor time.
 * Arguments: parts of row names to run. Run: npx tsx bench/winograd.ts
 */
import { loadavg } from 'node:os';
import { winogradMomentGain, winogradMomentPays } from '../compiler/kernels/contraction-offset-cost.js';
import type { Region } from '../compiler/kernels/region.js';
import { tensor } from '../ir/types.js';
import { prepare, regionOf } from './harness/kernel.js';
import { calls, interleave } from './harness/timing.js';

const SECONDS = 1.5;
const wanted = process.argv.slice(2);
const f = (...shape: number[]) => tensor('f32', shape);
const window = { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 };

interface Contest {
  readonly what: string;
  readonly region: Region;
  readonly winograd: string;
  readonly direct: string;
}

function contests(batch: number, channels: number, size: number): Contest[] {
  const image = f(batch, channels, size, size);
  const weight = f(channels, channels, 3, 3);
  const name = `${batch} x ${channels} x ${size} x ${size}`;
  return [
    {
      what: `${name} forward`,
      region: regionOf((b) => [b.node('conv', [b.input('x', image), b.input('w', weight)], { attrs: window })]),
      ...{ winograd: 'winograd', direct: 'implicit-gemm' },
    },
    {
      what: `${name} input grad`,
      region: regionOf((b) => [
        b.node('conv_input_grad', [b.input('dy', image), b.input('w', weight)], {
          attrs: { ...window, height: size, width: size },
        }),
      ]),
      ...{ winograd: 'winograd', direct: 'implicit-gemm' },
    },
    {
      what: `${name} weight grad`,
      region: regionOf((b) => [
        b.node('conv_weight_grad', [b.input('x', image), b.input('dy', image)], {
          attrs: { ...window, kernel: [3, 3] },
        }),
      ]),
      ...{ winograd: 'winograd-gradient', direct: 'position-gemm' },
    },
    {
      what: `${name} factor`,
      region: regionOf((b) => [
        b.node('patch_second_moment', [b.input('x', image), b.input('scale', f()), b.input('valid', f(batch))], {
          attrs: { ...window, kernel: [3, 3], ones: false },
        }),
      ]),
      ...{ winograd: 'winograd-moment', direct: 'offset-correlations' },
    },
  ];
}

console.log(`load ${loadavg()[0].toFixed(1)}`);
for (const [batch, channels, size] of [
  [64, 16, 32],
  [64, 32, 16],
  [64, 64, 8],
  [8, 64, 56],
  [8, 128, 28],
  [8, 256, 14],
  [8, 512, 7],
])
  for (const { what, region, winograd, direct } of contests(batch, channels, size)) {
    if (wanted.length > 0 && !wanted.some((w) => what.includes(w))) continue;
    const [a, b] = [prepare(region, winograd), prepare(region, direct)];
    const t = await interleave([calls('winograd', a.run), calls('direct', b.run)], 'processor', SECONDS);
    const times = `${t.time('winograd').toFixed(2)} ms against ${t.time('direct').toFixed(2)} ms`;
    const expected = what.endsWith('factor')
      ? `; expected ${winogradMomentGain(region.anchor!).toFixed(2)}, ${winogradMomentPays(region.anchor!) ? '' : 'not '}chosen`
      : '';
    console.log(`${what.padEnd(30)} ${t.faster('winograd', 'direct').toFixed(2)} x   ${times}${expected}`);
  }
console.log(`load ${loadavg()[0].toFixed(1)}`);
