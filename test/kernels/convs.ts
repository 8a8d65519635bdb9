/**
 * Convolutions as the tests of kernels write them, and the shapes that follow.
 */
import { Builder } from '../../ir/builder.js';
import { passLoc } from '../../ir/loc.js';
import { tensor } from '../../ir/types.js';

export interface Conv {
  /** Images, channels, height, width. */
  readonly x: readonly [number, number, number, number];
  readonly outputs: number;
  readonly kernel: readonly [number, number];
  readonly strides?: readonly [number, number];
  /** Top, left, bottom, right. */
  readonly pads?: readonly [number, number, number, number];
  readonly dilations?: readonly [number, number];
  readonly groups?: number;
}

export const attrsOf = (c: Conv) => ({
  strides: c.strides ?? [1, 1],
  pads: c.pads ?? [0, 0, 0, 0],
  dilations: c.dilations ?? [1, 1],
  groups: c.groups ?? 1,
});

export const weightShape = (c: Conv): number[] => [c.outputs, c.x[1] / (c.groups ?? 1), ...c.kernel];

export function outputShape(c: Conv): readonly number[] {
  const b = new Builder('f', passLoc('test'));
  const operands = [b.input('x', tensor('f32', c.x)), b.input('w', tensor('f32', weightShape(c)))];
  return b.node('conv', operands, { attrs: attrsOf(c) }).type.shape as number[];
}
