import { describe, it } from 'vitest';
import { Builder } from '../../ir/builder.js';
import { passLoc } from '../../ir/loc.js';
import { windowOf, windowOutput } from '../../ir/ops/contractions.js';
import { product, tensor } from '../../ir/types.js';
import { agrees, noise } from './execute.js';

const builder = (): Builder => new Builder('f', passLoc('test'));

interface Case {
  readonly shape: readonly number[];
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly pads: readonly number[];
  readonly dilations?: readonly number[];
  /** Added to the output height: a last window that hangs over the edge (ceil mode). */
  readonly over?: number;
}

const cases: readonly Case[] = [
  { shape: [2, 3, 6, 6], kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0] },
  { shape: [1, 2, 7, 9], kernel: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
  { shape: [2, 1, 5, 6], kernel: [3, 2], strides: [1, 1], pads: [0, 1, 2, 0] },
  { shape: [1, 2, 7, 7], kernel: [7, 7], strides: [1, 1], pads: [0, 0, 0, 0] },
  { shape: [1, 1, 11, 12], kernel: [5, 6], strides: [3, 2], pads: [2, 1, 2, 3] },
  { shape: [1, 2, 8, 7], kernel: [3, 3], strides: [2, 2], pads: [0, 0, 0, 0], over: 1 },
  // Four channels at a time.
  { shape: [2, 8, 7, 9], kernel: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
  { shape: [1, 4, 7, 5], kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0], over: 1 },
  { shape: [1, 4, 8, 7], kernel: [3, 2], strides: [1, 1], pads: [0, 1, 2, 0] },
  { shape: [2, 4, 11, 12], kernel: [5, 6], strides: [3, 2], pads: [2, 1, 2, 3] },
  { shape: [1, 4, 9, 9], kernel: [2, 3], strides: [1, 2], pads: [1, 1, 1, 1], dilations: [2, 2] },
  { shape: [1, 4, 3, 2], kernel: [1, 2], strides: [1, 1], pads: [0, 2, 0, 2], dilations: [1, 3] },
  { shape: [1, 2, 9, 9], kernel: [2, 3], strides: [1, 2], pads: [1, 1, 1, 1], dilations: [2, 2] },
];

function attributes(c: Case): Record<string, readonly number[] | number> {
  const { kernel, strides, pads } = c;
  const window = windowOf({ kernel, strides, pads, ...(c.dilations ? { dilations: c.dilations } : {}) });
  const [height, width] = windowOutput(window, c.shape[2], c.shape[3]);
  return {
    kernel,
    strides,
    pads,
    ...(c.dilations ? { dilations: c.dilations } : {}),
    height: height + (c.over ?? 0),
    width,
  };
}

describe.each(cases)('$shape by $kernel, strides $strides, pads $pads, dilations $dilations', (c) => {
  const attrs = attributes(c);
  const out = [c.shape[0], c.shape[1], attrs.height as number, attrs.width as number];
  // Distinct values, so that float32 and float64 agree on which is the largest; some are equal on purpose.
  const x = noise(product(c.shape)).map((v) => Math.round(v * 20));
  const dy = noise(product(out), 3);

  it('max_pool and its gradient', () => {
    const b = builder();
    const input = b.input('x', tensor('f32', c.shape));
    const g = b.input('dy', tensor('f32', out));
    const dilated = { ...attrs, dilations: c.dilations ?? [1, 1] };
    const y = b.node('max_pool', [input], { attrs: dilated });
    b.output('y', b.add(y, b.fill(1)));
    const dx = b.node('max_pool_grad', [input, b.mul(g, b.fill(2))], { attrs: dilated });
    b.output('dx', b.select(b.node('less', [input, b.fill(5)]), dx, b.fill(0.5)));
    agrees(b.finish(), { x, dy });
  });

  // Averages have no dilations.
  it.each(c.dilations ? [] : [true, false])('avg_pool and its gradient, count_include_pad %s', (padded) => {
    const b = builder();
    const input = b.input('x', tensor('f32', c.shape));
    const g = b.input('dy', tensor('f32', out));
    const average = { ...attrs, count_include_pad: padded };
    b.output(
      'y',
      b.node('relu', [
        b.node('avg_pool', [b.transpose(b.transpose(input, [0, 1, 3, 2]), [0, 1, 3, 2])], { attrs: average }),
      ]),
    );
    const back = { ...average, input_height: c.shape[2], input_width: c.shape[3] };
    const dx = b.node('avg_pool_grad', [g], { attrs: back });
    b.output('dx', b.select(b.node('less', [b.fill(0), input]), dx, b.fill(0)));
    agrees(b.finish(), { x, dy });
  });
});
