/**
 * Windows over which offset correlations are held against the direct form: each kernel with each stride, dilation and padding, on
 * images of odd sizes; then shapes that a grid does not reach.
 */

export interface OffsetCase {
  readonly x: readonly [number, number, number, number];
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  /** Top, left, bottom, right. */
  readonly pads: readonly [number, number, number, number];
  readonly dilations: readonly [number, number];
  readonly groups: number;
}

const kernels = [
  [3, 3],
  [1, 3],
  [2, 4],
  [5, 5],
] as const;
const strides = [
  [1, 1],
  [2, 2],
  [1, 3],
] as const;
const pads = [
  [0, 0, 0, 0],
  [1, 1, 1, 1],
  [2, 0, 1, 3],
] as const;
const dilations = [
  [1, 1],
  [2, 1],
] as const;

const grid: readonly OffsetCase[] = kernels.flatMap((kernel, a) =>
  strides.flatMap((s, b) =>
    pads.flatMap((p, c) =>
      dilations.map((dilation, d): OffsetCase => {
        const groups = 1 + ((a + b + c + d) % 2);
        return { x: [2, 2 * groups, 11, 9], kernel, strides: s, pads: p, dilations: dilation, groups };
      }),
    ),
  ),
);

const plain = { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 } as const;

export const offsetCases: readonly OffsetCase[] = [
  ...grid,
  // Images as small as the window, or smaller.
  { ...plain, x: [2, 2, 1, 1], kernel: [3, 3] },
  { ...plain, x: [2, 2, 2, 1], kernel: [3, 3] },
  { ...plain, x: [1, 2, 2, 3], kernel: [5, 5], pads: [2, 2, 2, 2] },
  { ...plain, x: [2, 2, 3, 2], kernel: [3, 3], pads: [4, 3, 4, 3] },
  // Strides that share a factor with the dilation, or skip taps' residues.
  { ...plain, x: [2, 2, 13, 12], kernel: [3, 2], strides: [4, 6], pads: [1, 2, 3, 0], dilations: [2, 4] },
  { ...plain, x: [1, 3, 15, 15], kernel: [5, 5], strides: [4, 4], pads: [2, 2, 2, 2] },
  { ...plain, x: [1, 2, 13, 13], kernel: [7, 7], strides: [2, 2], pads: [3, 3, 3, 3] },
];
