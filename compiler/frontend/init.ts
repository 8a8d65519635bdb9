/**
 * New weights: He's normal initialisation (He et al. 2015, std = sqrt(2 / fan-in)) from counter-based random numbers, so that a
 * tensor's values depend on the seed, its name and the element alone. Normals by the ziggurat of Marsaglia and Tsang (2000)
 * with 128 layers: one hash and one multiplication for 98% of the elements.
 */
import type { TensorData } from '../../ir/graph.js';
import { MIX_1, MIX_2, mix32 } from '../../ir/random.js';
import { concrete, product, type TensorType } from '../../ir/types.js';

/** A number that stands for a name: 32 bits of it, mixed character by character. */
export function nameKey(name: string): number {
  let h = mix32(name.length);
  for (let i = 0; i < name.length; i++) h = mix32(h ^ name.charCodeAt(i));
  return h;
}

const LAYERS = 128;
/** Where the tail begins, and the area of each layer (their table for 128 layers). */
const TAIL = 3.442619855899;
const AREA = 9.91256303526217e-3;

const density = (x: number): number => Math.exp(-0.5 * x * x);

/** edges[i]: right end of layer i, from the base (whose end is beyond the tail, by its area) to the top at 0. */
const edges = ((): Float64Array => {
  const x = new Float64Array(LAYERS + 1);
  x[0] = AREA / density(TAIL);
  x[1] = TAIL;
  for (let i = 2; i < LAYERS; i++) x[i] = Math.sqrt(-2 * Math.log(AREA / x[i - 1] + density(x[i - 1])));
  return x;
})();
const heights = edges.map(density);
/** A layer's width in steps of 24 random bits. */
const widths = edges.map((x) => x * 2 ** -24);

/** One standard normal number from 32 random bits; `h` also begins the chain of further bits where the first do not decide. */
function normal(h: number): number {
  for (let bits = h, turn = 0; ; turn++) {
    // 7 bits choose the layer, one the sign, 24 the place in it.
    const layer = bits & 127;
    const sign = bits & 128 ? -1 : 1;
    const x = (bits >>> 8) * widths[layer];
    if (x < edges[layer + 1]) return sign * x;
    const next = mix32(bits ^ (0x9e3779b9 + turn));
    const u = (next + 0.5) * 2 ** -32;
    if (layer === 0) {
      // Beyond the tail: Marsaglia's exponential rejection.
      let [a, state] = [u, next];
      for (;;) {
        state = mix32(state ^ 0x85ebca6b);
        const dx = -Math.log(a) / TAIL;
        if (-2 * Math.log((state + 0.5) * 2 ** -32) > dx * dx) return sign * (TAIL + dx);
        state = mix32(state ^ 0xc2b2ae35);
        a = (state + 0.5) * 2 ** -32;
      }
    }
    if (heights[layer] + u * (heights[layer + 1] - heights[layer]) < density(x)) return sign * x;
    bits = mix32(next ^ 0x27d4eb2f);
  }
}

/** What normal numbers to draw: with mean 0, for the stream (seed, key). */
export interface Draw {
  readonly deviation: number;
  readonly seed: number;
  readonly key: number;
}

/** Fills `out` with normal numbers. */
export function drawNormals(out: Float32Array, { deviation, seed, key }: Draw): void {
  const stream = mix32(mix32(seed ^ 0x9e3779b9) ^ key) | 0;
  const [m1, m2, edge, width] = [MIX_1, MIX_2, edges, widths];
  const signed = Float64Array.of(deviation, -deviation);
  for (let i = 0; i < out.length; i++) {
    // normal(mix32(stream ^ i)), with its first and most frequent turn in line: 32-bit integers all the way.
    let h = stream ^ i;
    h = Math.imul(h ^ (h >>> 16), m1);
    h = Math.imul(h ^ (h >>> 15), m2);
    h ^= h >>> 16;
    const layer = h & 127;
    const x = (h >>> 8) * width[layer];
    if (x < edge[layer + 1]) out[i] = x * signed[(h >> 7) & 1];
    else out[i] = deviation * normal(h >>> 0);
  }
}

/** A tensor of normal numbers, drawn when they are first read: who only needs the file can draw them into it. */
export class DrawnTensor implements TensorData {
  private values: Float32Array | undefined;

  constructor(
    readonly type: TensorType,
    readonly draw: Draw,
  ) {}

  get data(): Float32Array {
    if (!this.values) {
      this.values = new Float32Array(product(concrete(this.type.shape)));
      drawNormals(this.values, this.draw);
    }
    return this.values;
  }
}

/** He's deviation for a layer of which each output sums `fanIn` products. */
export const heDeviation = (fanIn: number): number => Math.sqrt(2 / fanIn);
