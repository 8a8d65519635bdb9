/**
 * Largest deviation over the largest magnitude of the expected tensor.
 * @param floor least magnitude to compare with: a gradient that is zero in exact arithmetic (a bias before BatchNorm) is
 *   rounding noise on both sides
 */
export function relativeError(got: ArrayLike<number>, want: ArrayLike<number>, floor = 0): number {
  let worst = 0;
  let scale = floor;
  for (let i = 0; i < want.length; i++) {
    const d = Math.abs(got[i] - want[i]);
    worst = Number.isNaN(d) ? Number.POSITIVE_INFINITY : Math.max(worst, d);
    scale = Math.max(scale, Math.abs(want[i]));
  }
  return scale === 0 ? worst : worst / scale;
}
