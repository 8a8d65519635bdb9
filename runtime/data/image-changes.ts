/**
 * Random changes of images [C,H,W] in a batch. What an image gets is a pure function of (seed, batch, its number in the set):
 * not of its row, nor of who does the work.
 */
import { rowKey, uniform } from '../../ir/random.js';
import type { Augmentation } from './augmentation.js';
import type { ExampleData } from './batch.js';

/** Keys of these draws among those of a run; ops of a graph have theirs from the compiler. */
const MOVE = 0x30fe;
const ERASE = 0xe7a5;

/** SP-NGD 6.1: the rectangle's share of the area, and its height to its width (or the other way round). */
const AREA = { least: 0.02, most: 0.25 };
const ASPECT = { least: 0.3, most: 1 };

export interface ImageBatch {
  /** One image after the other, in the order of `rows`. */
  readonly examples: ExampleData;
  /** Their numbers in the set. */
  readonly rows: ArrayLike<number>;
  /** [C,H,W]. */
  readonly shape: readonly number[];
  /** The batch's number in the run. */
  readonly t: number;
}

/** Mirrors and moves, in place: pixel (y, x) becomes what was at (y + dy, x + dx), dy and dx uniform in -crop .. crop, or 0. */
export function moveImages(
  { examples, rows, shape, t }: ImageBatch,
  seed: number,
  { flip = false, crop = 0 }: Augmentation,
): void {
  if (!flip && crop === 0) return;
  const [channels, height, width] = shape;
  const size = channels * height * width;
  const old = examples.slice(0, size);
  for (let r = 0; r < rows.length; r++) {
    const key = rowKey(seed, t, MOVE, rows[r]);
    const mirrored = flip && uniform(key, 0) < 0.5;
    const shift = (element: number): number => Math.floor(uniform(key, element) * (2 * crop + 1)) - crop;
    const [dy, dx] = [shift(1), shift(2)];
    if (!mirrored && dy === 0 && dx === 0) continue;
    const image = examples.subarray(r * size, (r + 1) * size);
    old.set(image);
    image.fill(0);
    const [left, right] = [Math.max(0, -dx), Math.min(width, width - dx)];
    for (let row = 0; row < channels * height; row++) {
      const y = (row % height) + dy;
      if (y < 0 || y >= height) continue;
      const [to, from] = [row * width, (row + dy) * width];
      if (mirrored) for (let x = left; x < right; x++) image[to + x] = old[from + width - 1 - (x + dx)];
      else image.set(old.subarray(from + left + dx, from + right + dx), to + left);
    }
  }
}

/** Sets a rectangle of an image to 0 with probability `erase`, in place, in all channels. */
export function eraseImages({ examples, rows, shape, t }: ImageBatch, seed: number, erase: number): void {
  const [channels, height, width] = shape;
  for (let r = 0; r < rows.length; r++) {
    const key = rowKey(seed, t, ERASE, rows[r]);
    if (uniform(key, 0) >= erase) continue;
    const between = (element: number, { least, most }: typeof AREA): number =>
      least + uniform(key, element) * (most - least);
    const area = between(1, AREA) * height * width;
    const aspect = between(2, ASPECT);
    const sides = [Math.sqrt(area * aspect), Math.sqrt(area / aspect)];
    if (uniform(key, 3) < 0.5) sides.reverse();
    const h = Math.min(height, Math.max(1, Math.round(sides[0])));
    const w = Math.min(width, Math.max(1, Math.round(sides[1])));
    const top = Math.floor(uniform(key, 4) * (height - h + 1));
    const left = Math.floor(uniform(key, 5) * (width - w + 1));
    for (let c = 0; c < channels; c++)
      for (let y = top; y < top + h; y++) {
        const at = ((r * channels + c) * height + y) * width + left;
        examples.fill(0, at, at + w);
      }
  }
}
