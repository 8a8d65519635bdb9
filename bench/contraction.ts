/**
 * Speed of contraction and routine kernels on the wasm target, one thread: GFLOP/s by the op's own count (2 per
 * multiply-add; second moments count the lower triangle; damped_inverse n^3). Arguments: parts of case names to run.
 */
import { lowerRegion } from '../compiler/kernels/lower.js';
import type { Region } from '../compiler/kernels/region.js';
import { printWasm } from '../compiler/targets/wasm/print.js';
import { Builder } from '../ir/builder.js';
import type { Value } from '../ir/graph.js';
import { passLoc } from '../ir/loc.js';
import { storedCount, symmetric, tensor } from '../ir/types.js';

/** Fastest run of `build`'s only node. */
function measure(name: string, build: (b: Builder) => readonly Value[]): void {
  const wanted = process.argv.slice(2);
  if (wanted.length > 0 && !wanted.some((w) => name.includes(w))) return;
  const b = new Builder('f', passLoc('bench'));
  const outputs = build(b);
  for (const [i, v] of outputs.entries()) b.output(`y${i}`, v);
  const func = b.finish();
  const region: Region = {
    anchor: func.nodes[0],
    nodes: func.nodes,
    inputs: func.inputs,
    outputs,
    stopped: 'made by hand',
  };
  const lowered = performance.now();
  const kernel = lowerRegion(region, 'k');
  const printed = performance.now();
  const { bytes, info } = printWasm([kernel]);
  const done = performance.now();
  const values = [...region.inputs, ...region.outputs];
  let top = 64;
  const places = values.map((v) => {
    const at = top;
    top += Math.ceil((4 * storedCount(v.type)) / 64) * 64 + 64;
    return at;
  });
  const memory = new WebAssembly.Memory({ initial: Math.ceil((top + info[0].scratch) / 65536), maximum: 65536 });
  values.forEach((v, i) => {
    const data = new Float32Array(memory.buffer, places[i], storedCount(v.type));
    if (v.type.layout === 'packed-lower')
      for (let r = 0, k = 0; k < data.length; r++) for (let c = 0; c <= r; c++) data[k++] = r === c ? 1 : 0.001;
    else for (let k = 0; k < data.length; k++) data[k] = Math.sin(k);
  });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes as BufferSource), { env: { memory } });
  const run = instance.exports.k as (...args: number[]) => void;
  let best = Number.POSITIVE_INFINITY;
  const start = performance.now();
  // Others may use the machine: the fastest run counts, and slow kernels get a second to meet a quiet moment.
  for (let i = 0; i < 3 || performance.now() - start < (i < 20 ? 1000 : 200); i++) {
    const from = performance.now();
    run(...places, top, 0, info[0].grid);
    best = Math.min(best, performance.now() - from);
  }
  console.log(
    `${name.padEnd(44)} ${(kernel.flops / best / 1e6).toFixed(1).padStart(6)} GFLOP/s ${best.toFixed(3).padStart(9)} ms   ` +
      `grid ${info[0].grid}, scratch ${(info[0].scratch / 1024).toFixed(0)} KiB, code ${bytes.length} B, ` +
      `lowered in ${(printed - lowered).toFixed(1)} ms, printed in ${(done - printed).toFixed(1)} ms`,
  );
}

const f = (...shape: number[]) => tensor('f32', shape);

for (const [m, n, k, ta, tb] of [
  [512, 512, 512, false, false],
  [512, 512, 512, false, true],
  [512, 512, 512, true, false],
  [128, 512, 784, false, true],
  [784, 512, 128, true, false],
  [128, 10, 512, false, true],
  [512, 10, 128, true, false],
  [4, 1000, 2048, false, true],
] as const)
  measure(`matmul ${m}x${n}x${k}${ta ? ' ta' : ''}${tb ? ' tb' : ''}`, (b) => [
    b.matmul(b.input('a', f(...(ta ? [k, m] : [m, k]))), b.input('b', f(...(tb ? [n, k] : [k, n]))), ta, tb),
  ]);

