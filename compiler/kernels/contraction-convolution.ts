/**
 * What a convolution node says: sizes, groups, and the window along each axis. The three directions share it, whatever
 * operand is missing.
 */
import type { Node, Value } from '../../ir/graph.js';
import { type Window, windowOf, windowOutput } from '../../ir/ops/contractions.js';
import { intsOf, numberOf } from '../../ir/ops/declare.js';
import { concrete } from '../../ir/types.js';
import type { AxisWindow } from './contraction-axes.js';

export interface Convolution {
  readonly images: number;
  readonly groups: number;
  /** Channels of a group, in and out. */
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: readonly [number, number];
  readonly rows: AxisWindow;
  readonly cols: AxisWindow;
}

export function convolutionOf(x: readonly number[], outputs: number, groups: number, window: Window): Convolution {
  const [n, c, h, w] = x;
  const out = windowOutput(window, h, w);
  const axis = (d: 0 | 1): AxisWindow => ({
    kernel: window.kernel[d],
    stride: window.strides[d],
    pad: window.pads[d],
    dilation: window.dilations[d],
    input: d === 0 ? h : w,
    output: out[d],
  });
  return {
    images: n,
    groups,
    inputs: c / groups,
    outputs: outputs / groups,
    kernel: window.kernel,
    rows: axis(0),
    cols: axis(1),
  };
}

const shapeOf = (v: Value): readonly number[] => concrete(v.type.shape);

/** Of conv, conv_input_grad, conv_weight_grad. */
export function convolutionOfNode(node: Node): Convolution {
  const [a, b] = node.operands;
  const [r] = node.results;
  const groups = numberOf(node.attrs, 'groups');
  switch (node.op) {
    case 'conv':
      return convolutionOf(shapeOf(a), shapeOf(b)[0], groups, windowOf(node.attrs, kernelOf(shapeOf(b))));
    case 'conv_input_grad':
      return convolutionOf(shapeOf(r), shapeOf(b)[0], groups, windowOf(node.attrs, kernelOf(shapeOf(b))));
    case 'conv_weight_grad':
      return convolutionOf(shapeOf(a), shapeOf(r)[0], groups, windowOf(node.attrs, kernelOf(shapeOf(r))));
    case 'patch_second_moment':
      intsOf(node.attrs, 'kernel');
      return convolutionOf(shapeOf(a), groups, groups, windowOf(node.attrs));
    default:
      throw new Error(`${node.op} is no convolution`);
  }
}

const kernelOf = (w: readonly number[]): [number, number] => [w[2], w[3]];
