/**
 * Input factors of ResNet-50's convolutions: offset correlations against our own direct triangle where the window is 3 x 3 with stride 1;
 * all of them at batch 8 and 112 x 112 images against the direct triangle and against PyTorch's unfolded patches times themselves.
 */

import { convolutionOfNode } from '../../compiler/kernels/contraction-convolution.js';
import { offsetsPay } from '../../compiler/kernels/contraction-offset-cost.js';
import type { Node } from '../../ir/graph.js';
import { tensor } from '../../ir/types.js';
import { type Case, type Context, held, type Row, wants } from '../harness/case.js';
import { prepare, regionOf } from '../harness/kernel.js';
import { calls, interleave } from '../harness/timing.js';
import { type Layer, nameOf, resnet50Layers } from '../models/nets.js';
import { torch } from '../peers/torch.js';

const BATCH = 8;

function factorOf(l: Layer, batch: number) {
  const pad = l.kernel >> 1;
  const attrs = {
    ...{ kernel: [l.kernel, l.kernel], strides: [l.stride, l.stride], pads: [pad, pad, pad, pad] },
    ...{ dilations: [1, 1], groups: 1, ones: false },
  };
  const f = (...shape: number[]) => tensor('f32', shape);
  return regionOf((b) => [
    b.node(
      'patch_second_moment',
      [b.input('x', f(batch, l.in, l.size, l.size)), b.input('scale', f()), b.input('valid', f(batch))],
      { attrs },
    ),
  ]);
}

/** Products that a factor needs at least: of the direct triangle, and with each product of two pixels once. */
function products(node: Node): { direct: number; least: number } {
  const { images, inputs: c, kernel, rows, cols } = convolutionOfNode(node);
  const width = c * kernel[0] * kernel[1];
  const direct = (images * rows.output * cols.output * width * (width + 1)) / 2;
  if (!offsetsPay(node)) return { direct, least: direct };
  const along = ({ input, kernel: k }: typeof rows): number => {
    let sum = 0;
    for (let d = 1 - k; d < k; d++) sum += input - Math.abs(d);
    return sum;
  };
  return { direct, least: (images * along(rows) * along(cols) * c * (c + 1)) / 2 };
}

async function each(context: Context, rows: Row[]): Promise<void> {
  for (const l of resnet50Layers()) {
    const name = nameOf(l);
    if (l.kernel !== 3 || l.stride !== 1 || !wants(context, name)) continue;
    const region = factorOf(l, BATCH);
    const [a, b] = [prepare(region), prepare(region, 'symmetric-gemm')];
    const t = await interleave([calls('offsets', a.run), calls('direct', b.run)], context.clock, context.budget);
    const ratio = t.faster('offsets', 'direct');
    const detail = `${t.time('offsets').toFixed(1)} ms against ${t.time('direct').toFixed(1)} ms`;
    const what = `${name}: offsets over direct`;
    rows.push(
      l.size >= 14
        ? held(what, ratio, { least: 2.3, of: 'our direct triangle' }, detail)
        : { what, measured: `${ratio.toFixed(2)} x`, detail },
    );
  }
}

async function all(context: Context, rows: Row[]): Promise<void> {
  if (!wants(context, 'all input factors')) return;
  const layers = resnet50Layers(112);
  const kernels = layers.map((l) => {
    const region = factorOf(l, BATCH);
    const own = prepare(region);
    const triangle = offsetsPay(region.anchor!) ? prepare(region, 'symmetric-gemm') : own;
    return { own, triangle, times: l.times, count: products(region.anchor!) };
  });
  const total = (key: 'direct' | 'least'): number => kernels.reduce((n, k) => n + k.times * k.count[key], 0);
  const bound = total('direct') / total('least');
  const over = (key: 'own' | 'triangle') => () => {
    for (const k of kernels) for (let i = 0; i < k.times; i++) k[key].run();
  };
  const peer = await torch(context.note);
  const request = {
    make: 'factors',
    batch: BATCH,
    layers: layers.map((l) => [l.in, l.size, l.out, l.kernel, l.stride, l.times]),
  };
  const other = peer ? [await peer.contender('PyTorch', request, 1)] : [];
  const t = await interleave(
    [calls('own', over('own')), calls('direct', over('triangle')), ...other],
    context.clock,
    2 * context.budget,
  );
  const what = `all input factors, ${BATCH} x 3 x 112 x 112`;
  const ms = (name: string): string => `${t.time(name).toFixed(0)} ms`;
  const gain = t.faster('own', 'direct');
  rows.push(
    held(
      `${what}: share of the operation bound`,
      gain / bound,
      { least: 0.85, of: 'the bound' },
      `${gain.toFixed(2)} x our direct triangle, of ${bound.toFixed(2)} x; ${ms('own')} against ${ms('direct')}`,
    ),
  );
  if (peer)
    rows.push(
      held(
        `${what}: against unfold + GEMM`,
        t.faster('own', 'PyTorch'),
        { least: 1.3, of: 'PyTorch' },
        `${ms('own')} against ${ms('PyTorch')}, 1 thread each`,
      ),
    );
}

export const factors: Case = {
  name: 'factors',
  title: 'Input factors of ResNet-50, batch 8, 1 thread',
  expected:
    '3x the direct triangle where h >= 14, 1.8x over all; against PyTorch 0.6 to 1x, whose vectors are four times as wide here',
  run: async (context) => {
    const rows: Row[] = [];
    await each(context, rows);
    await all(context, rows);
    return rows;
  },
};