for (const [batch, c, size, o, kernel, stride] of [
  [64, 16, 32, 16, 3, 1],
  [64, 32, 16, 32, 3, 1],
  [64, 64, 8, 64, 3, 1],
  [64, 3, 32, 16, 3, 1],
  [64, 16, 32, 32, 3, 2],
  [64, 1, 28, 8, 5, 1],
  [4, 3, 64, 64, 7, 2],
  [4, 64, 16, 64, 3, 1],
  [4, 256, 16, 64, 1, 1],
  [4, 256, 16, 512, 1, 2],
  [4, 512, 2, 512, 3, 1],
  [4, 512, 2, 2048, 1, 1],
  [4, 64, 56, 256, 1, 1],
  [4, 256, 14, 256, 3, 1],
  [4, 512, 7, 512, 3, 1],
  [4, 2048, 7, 512, 1, 1],
  [4, 3, 224, 64, 7, 2],
] as const) {
  const out = Math.floor((size + 2 * (kernel >> 1) - kernel) / stride) + 1;
  const p = kernel >> 1;
  const attrs = { strides: [stride, stride], pads: [p, p, p, p], dilations: [1, 1], groups: 1 };
  const what = `${batch}x${c}x${size}x${size} -> ${o}, ${kernel}x${kernel}/${stride}`;
  const [x, w, dy] = [f(batch, c, size, size), f(o, c, kernel, kernel), f(batch, o, out, out)];
  measure(`conv ${what}`, (b) => [b.node('conv', [b.input('x', x), b.input('w', w)], { attrs })]);
  measure(`input grad ${what}`, (b) => [
    b.node('conv_input_grad', [b.input('dy', dy), b.input('w', w)], { attrs: { ...attrs, height: size, width: size } }),
  ]);
  measure(`weight grad ${what}`, (b) => [
    b.node('conv_weight_grad', [b.input('x', x), b.input('dy', dy)], { attrs: { ...attrs, kernel: [kernel, kernel] } }),
  ]);
  measure(`factor A ${what}`, (b) => [
    b.node('patch_second_moment', [b.input('x', x), b.input('s', f()), b.input('valid', f(batch))], {
      attrs: { ...attrs, kernel: [kernel, kernel], ones: false },
    }),
  ]);
  measure(`factor G ${what}`, (b) => [
    b.node('second_moment', [b.input('dy', dy), b.input('s', f())], { attrs: { axis: 1, ones: false } }),
  ]);
}

for (const [batch, c, size, stride] of [
  [16, 64, 32, 1],
  [8, 96, 56, 2],
  [8, 192, 28, 1],
  [8, 576, 14, 1],
  [8, 960, 7, 1],
] as const) {
  const out = size / stride;
  const [x, w, dy] = [f(batch, c, size, size), f(c, 1, 3, 3), f(batch, c, Math.ceil(out), Math.ceil(out))];
  const attrs = { strides: [stride, stride], pads: [1, 1, 1, 1], dilations: [1, 1], groups: c };
  const what = `depthwise ${batch}x${c}x${size}x${size}/${stride}`;
  measure(`conv ${what}`, (b) => [b.node('conv', [b.input('x', x), b.input('w', w)], { attrs })]);
  measure(`input grad ${what}`, (b) => [
    b.node('conv_input_grad', [b.input('dy', dy), b.input('w', w)], { attrs: { ...attrs, height: size, width: size } }),
  ]);
  measure(`weight grad ${what}`, (b) => [
    b.node('conv_weight_grad', [b.input('x', x), b.input('dy', dy)], { attrs: { ...attrs, kernel: [3, 3] } }),
  ]);
  for (const ones of [false, true])
    measure(`factor A ${what}${ones ? ' ones' : ''}`, (b) => [
      b.node('patch_second_moment', [b.input('x', x), b.input('s', f()), b.input('valid', f(batch))], {
        attrs: { ...attrs, kernel: [3, 3], ones },
      }),
    ]);
  const point = { kernel: [1, 1], strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], groups: c, ones: false };
  measure(`factor G ${what}`, (b) => [
    b.node('patch_second_moment', [b.input('dy', dy), b.input('s', f())], { attrs: point }),
  ]);
}

for (const [n, d] of [
  [128, 784],
  [128, 512],
  [128, 10],
])
  measure(`factor ${n}x${d} ones`, (b) => [
    b.node('second_moment', [b.input('x', f(n, d)), b.input('s', f()), b.input('valid', f(n))], {
      attrs: { axis: 1, ones: true },
    }),
  ]);

for (const n of [10, 27, 64, 145, 289, 577, 1024])
  measure(`damped_inverse ${n}`, (b) => [
    ...b.multi('damped_inverse', [b.input('x', symmetric(n)), b.input('shift', f()), b.input('old', symmetric(n))], {
      attrs: { retries: 3 },
    }),
  ]);
