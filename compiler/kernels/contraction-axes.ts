/**
 * A convolution along one image axis, as a correlation with stride 1. Strides are unfolded into planes and phases: a forward
 * convolution reads every s-th input, so inputs are split into planes by remainder; the input gradient writes them, so
 * outputs are split into phases, each with the taps that reach it.
 */

/** Taps `first + step * u` of the kernel, u < count; tap u reads the stage `at + move * u` behind the output's coordinate. */
export interface Taps {
  readonly plane: number;
  readonly count: number;
  readonly first: number;
  readonly step: number;
  readonly at: number;
  readonly move: number;
}

export interface Phase {
  /** Output coordinates [lo, hi); coordinate a is output position `scale * a + offset`. */
  readonly lo: number;
  readonly hi: number;
  readonly scale: number;
  readonly offset: number;
  readonly taps: readonly Taps[];
}

export interface Axis {
  /** All coordinates of all phases. */
  readonly lo: number;
  readonly hi: number;
  /** n coordinates read n + reach positions of each plane. */
  readonly reach: number;
  /** Stage position s of plane p holds source position `s * scale + planes[p]`, zero outside [0, extent). */
  readonly scale: number;
  readonly planes: readonly number[];
  readonly extent: number;
  readonly phases: readonly Phase[];
}

export interface AxisWindow {
  readonly kernel: number;
  readonly stride: number;
  readonly pad: number;
  readonly dilation: number;
  /** Sizes of the convolution's input and output along the axis. */
  readonly input: number;
  readonly output: number;
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** The taps whose distance from the window's start leaves `remainder` when divided by the stride. */
function tapsWith(w: AxisWindow, remainder: number): { count: number; first: number; step: number } | undefined {
  const step = w.stride / gcd(w.dilation, w.stride);
  for (let first = 0; first < Math.min(step, w.kernel); first++)
    if ((first * w.dilation) % w.stride === remainder)
      return { count: Math.ceil((w.kernel - first) / step), first, step };
  return undefined;
}

/** y[a] = sum over taps of x[a * stride + tap * dilation - pad]. */
export function forwardAxis(w: AxisWindow): Axis {
  const planes: number[] = [];
  const taps: Taps[] = [];
  for (let r = 0; r < w.stride; r++) {
    const group = tapsWith(w, r);
    if (!group) continue;
    const at = Math.floor((group.first * w.dilation) / w.stride);
    taps.push({ ...group, plane: planes.length, at, move: (group.step * w.dilation) / w.stride });
    planes.push(r - w.pad);
  }
  return {
    lo: 0,
    hi: w.output,
    reach: Math.max(...taps.map((t) => t.at + t.move * (t.count - 1))),
    scale: w.stride,
    planes,
    extent: w.input,
    phases: [{ lo: 0, hi: w.output, scale: 1, offset: 0, taps }],
  };
}

/** x[stride * a + r - pad] = sum over the taps with remainder r of y[a - floor(tap * dilation / stride)]. */
export function backwardAxis(w: AxisWindow): Axis {
  const reach = Math.floor(((w.kernel - 1) * w.dilation) / w.stride);
  const phases: Phase[] = [];
  for (let r = 0; r < w.stride; r++) {
    const lo = Math.ceil((w.pad - r) / w.stride);
    const hi = Math.floor((w.input - 1 + w.pad - r) / w.stride) + 1;
    if (hi <= lo) continue;
    const group = tapsWith(w, r);
    const taps = group
      ? [
          {
            ...group,
            plane: 0,
            at: reach - Math.floor((group.first * w.dilation) / w.stride),
            move: -(group.step * w.dilation) / w.stride,
          },
        ]
      : [];
    phases.push({ lo, hi, scale: w.stride, offset: r - w.pad, taps });
  }
  return {
    lo: Math.min(...phases.map((p) => p.lo)),
    hi: Math.max(...phases.map((p) => p.hi)),
    reach,
    scale: 1,
    planes: [-reach],
    extent: w.output,
    phases,
  };
}

/** Stage positions [lo, hi) of `count`, starting at position `from`, whose source exists in plane `plane`. */
export function present(axis: Axis, plane: number, from: number, count: number): { lo: number; hi: number } {
  const source = axis.planes[plane];
  const lo = Math.min(count, Math.max(0, Math.ceil(-source / axis.scale) - from));
  const hi = Math.max(lo, Math.min(count, Math.floor((axis.extent - 1 - source) / axis.scale) + 1 - from));
  return { lo, hi };
}
