/** Each convolution of ResNet-50 v1.5 at batch 8 in its three directions, as a share of what our own matrix product of 512^3 reaches. */
import type { Builder } from '../../ir/builder.js';
import type { Value } from '../../ir/graph.js';
import { tensor } from '../../ir/types.js';
import { type Case, type Context, held, type Row, wants } from '../harness/case.js';
import { prepare, regionOf } from '../harness/kernel.js';
import { calls, interleave } from '../harness/timing.js';
import { type Layer, nameOf, outputSize, resnet50Layers } from '../models/nets.js';
import { matmul } from './gemm.js';

const f = (...shape: number[]) => tensor('f32', shape);

type Direction = 'forward' | 'input grad' | 'weight grad';

export function convolution(l: Layer, batch: number, direction: Direction, groups = 1) {
  const [pad, out] = [l.kernel >> 1, outputSize(l)];
  const attrs = { strides: [l.stride, l.stride], pads: [pad, pad, pad, pad], dilations: [1, 1], groups };
  return prepare(
    regionOf((b: Builder): Value[] => {
      const x = () => b.input('x', f(batch, l.in, l.size, l.size));
      const w = () => b.input('w', f(l.out, l.in / groups, l.kernel, l.kernel));
      const dy = () => b.input('dy', f(batch, l.out, out, out));
      if (direction === 'forward') return [b.node('conv', [x(), w()], { attrs })];
      if (direction === 'weight grad')
        return [b.node('conv_weight_grad', [x(), dy()], { attrs: { ...attrs, kernel: [l.kernel, l.kernel] } })];
      return [b.node('conv_input_grad', [dy(), w()], { attrs: { ...attrs, height: l.size, width: l.size } })];
    }),
  );
}

/** Rows of one layer; a goal where `least` is given. */
async function rowsOf(context: Context, l: Layer, name: string, groups: number, least?: number): Promise<Row[]> {
  const product = matmul(512, 512, 512);
  const directions = (['forward', 'input grad', 'weight grad'] as const).filter((d) => wants(context, `${name} ${d}`));
  if (directions.length === 0) return [];
  const kernels = directions.map((d) => ({ d, kernel: convolution(l, 8, d, groups) }));
  const contenders = kernels.map(({ d, kernel }) => calls(d, kernel.run));
  const t = await interleave([calls('product', product.run), ...contenders], context.clock, context.budget / 2);
  return kernels.map(({ d, kernel }) => {
    const ratio = (t.faster(d, 'product') * kernel.flops) / product.flops;
    const detail = `${(kernel.flops / t.time(d) / 1e6).toFixed(1)} GFLOP/s, ${t.time(d).toFixed(2)} ms`;
    const what = `${name} ${d}`;
    return least === undefined
      ? { what, measured: `${ratio.toFixed(2)} x`, detail }
      : held(what, ratio, { least, of: 'GEMM' }, detail);
  });
}

export const convolutions: Case = {
  name: 'convolutions',
  title: 'ResNet-50 layers, batch 8, three directions, 1 thread',
  expected: '0.8 to 0.95 of the product; less where the image has 7 x 7 positions, and for strided input gradients',
  run: async (context) => {
    const rows: Row[] = [];
    for (const l of resnet50Layers())
      rows.push(...(await rowsOf(context, l, nameOf(l), 1, l.kernel === 7 ? undefined : 0.7)));
    return rows;
  },
};

export const grouped: Case = {
  name: 'grouped',
  title: 'Depthwise and grouped convolutions, batch 8, 1 thread (share of GEMM, for information)',
  expected:
    'depthwise 3 x 3: memory-bound, 0.1 to 0.3 of the product; groups of 4 and more channels as narrow products, 0.5',
  run: async (context) => {
    const rows: Row[] = [];
    for (const [channels, size, stride, perGroup] of [
      [64, 56, 1, 1],
      [144, 56, 2, 1],
      [192, 28, 1, 1],
      [576, 14, 1, 1],
      [960, 7, 1, 1],
      [128, 56, 1, 4],
      [256, 28, 1, 8],
    ]) {
      const l: Layer = { in: channels, size, out: channels, kernel: 3, stride, times: 1 };
      rows.push(
        ...(await rowsOf(context, l, `${channels}x${size}x${size} by ${perGroup}, 3x3/${stride}`, channels / perGroup)),
      );
    }
    return rows;
  },
};
