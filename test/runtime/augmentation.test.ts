/**
 * Random changes of training examples against definitions written here, on images whose pixels tell where they came from, and the
 * distributions of what is drawn, for fixed seeds.
 */
import { describe, expect, it } from 'vitest';
import type { Manifest } from '../../ir/artifact.js';
import { type Augmentation, parseAugmentation } from '../../runtime/data/augmentation.js';
import { eraseImages, moveImages } from '../../runtime/data/image-changes.js';
import { mixingShare, RunningMixup } from '../../runtime/data/running-mixup.js';
import { tinyFiles, tinyManifest } from './tiny-artifact.js';
import { userError } from './user-error.js';

const [C, H, W] = [2, 6, 5];
const SIZE = C * H * W;

/** Image n, pixel (c, y, x): a number that no other has, and that is not 0. */
const pixel = (n: number, c: number, y: number, x: number): number => 1 + x + W * (y + H * (c + C * n));

function images(rows: readonly number[]): Float32Array {
  const out = new Float32Array(rows.length * SIZE);
  rows.forEach((n, r) => {
    for (let i = 0; i < SIZE; i++) out[r * SIZE + i] = 1 + i + SIZE * n;
  });
  return out;
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

function moved(rows: readonly number[], t: number, how: Augmentation, seed = 1): Float32Array {
  const examples = images(rows);
  moveImages({ examples, rows, shape: [C, H, W], t }, seed, how);
  return examples;
}

/** The definition: pixel (y, x) is what was at (y + dy, x + dx), mirrored or not, and 0 where that is outside. */
function defined(n: number, mirrored: boolean, dy: number, dx: number): number[] {
  const out: number[] = [];
  for (let c = 0; c < C; c++)
    for (let y = 0; y < H; y++)
      for (let x = 0; x < W; x++) {
        const [fromY, fromX] = [y + dy, x + dx];
        const inside = fromY >= 0 && fromY < H && fromX >= 0 && fromX < W;
        out.push(inside ? pixel(n, c, fromY, mirrored ? W - 1 - fromX : fromX) : 0);
      }
  return out;
}

/** Which of the possible moves an image has got; exactly one fits. */
function moveOf(image: Float32Array, n: number, crop: number): { mirrored: boolean; dy: number; dx: number } {
  const got = image.join();
  const fits = [false, true].flatMap((mirrored) =>
    range(2 * crop + 1).flatMap((i) =>
      range(2 * crop + 1).flatMap((j) => {
        const [dy, dx] = [i - crop, j - crop];
        return defined(n, mirrored, dy, dx).join() === got ? [{ mirrored, dy, dx }] : [];
      }),
    ),
  );
  expect(fits).toHaveLength(1);
  return fits[0];
}

/** Five standard deviations of a count of n independent trials of probability p. */
const spread = (n: number, p: number): number => 5 * Math.sqrt(n * p * (1 - p));

describe('flip and crop', () => {
  const n = 2000;
  it('are moves by up to the given pixels, mirrored half of the time, each as often as any other', () => {
    const out = moved(range(n), 3, { flip: true, crop: 2 });
    const counts = new Map<string, number>();
    for (let r = 0; r < n; r++) {
      const { mirrored, dy, dx } = moveOf(out.subarray(r * SIZE, (r + 1) * SIZE), r, 2);
      const kinds = [`mirrored ${mirrored}`, `dy ${dy}`, `dx ${dx}`, `both ${dy},${dx},${mirrored}`];
      for (const key of kinds) counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect(counts.size).toBe(2 + 5 + 5 + 50);
    for (const [key, count] of counts) {
      const p = { mirrored: 1 / 2, dy: 1 / 5, dx: 1 / 5, both: 1 / 50 }[key.split(' ')[0] as 'dy'];
      expect(Math.abs(count - n * p), key).toBeLessThan(spread(n, p));
    }
  });
  it('alone do only what they say', () => {
    for (const [r, out] of [moved(range(50), 1, { flip: true }), moved(range(50), 1, { crop: 1 })].entries())
      for (const n of range(50)) {
        const { mirrored, dy, dx } = moveOf(out.subarray(n * SIZE, (n + 1) * SIZE), n, 1);
        if (r === 0) expect([dy, dx]).toEqual([0, 0]);
        else expect(mirrored).toBe(false);
      }
    expect(moved([4, 2], 1, {})).toEqual(images([4, 2]));
  });
  it('depend on seed, batch and the number of the example, not on its row', () => {
    const how = { flip: true, crop: 2 };
    const [a, b] = [moved([7, 8, 9], 5, how), moved([9, 7], 5, how)];
    expect(b.subarray(0, SIZE)).toEqual(a.subarray(2 * SIZE, 3 * SIZE));
    expect(b.subarray(SIZE)).toEqual(a.subarray(0, SIZE));
    expect(moved(range(20), 6, how)).not.toEqual(moved(range(20), 5, how));
    expect(moved(range(20), 5, how, 2)).not.toEqual(moved(range(20), 5, how, 1));
  });
});

describe('random erasing', () => {
  it('sets a rectangle of 2% to 25% of the area to 0 in all channels, as often as it is told', () => {
    const [n, height, width, p] = [3000, 32, 40, 0.3];
    const shape = [2, height, width];
    const size = 2 * height * width;
    const rows = range(n);
    const examples = new Float32Array(n * size).fill(1);
    eraseImages({ examples, rows, shape, t: 2 }, 4, p);
    let erased = 0;
    let area = 0;
    let wide = 0;
    const corners = [0, 0];
    for (const r of rows) {
      const plane = examples.subarray(r * size, r * size + size / 2);
      const other = examples.subarray(r * size + size / 2, (r + 1) * size);
      expect(plane.every((v, i) => v === other[i])).toBe(true);
      const holes = range(size / 2).filter((i) => plane[i] === 0);
      if (holes.length === 0) continue;
      erased++;
      const [ys, xs] = [holes.map((i) => Math.floor(i / width)), holes.map((i) => i % width)];
      const [top, left] = [Math.min(...ys), Math.min(...xs)];
      const [h, w] = [Math.max(...ys) - top + 1, Math.max(...xs) - left + 1];
      expect(h * w).toBe(holes.length);
      // Sides are rounded, so that the share is off by less than half a pixel along both.
      const slack = (h + w) / 2;
      expect(holes.length).toBeGreaterThan(0.02 * height * width - slack);
      expect(holes.length).toBeLessThan(0.25 * height * width + slack);
      const ratio = Math.min(h, w) / Math.max(h, w);
      expect(ratio).toBeGreaterThan(0.3 - 1 / Math.min(h, w));
      area += holes.length / (height * width);
      if (w > h) wide++;
      if (top + h / 2 < height / 2) corners[0]++;
      if (left + w / 2 < width / 2) corners[1]++;
    }
    expect(Math.abs(erased - n * p)).toBeLessThan(spread(n, p));
    // Uniform in [0.02, 0.25]: mean 0.135, deviation 0.23 / sqrt(12).
    expect(Math.abs(area / erased - 0.135)).toBeLessThan((5 * 0.0664) / Math.sqrt(erased));
    // Upright as often as lying, anywhere in the image; ties are few.
    for (const count of [wide, ...corners]) expect(Math.abs(count / erased - 0.5)).toBeLessThan(0.1);
  });
});

describe('running mixup', () => {
  const [rows, width, classes] = [4, 3, 5];
  const batchOf = (t: number, count: number) => ({
    count,
    examples: Float32Array.from({ length: rows * width }, (_, i) =>
      i < count * width ? Math.sin(1 + i + 100 * t) : 0,
    ),
    targets: Float32Array.from({ length: rows * classes }, (_, i) =>
      i < count * classes && i % classes === (t + Math.floor(i / classes)) % classes ? 1 : 0,
    ),
  });
  const numbers = (t: number): number[] => range(rows).map((r) => r + 10 * t);

  it('mixes each batch with the one before as that was mixed, examples and labels alike', () => {
    const first = batchOf(0, rows);
    const mixup = new RunningMixup(0.4, 7, rows, first);
    let before = batchOf(0, rows);
    const shares = new Set<number>();
    // A short batch in between: its missing rows keep what was in them.
    for (const [t, count] of [rows, rows, 2, rows, rows].entries()) {
      const plain = batchOf(t, count);
      const mixed = batchOf(t, count);
      mixup.mix(t, numbers(t).slice(0, count), mixed);
      if (t === 0) expect(mixed).toEqual(plain);
      const next = batchOf(0, rows);
      next.examples.set(before.examples);
      next.targets.set(before.targets);
      for (let r = 0; r < count && t > 0; r++) {
        // The own label's share is lambda's, unless the one before had the same class: then the examples say it.
        const i = r * width;
        const lambda = (mixed.examples[i] - before.examples[i]) / (plain.examples[i] - before.examples[i]);
        expect(lambda).toBeGreaterThanOrEqual(0.5 - 1e-5);
        expect(lambda).toBeLessThanOrEqual(1 + 1e-5);
        shares.add(lambda);
        for (let k = 0; k < width; k++) {
          const want = lambda * plain.examples[i + k] + (1 - lambda) * before.examples[i + k];
          // f32, and a lambda that was got by a division of differences.
          expect(mixed.examples[i + k]).toBeCloseTo(want, 4);
        }
        let sum = 0;
        for (let k = r * classes; k < (r + 1) * classes; k++) {
          expect(mixed.targets[k]).toBeCloseTo(lambda * plain.targets[k] + (1 - lambda) * before.targets[k], 4);
          sum += mixed.targets[k];
        }
        expect(sum).toBeCloseTo(1, 5);
      }
      for (let r = 0; r < count; r++) {
        next.examples.set(mixed.examples.subarray(r * width, (r + 1) * width), r * width);
        next.targets.set(mixed.targets.subarray(r * classes, (r + 1) * classes), r * classes);
      }
      for (let i = count * width; i < rows * width; i++) expect(mixed.examples[i]).toBe(0);
      before = next;
    }
    expect(shares.size).toBe(3 * rows + 2);
  });

  it.each([0.2, 0.4, 1, 3])('draws lambda from Beta(a, a) with a = %d, the larger of it and the rest', (alpha) => {
    const n = 20_000;
    const draws = range(n).map((i) => mixingShare(alpha, Math.imul(i + 1, 0x9e3779b1) >>> 0));
    for (const d of draws) expect(d >= 0.5 && d <= 1).toBe(true);
    // Moments of Beta(a, a) about 1/2: variance 1 / (4 (2a + 1)), fourth moment 3 / (16 (2a + 1) (2a + 3)).
    const moment = (k: number): number => draws.reduce((s, d) => s + (d - 0.5) ** k, 0) / n;
    const [second, fourth] = [1 / (4 * (2 * alpha + 1)), 3 / (16 * (2 * alpha + 1) * (2 * alpha + 3))];
    expect(Math.abs(moment(2) - second)).toBeLessThan(5 * Math.sqrt((fourth - second ** 2) / n));
    expect(Math.abs(moment(4) - fourth)).toBeLessThan(5 * Math.sqrt(1 / 256 / n));
  });
  it('has no trouble with a tiny alpha', () => {
    for (const i of range(1000)) expect(mixingShare(1e-4, i * 7919)).toBeCloseTo(1, 1);
  });
});

describe('--augment', () => {
  const manifest = (change: Partial<Manifest> = {}): Manifest => ({
    ...tinyManifest(tinyFiles()),
    inputs: [{ name: 'x', dtype: 'f32', shape: [4, 3, 32, 32] }],
    loss: { kind: 'softmax-cross-entropy', target: { dtype: 'f32', shape: [4, 10], classes: 10 } },
    ...change,
  });
  it('is read in any order', () => {
    expect(parseAugmentation('erase:0.25, crop:4,flip,mixup:0.2', manifest())).toEqual({
      ...{ flip: true, crop: 4, erase: 0.25, mixup: 0.2 },
    });
  });
  it.each([
    ...['', 'flop', 'flip:1', 'flip,flip', 'crop', 'crop:', 'crop:1.5', 'crop:-1', 'crop:32', 'erase:2', 'erase:0'],
    ...['mixup:0', 'mixup:x', 'mixup:1:2', 'constructor'],
  ])('E330: %j', (text) => {
    expect(userError(() => parseAugmentation(text, manifest())).code).toBe(330);
  });
  it('E331: no images', () => {
    for (const shape of [
      [4, 3072],
      [4, 32, 32, 3],
    ]) {
      const m = manifest({ inputs: [{ name: 'x', dtype: 'f32', shape }] });
      for (const text of ['flip', 'crop:2', 'erase:0.5']) {
        const error = userError(() => parseAugmentation(text, m));
        expect(error.code).toBe(331);
        expect(error.what).toContain(`--augment ${text.split(':')[0]} is for images`);
      }
      expect(parseAugmentation('mixup:1', m)).toEqual({ mixup: 1 });
    }
  });
  it('E332: class numbers cannot be mixed, nor bytes', () => {
    const hard = manifest({
      loss: { kind: 'softmax-cross-entropy', target: { dtype: 'i32', shape: [4], classes: 10 } },
    });
    const error = userError(() => parseAugmentation('flip,mixup:0.4', hard));
    expect([error.code, error.hint]).toEqual([332, expect.stringContaining('--labels soft')]);
    const bytes = manifest({ inputs: [{ name: 'x', dtype: 'u8', shape: [4, 3, 32, 32] }] });
    expect(userError(() => parseAugmentation('mixup:0.4', bytes)).code).toBe(332);
  });
});
